//! The routes of main-api, and the aggregation of aux-service's responses.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use axum::{
    Extension, Json,
    extract::{RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use cache::{Mode, Served, Subscription, http::NO_STORE};
use serde::de::DeserializeOwned;
use service::{
    contract::{
        openapi::handlers,
        page::html_page,
        problem::Problem,
        routes::{RouteId, Routes},
        ssm,
        status::{History, Reporter, wants_history},
        wire::{Aggregated, Buckets, Inventory, Parameters},
    },
    observe::{context, metrics::Exporter},
    server::{
        App, CachedRoutes, Deadline, PublicApi, Query, ResponseFuture, SsmQuery, StackConfig,
        Waits, change_stream, stack,
    },
};
use tokio::time::{Instant, timeout_at};

pub mod openapi;
pub mod status;
mod page;

use crate::{config::Config, error::Error, upstream::Upstream};
use openapi::document;
use status::{Sample, Status};

/// The state of the routes that the cache does not serve. Cloning is shallow.
#[derive(Clone)]
struct Gateway(Arc<Inner>);

struct Inner {
    version: String,
    upstream: Upstream,
    reporter: Arc<Reporter>,
    history: History,
    /// Whether clients may demand a revalidation; see [`Mode::of_request`].
    trusts_clients: bool,
}

/// The public routes of main-api, in descending order of traffic.
pub const ROUTES: Routes = Routes(&[
    RouteId::Param,
    RouteId::Parameter,
    RouteId::Values,
    RouteId::Params,
    RouteId::Buckets,
    RouteId::Inventory,
    RouteId::Changes,
    RouteId::SsmGetParameter,
    RouteId::SsmGetParameters,
    RouteId::SsmGetParametersByPath,
    RouteId::SsmDescribeParameters,
    RouteId::SsmOther,
    RouteId::Status,
    RouteId::Page,
    RouteId::Docs,
    RouteId::OpenApi,
]);

/// Builds the public API of main-api on top of the client of aux-service.
pub fn app(
    config: &Config,
    upstream: Upstream,
    exporter: &Exporter,
) -> App<impl PublicApi + use<>> {
    exporter.before_scrape({
        let upstream = upstream.clone();
        move || upstream.refresh_metrics()
    });
    let reporter = Arc::new(Reporter::new(
        "main-api",
        &config.main_version,
        config.common.cache_bytes(),
        exporter,
    ));
    let gateway = Gateway(Arc::new(Inner {
        version: config.main_version.clone(),
        upstream: upstream.clone(),
        reporter: Arc::clone(&reporter),
        history: History::start(move || Sample::take(&reporter)),
        trusts_clients: config.common.trusts_clients(),
    }));
    let (document, docs_page) = handlers(&document(&config.main_version));
    let waits = Waits::new(config.common.max_waiting);
    let others = ROUTES.router(|route| match route {
        RouteId::Changes => change_stream(upstream.changes(), waits.clone()),
        RouteId::Inventory => get(inventory).with_state(gateway.clone()),
        RouteId::Status => get(status).with_state(gateway.clone()),
        RouteId::Page => get(async || html_page(page::PAGE)),
        RouteId::OpenApi => document.clone(),
        RouteId::Docs => docs_page.clone(),
        _ => unreachable!("main-api has no other route that is not cacheable"),
    });
    let config_of_stack = StackConfig {
        routes: ROUTES,
        endpoint: |path| ROUTES.endpoint(path).to_owned(),
        cached: Arc::new(upstream.clone()),
        others,
        request_timeout: config.request_timeout,
        waits: waits.clone(),
        timed_out: || Error::UpstreamTimeout.problem(),
    };
    let api = stack(config_of_stack, &config.common, exporter);
    App {
        api,
        dependencies: Arc::new(move || upstream.health()),
        waits,
        started: Arc::new(AtomicBool::new(true)),
    }
}

/// Passes on every query, even one without a name: aux-service has the rules for names and rejects
/// invalid ones.
impl CachedRoutes for Upstream {
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>> {
        Upstream::lookup(self, key, now)
    }

    fn respond(&self, query: Query) -> ResponseFuture {
        let upstream = self.clone();
        Box::pin(async move { upstream.get(query).await })
    }

    fn subscribe(&self, key: &str) -> Option<Subscription> {
        Upstream::subscribe(self, key)
    }

    fn lookup_ssm(&self, request: &ssm::Request, now: Instant) -> Option<Result<Served, Problem>> {
        Upstream::lookup_ssm(self, request, now)
    }

    fn respond_ssm(&self, query: SsmQuery) -> ResponseFuture {
        let upstream = self.clone();
        Box::pin(async move { upstream.get_ssm(query).await })
    }
}

/// Serves both lists in one response. They are loaded at the same time under one deadline, and each
/// has its own outcome.
async fn inventory(
    State(gateway): State<Gateway>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Inner { version, upstream, trusts_clients, .. } = &*gateway.0;
    let remaining = deadline.saturating_duration_since(Instant::now());
    let deadline = Deadline(deadline - remaining / ASSEMBLY_RESERVE);
    let mode = Mode::of_request(&request, *trusts_clients);
    let list = |route: RouteId| {
        let query = Query { route, key: route.path().to_owned(), mode, deadline };
        with_deadline(deadline, upstream.get(query))
    };
    let (buckets, parameters) = tokio::join!(list(RouteId::Buckets), list(RouteId::Params));
    let buckets = buckets.map(|served| parse::<Buckets>(&served));
    let parameters = parameters.map(|served| parse::<Parameters>(&served));
    let versions = [
        buckets.as_ref().ok().map(|part| &part.aux_version),
        parameters.as_ref().ok().map(|part| &part.aux_version),
    ];
    let Some(aux_version) = versions.into_iter().flatten().next().cloned() else {
        return Err(highest_status(buckets.err().into_iter().chain(parameters.err())));
    };

    let mut errors = BTreeMap::new();
    for (part, problem) in
        [("buckets", buckets.as_ref().err()), ("parameters", parameters.as_ref().err())]
    {
        if let Some(problem) = problem {
            let problem = Problem { request_id: context::request_id(), ..problem.clone() };
            errors.insert(part.to_owned(), problem);
        }
    }
    let body = Inventory {
        buckets: buckets.ok().map(|part| part.body.buckets),
        parameters: parameters.ok().map(|part| part.body.parameters),
        errors,
    };
    let response = Aggregated { main_version: version.clone(), aux_version, body };
    // The cache holds the two lists, each with its own age. The combined response has no age, so no
    // cache may store it.
    Ok(([(header::CACHE_CONTROL, NO_STORE)], Json(response)).into_response())
}

/// This fraction of the remaining time is reserved for the response. A list that hangs until the
/// deadline would otherwise cost the client the other list too.
const ASSEMBLY_RESERVE: u32 = 20;

/// Waits for one list. Returns a timeout problem at the deadline.
async fn with_deadline(
    Deadline(deadline): Deadline,
    part: impl Future<Output = Result<Served, Problem>>,
) -> Result<Served, Problem> {
    match timeout_at(deadline, part).await {
        Ok(part) => part,
        Err(_) => Err(Error::UpstreamTimeout.problem()),
    }
}

/// Parses the list in one of our own responses.
fn parse<T: DeserializeOwned>(served: &Served) -> Aggregated<T> {
    serde_json::from_slice(served.body().bytes()).expect("its body is this type's JSON")
}

async fn status(
    State(gateway): State<Gateway>,
    deadline: Extension<Deadline>,
    RawQuery(query): RawQuery,
) -> Json<Status> {
    let Inner { upstream, reporter, history, .. } = &*gateway.0;
    let query = query.as_deref();
    let aux_service = upstream.status(*deadline, wants_history(query)).await;
    let aux_service = aux_service.map_err(|error| error.problem());
    Json(Status::of(reporter, upstream, history.for_query(query), aux_service))
}

/// Returns the error with the highest status, or the first of several with that status.
fn highest_status(errors: impl Iterator<Item = Problem>) -> Problem {
    errors
        .reduce(|highest, other| if other.status > highest.status { other } else { highest })
        .expect("no list arrived, so there is an error")
}
