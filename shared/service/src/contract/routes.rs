//! The one table of routes.
//!
//! Each route stands here once: its path, its names, its description and whether its response is
//! cacheable. Routers, dispatch, cache keys, the OpenAPI documents and the labels of metrics, logs
//! and traces are all made from this table, so a new route is one line of it and one handler.

use std::borrow::Cow;

use axum::{
    Router,
    http::{HeaderMap, Method},
    routing::{MethodRouter, get, post},
};
use percent_encoding::percent_decode_str;

use crate::contract::{
    problem::Problem,
    ssm::{Operation, Target},
};

/// The path of AWS's protocol.
const AWS_PATH: &str = "/";

/// The label of a path that no route has. A raw path would let one scanner fill Prometheus.
const UNMATCHED: &str = "unmatched";

/// The label of requests that have waited for a change. Their durations say nothing about a route.
pub(crate) const WAITED: &str = "wait";

/// A route of either service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteId {
    Param,
    Parameter,
    Values,
    Params,
    Buckets,
    Inventory,
    Changes,
    Status,
    Page,
    Docs,
    OpenApi,
    Healthz,
    Livez,
    Readyz,
    Metrics,
    /// `POST /`, AWS's own protocol: a route for each operation that reads parameters.
    SsmGetParameter,
    SsmGetParameters,
    SsmGetParametersByPath,
    SsmDescribeParameters,
    /// `POST /` with any other operation, or none.
    SsmOther,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The identifier of the row.
    pub id: RouteId,
    /// The path as OpenAPI writes it. `{…}` takes the rest of the path.
    pub path: &'static str,
    /// The path up to its parameter, or the whole path.
    prefix: &'static str,
    /// The name of the route in metrics, logs and traces: the path, or the operation of AWS's
    /// protocol.
    pub label: &'static str,
    /// The operation's id in the OpenAPI document.
    pub operation: &'static str,
    /// The title of the operation in the OpenAPI document.
    pub summary: &'static str,
    /// The description of the operation in the OpenAPI document.
    pub description: &'static str,
    /// The meaning of the parameter in the path, with an example.
    pub parameter: Option<Parameter>,
    /// Whether dispatch serves the route from the cache. Such a response says how
    /// long it is fresh, and it has a validator.
    pub cacheable: bool,
    /// Whether a request with `Prefer: wait` waits until the response changes.
    pub waits: bool,
    /// The group of the route. It also decides whether the route needs a token.
    pub tag: Tag,
}

/// The group of a route, as the OpenAPI document shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The work of the service.
    Api,
    /// Status and metrics.
    Operations,
    /// Probes of Kubernetes.
    Probes,
    /// AWS's own protocol: part of the work of the service. Its token is the session token.
    Aws,
    /// Pages and descriptions. They hold no data, and a browser that opens one has no token to send
    /// yet, so they need none.
    Pages,
}

/// The parameter of a path.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub description: &'static str,
    pub example: &'static str,
}

static TABLE: [Route; 20] = [
    Route::new(RouteId::Param, "/param/{name}", "param", Tag::Api)
        .describe(
            "The value of one parameter",
            "The name may hold slashes, and gets a leading one if it has none. A version or a label may follow a colon. \
             An ARN and a reference to a secret of Secrets Manager are names too.",
        )
        .parameter("The name of the parameter", "challenge/kantox")
        .cacheable()
        .waits(),
    Route::new(RouteId::Parameter, "/parameter/{name}", "parameter", Tag::Api)
        .describe(
            "One parameter with all that SSM stores about it",
            "Value, type, version, ARN, time of the last change and data type. It shares the cache entry of `/param/{name}`.",
        )
        .parameter("The name of the parameter", "challenge/kantox")
        .cacheable()
        .waits(),
    Route::new(RouteId::Values, "/values/{path}", "values", Tag::Api)
        .describe(
            "Every parameter below a path",
            "Includes all levels below the path. `omitted` names the SecureStrings that cannot be decrypted, and all of them while `ALLOW_SECURE_STRINGS` is false.",
        )
        .parameter("The path above the parameters", "challenge")
        .cacheable()
        .waits(),
    Route::new(RouteId::Params, "/params", "params", Tag::Api)
        .describe(
            "The names of all SSM parameters",
            "All pages, in the order of AWS. Names outside `PARAMETER_PREFIXES` are left out.",
        )
        .cacheable(),
    Route::new(RouteId::Buckets, "/buckets", "buckets", Tag::Api)
        .describe("The names of all S3 buckets", "All pages, in the order of AWS.")
        .cacheable(),
    Route::new(RouteId::Inventory, "/inventory", "inventory", Tag::Api).describe(
        "Buckets and parameters at once",
        "Both lists load at the same time. A part that failed is `null`, and `errors` holds its problem; \
         the status is 200 if at least one part succeeded, otherwise the highest status of the problems.",
    ),
    Route::new(RouteId::Changes, "/changes", "changes", Tag::Api).describe(
        "A stream of the names of changed parameters",
        "Server-sent events. The data of an event is `{\"name\":\"/app/db\"}`, with `\"deleted\":true` if the parameter is gone. \
         An event of type `reset` means that changes are missing, so any parameter may have changed. \
         The stream begins with its position, and ends after at most ten minutes. \
         A client that reconnects with the latest id in `Last-Event-ID` misses no change.",
    ),
    Route::new(RouteId::Status, "/status", "status", Tag::Operations).describe(
        "The status of the service",
        "Version, uptime, requests and cache as JSON. Counts begin at the start of the process. \
         `?history=true` adds the counts of the last 15 minutes, one sample every 15 seconds.",
    ),
    Route::new(RouteId::Page, "/", "page", Tag::Pages),
    Route::new(RouteId::Docs, "/docs", "docs", Tag::Pages),
    Route::new(RouteId::OpenApi, "/openapi.json", "openapi", Tag::Pages),
    Route::new(RouteId::Healthz, "/healthz", "healthz", Tag::Probes).describe(
        "Liveness",
        "200 while the process runs. It does not depend on anything outside the process.",
    ),
    Route::new(RouteId::Livez, "/livez", "livez", Tag::Probes)
        .describe("Liveness", "The same as `/healthz`."),
    Route::new(RouteId::Readyz, "/readyz", "readyz", Tag::Probes).describe(
        "Readiness",
        "503 until the warm-up has ended or timed out, and while the process drains. An outage of a dependency is reported as `degraded`, with 200.",
    ),
    Route::new(RouteId::Metrics, "/metrics", "metrics", Tag::Operations).describe(
        "Metrics for Prometheus",
        "The text exposition format, version 0.0.4. With `ADMIN_ADDR`, the admin listener serves it and the probes.",
    ),
    Route::aws(RouteId::SsmGetParameter, Operation::GetParameter.target()),
    Route::aws(RouteId::SsmGetParameters, Operation::GetParameters.target()),
    Route::aws(RouteId::SsmGetParametersByPath, Operation::GetParametersByPath.target()),
    Route::aws(RouteId::SsmDescribeParameters, Operation::DescribeParameters.target()),
    Route::aws(RouteId::SsmOther, "AmazonSSM.other"),
];

/// The part of a path before its parameter, or the whole path.
const fn before_parameter(path: &'static str) -> &'static str {
    let mut end = 0;
    while end < path.len() && path.as_bytes()[end] != b'{' {
        end += 1;
    }
    path.split_at(end).0
}

impl Route {
    const fn new(id: RouteId, path: &'static str, operation: &'static str, tag: Tag) -> Self {
        let (summary, description) = ("", "");
        Self {
            id,
            path,
            prefix: before_parameter(path),
            label: path,
            operation,
            summary,
            description,
            parameter: None,
            cacheable: false,
            waits: false,
            tag,
        }
    }

    /// `POST /` with an operation of AWS's protocol.
    const fn aws(id: RouteId, label: &'static str) -> Self {
        let route = Self::new(id, "/", "ssm", Tag::Aws).describe(
            "AWS's own protocol, read-only",
            "The operations GetParameter, GetParameters, GetParametersByPath and DescribeParameters of SSM, in AWS JSON 1.1, \
             for any AWS SDK with `AWS_ENDPOINT_URL_SSM`. The header `X-Amz-Target` names the operation. \
             Requests, responses and errors are those of AWS.",
        );
        Self { label, ..route }
    }

    /// Whether the route is `POST /`, AWS's own protocol.
    pub fn is_aws(&self) -> bool {
        matches!(self.tag, Tag::Aws)
    }

    const fn describe(self, summary: &'static str, description: &'static str) -> Self {
        Self { summary, description, ..self }
    }

    const fn parameter(self, description: &'static str, example: &'static str) -> Self {
        Self { parameter: Some(Parameter { description, example }), ..self }
    }

    const fn cacheable(self) -> Self {
        Self { cacheable: true, ..self }
    }

    const fn waits(self) -> Self {
        Self { waits: true, ..self }
    }
}

impl RouteId {
    /// The row of this route.
    pub fn route(self) -> &'static Route {
        // The table is in the order of the variants; a test checks it.
        &TABLE[self as usize]
    }

    /// The path as OpenAPI writes it.
    pub fn path(self) -> &'static str {
        self.route().path
    }

    /// The name of the route in metrics, logs and traces.
    pub fn label(self) -> &'static str {
        self.route().label
    }

    /// The route of a request in AWS's protocol.
    fn of_target(target: Target) -> Self {
        match target {
            Target::Read(operation) => operation.into(),
            Target::Write | Target::Unknown => Self::SsmOther,
        }
    }

    /// The path as axum's Router writes it.
    fn pattern(self) -> Cow<'static, str> {
        match self.route().parameter {
            Some(_) => self.path().replace('{', "{*").into(),
            None => self.path().into(),
        }
    }

    /// Whether a path is this route's. A parameter may be empty.
    fn matches(self, path: &str) -> bool {
        match self.route().parameter {
            Some(_) => path.starts_with(self.route().prefix),
            None => path == self.path() && !self.route().is_aws(),
        }
    }

    /// The key under which the cache holds the response for a path of this route: the path itself,
    /// with its parameter decoded and after exactly one slash.
    ///
    /// # Errors
    ///
    /// The decoded parameter is not UTF-8.
    pub fn cache_key(self, path: &str) -> Result<Cow<'_, str>, NotUtf8> {
        if self.route().parameter.is_none() {
            return Ok(path.into());
        }
        let raw = &path[self.route().prefix.len()..];
        if !raw.starts_with('/') && !raw.contains('%') {
            return Ok(path.into());
        }
        let parameter = percent_decode_str(raw).decode_utf8().map_err(|_| NotUtf8)?;
        let slash = if parameter.starts_with('/') { "" } else { "/" };
        Ok(format!("{}{slash}{parameter}", self.base()).into())
    }

    /// The parameter in a cache key, with its leading slash; `None` for a route without one.
    pub fn parameter(self, key: &str) -> Option<&str> {
        self.route().parameter.as_ref()?;
        key.strip_prefix(self.base())
    }

    /// The path before the slash of its parameter: `/param`.
    pub fn base(self) -> &'static str {
        self.route().prefix.trim_end_matches('/')
    }
}

impl From<Operation> for RouteId {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::GetParameter => Self::SsmGetParameter,
            Operation::GetParameters => Self::SsmGetParameters,
            Operation::GetParametersByPath => Self::SsmGetParametersByPath,
            Operation::DescribeParameters => Self::SsmDescribeParameters,
        }
    }
}

/// The label of a route in metrics, logs and traces.
pub(crate) fn label(route: Option<RouteId>) -> &'static str {
    route.map_or(UNMATCHED, RouteId::label)
}

/// Whether requests with this label `endpoint` are the work of the service: those of the API, and those
/// that no route has. Pages, status and metrics are not, and neither are requests that waited for a
/// change: their durations are no latency.
pub fn is_work(endpoint: &str) -> bool {
    if endpoint == WAITED {
        return false;
    }
    let route = TABLE.iter().find(|route| route.label == endpoint);
    route.is_none_or(|route| matches!(route.tag, Tag::Api | Tag::Aws))
}

/// The parameter of a path holds bytes that are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// The public routes of one service, those with the most requests first.
#[derive(Clone, Copy, Debug)]
pub struct Routes(pub &'static [RouteId]);

/// The probes and `/metrics`: the same for both services, and outside shedding, authentication and
/// counting.
pub const PROBES: Routes =
    Routes(&[RouteId::Healthz, RouteId::Livez, RouteId::Readyz, RouteId::Metrics]);

impl Routes {
    /// The route of a request, as axum's Router finds it. A method that the route does not take is
    /// for the Router to reject. Only `POST /` depends on its method, and on its headers: they name
    /// the operation of AWS's protocol.
    pub fn parse(self, method: &Method, path: &str, headers: &HeaderMap) -> Option<RouteId> {
        if method == Method::POST && path == AWS_PATH && self.speak_aws() {
            return Some(RouteId::of_target(Target::of(headers)));
        }
        self.parse_path(path)
    }

    /// The route of a path for every request but `POST /`.
    pub fn parse_path(self, path: &str) -> Option<RouteId> {
        self.0.iter().copied().find(|route| route.matches(path))
    }

    /// Whether the service speaks AWS's protocol.
    fn speak_aws(self) -> bool {
        self.0.contains(&RouteId::SsmOther)
    }

    /// The label `endpoint` of a path for every request but `POST /`.
    pub fn endpoint(self, path: &str) -> &'static str {
        label(self.parse_path(path))
    }

    /// axum's Router for these routes, with a handler for each that is not cacheable.
    ///
    /// Dispatch serves `GET` and `HEAD` of the cacheable ones, and `POST /`, before the Router sees
    /// them. The Router knows them to reject other methods with 405 and `Allow`.
    pub fn router(self, handler: impl Fn(RouteId) -> MethodRouter) -> Router {
        let router = match self.speak_aws() {
            true => Router::new().route(AWS_PATH, post(not_dispatched)),
            false => Router::new(),
        };
        self.0.iter().filter(|id| !id.route().is_aws()).fold(router, |router, &id| {
            let methods = if id.route().cacheable { get(not_dispatched) } else { handler(id) };
            // A wildcard of axum's never matches an empty parameter.
            let router = match id.route().parameter {
                Some(_) => router.route(id.route().prefix, methods.clone()),
                None => router,
            };
            router.route(&id.pattern(), methods)
        })
    }
}

/// This handler is never called: dispatch serves these requests.
async fn not_dispatched() -> Problem {
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        extract::{MatchedPath, Request},
        http::{HeaderValue, StatusCode, header},
        response::IntoResponse,
    };
    use proptest::prelude::*;
    use tower::ServiceExt;

    use super::*;
    use crate::contract::ssm;

    const ALL: Routes = Routes(&[
        RouteId::Param,
        RouteId::Parameter,
        RouteId::Values,
        RouteId::Params,
        RouteId::Buckets,
        RouteId::Inventory,
        RouteId::Changes,
        RouteId::Status,
        RouteId::Page,
        RouteId::Docs,
        RouteId::OpenApi,
    ]);

    #[test]
    fn the_table_is_in_the_order_of_the_ids_and_has_no_label_twice() {
        for (index, route) in TABLE.iter().enumerate() {
            assert_eq!(route.id as usize, index, "{}", route.path);
            assert_eq!(TABLE.iter().filter(|other| other.label == route.label).count(), 1);
        }
    }

    #[test]
    fn all_spellings_of_a_path_have_one_cache_key() {
        for (path, key) in [
            ("/param/a/b", "/param/a/b"),
            ("/param//a/b", "/param/a/b"),
            ("/param/%2Fa/b", "/param/a/b"),
            ("/param/a%2fb", "/param/a/b"),
            ("/param/%61/b", "/param/a/b"),
            ("/param/", "/param/"),
            ("/param/a%20b", "/param/a b"),
            ("/param/a%2525", "/param/a%25"),
            ("/param///a", "/param//a"),
        ] {
            let found = RouteId::Param.cache_key(path).expect("UTF-8");
            assert_eq!(found, key, "{path}");
            assert_eq!(RouteId::Param.parameter(&found), key.strip_prefix("/param"));
        }
        assert_eq!(RouteId::Param.cache_key("/param/%ff"), Err(NotUtf8));
        assert_eq!(RouteId::Buckets.cache_key("/buckets").as_deref(), Ok("/buckets"));
        assert_eq!(RouteId::Buckets.parameter("/buckets"), None);
    }

    /// The Router of the table, whose every response is the pattern that the Router matched.
    fn router() -> Router {
        ALL.0.iter().fold(Router::new(), |router, &id| {
            let matched = async |path: MatchedPath| path.as_str().to_owned();
            let router = match id.route().parameter {
                Some(_) => router.route(id.route().prefix, get(matched)),
                None => router,
            };
            router.route(&id.pattern(), get(matched))
        })
    }

    proptest! {
        /// A path that `parse` and the Router name differently would be counted under one route and
        /// served by another.
        #[test]
        fn parse_finds_the_route_that_the_router_finds(
            path in prop_oneof![
                "/(param|values|params|buckets|inventory|changes|status|docs|openapi\\.json)?/{0,2}[a-z%/.:]{0,6}",
                "/[a-z/]{0,9}",
            ],
        ) {
            let request = Request::get(&path).body(Body::empty());
            prop_assume!(request.is_ok());
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let response = runtime.block_on(router().oneshot(request.expect("assumed")));
            let response = response.expect("a Router never fails").into_response();
            let matched = (response.status() == StatusCode::OK).then(|| {
                let body = axum::body::to_bytes(response.into_body(), 1000);
                runtime.block_on(body).expect("a short body")
            });
            let parsed = ALL.parse(&Method::GET, &path, &HeaderMap::new());
            match matched {
                None => prop_assert_eq!(parsed, None),
                Some(pattern) => {
                    let id = parsed.expect("the Router found a route");
                    let pattern = std::str::from_utf8(&pattern).expect("a pattern");
                    prop_assert!(pattern == id.pattern() || pattern == id.route().prefix, "{}", pattern);
                }
            }
        }
    }

    const WITH_AWS: Routes = Routes(&[RouteId::Page, RouteId::SsmOther]);

    #[test]
    fn the_target_names_the_route_of_a_post_to_the_root_and_of_nothing_else() {
        let target = |target: &'static str| {
            let content_type = (header::CONTENT_TYPE, ssm::CONTENT_TYPE);
            HeaderMap::from_iter([(ssm::TARGET, HeaderValue::from_static(target)), content_type])
        };
        let get_parameter = target("AmazonSSM.GetParameter");
        let parse = |method, path| WITH_AWS.parse(&method, path, &get_parameter);
        assert_eq!(parse(Method::POST, "/"), Some(RouteId::SsmGetParameter));
        assert_eq!(parse(Method::GET, "/"), Some(RouteId::Page));
        assert_eq!(parse(Method::PUT, "/"), Some(RouteId::Page));
        assert_eq!(parse(Method::POST, "/x"), None);
        assert_eq!(ALL.parse(&Method::POST, "/", &get_parameter), Some(RouteId::Page));
        for operation in Operation::ALL {
            let route = WITH_AWS.parse(&Method::POST, "/", &target(operation.target()));
            assert_eq!(label(route), operation.target());
        }
        for other in ["AmazonSSM.PutParameter", "x"] {
            let route = WITH_AWS.parse(&Method::POST, "/", &target(other));
            assert_eq!(label(route), "AmazonSSM.other");
        }
        assert_eq!(WITH_AWS.parse(&Method::POST, "/", &HeaderMap::new()), Some(RouteId::SsmOther));
    }

    #[tokio::test]
    async fn the_root_allows_post_beside_the_page() {
        for (routes, allow) in [
            (WITH_AWS, "POST,GET,HEAD"),
            (Routes(&[RouteId::SsmOther]), "POST"),
            (Routes(&[RouteId::Page]), "GET,HEAD"),
        ] {
            let request = Request::put("/").body(Body::empty()).expect("a request");
            let router = routes.router(|_| get(async || ()));
            let response = router.oneshot(request).await.expect("a Router never fails");
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()["allow"], allow);
        }
    }

    #[tokio::test]
    async fn the_router_refuses_other_methods_of_a_cacheable_route() {
        let router = ALL.router(|_| get(async || ()));
        for path in ["/param/a", "/param/", "/buckets"] {
            let request = Request::post(path).body(Body::empty()).expect("a request");
            let response = router.clone().oneshot(request).await.expect("a Router never fails");
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()["allow"], "GET,HEAD");
        }
    }
}
