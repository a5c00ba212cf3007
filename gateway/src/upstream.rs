//! The client of aux-service. From the outside in: the overall deadline, the cache,
//! [retry], then the layers of one attempt: [circuit breaker](crate::breaker),
//! timeout, HTTP.

use std::{sync::Arc, time::Duration};

use http::{Extensions, HeaderMap, HeaderValue, Method, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Request;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde_json::Value as JsonValue;
use shared::{
    auth::Token,
    cache::{self, Answer, Cache, Loaded, Mode, Previous, Served},
    config::Switch,
    http_cache::{EntityTag, Freshness},
    metrics::REVISION,
    problem::Problem,
    server::{Deadline, Query},
};
use tokio::time::Instant;
use url::Url;

use crate::{
    aggregate::Body,
    attempt::{self, Attempt, Call, Failure, Successes},
    breaker::{self, Breaker},
    config::Config,
    error::Error,
    kept::Kept,
    retry::{self, Retry},
};

/// A host that does not even shake hands within this time is gone; another replica may be there.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Shorter than the two minutes after which aux-service closes a connection that nobody uses:
/// a request must not meet that close half-way.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// An abandoned attempt counts as a failure from this part of its timeout on.
const SLOW_PART: u32 = 4;

/// Who asks how things are wants to know now that aux-service does not answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// Nearly all paths below that of the base are shorter, in bytes.
const USUAL_PATH: usize = 128;

const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// A handle: cloning it shares the client and what is kept.
#[derive(Clone)]
pub struct Upstream(Arc<Parts>);

struct Parts {
    client: ClientWithMiddleware,
    base: Url,
    breaker: Breaker,
    kept: Kept,
    cache: Cache<Error>,
    /// Of this process: of two builds, one may write the same answer in another way.
    build: String,
    /// What a load may take; `None` while the cache is off, where each call is its caller's alone.
    load_timeout: Option<Duration>,
}

/// What aux-service can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Buckets,
    Params,
    Param,
    Values,
    Status,
}

impl Route {
    fn of(id: shared::routes::RouteId) -> Self {
        match id {
            shared::routes::RouteId::Buckets => Self::Buckets,
            shared::routes::RouteId::Params => Self::Params,
            shared::routes::RouteId::Values => Self::Values,
            _ => Self::Param,
        }
    }

    const ALL: [Self; 5] = [Self::Buckets, Self::Params, Self::Param, Self::Values, Self::Status];

    /// The label `route` of metrics.
    pub fn template(self) -> &'static str {
        match self {
            Self::Buckets => "/buckets",
            Self::Params => "/params",
            Self::Param => "/param/{name}",
            Self::Values => "/values/{path}",
            Self::Status => "/status",
        }
    }

    fn segment(self) -> &'static str {
        match self {
            Self::Buckets => "buckets",
            Self::Params => "params",
            Self::Param => "param",
            Self::Values => "values",
            Self::Status => "status",
        }
    }
}

/// One question to aux-service.
#[derive(Clone, Copy)]
struct Question<'a> {
    route: Route,
    name: Option<&'a str>,
    /// Whether what aux-service keeps will not do.
    revalidate: bool,
}

impl Upstream {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            // Inside a cluster a proxy of the environment would only be in the way.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // One layer retries, and it has a budget.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .http1_only()
            .build()?;
        let breaker = Breaker::new(breaker::Settings {
            consecutive_failures: config.breaker_consecutive_failures,
            failure_rate: config.breaker_failure_rate,
            window: config.breaker_window,
            min_calls: config.breaker_min_calls,
            open_for: config.breaker_open_for,
            slow_call: config.attempt_timeout / SLOW_PART,
        });
        let retry = Retry::new(&retry::Settings {
            max_attempts: config.retry_max_attempts,
            backoff: config.retry_backoff,
            budget: config.retry_budget,
        });
        let routes = Route::ALL.map(Route::template);
        let kept = Kept::to(&config.aux_url);
        let attempt = Attempt {
            breaker: breaker.clone(),
            kept: kept.clone(),
            timeout: config.attempt_timeout,
            token: config.aux_token_file.as_ref().map(Token::follow),
            version: config.main_version.clone(),
            successes: Successes::new(&routes),
        };
        let caching = config.common.cache == Switch::On;
        let settings = cache::Settings {
            name: "answers",
            hop: "main-api",
            max_bytes: config.common.cache_max_bytes.as_u64(),
        };
        let cache = if caching { Cache::new(settings) } else { Cache::off(settings) };
        retry::describe(&routes);
        attempt::describe();
        Ok(Self(Arc::new(Parts {
            client: ClientBuilder::new(client).with(retry).with(attempt).build(),
            base: config.aux_url.clone(),
            breaker,
            kept,
            cache,
            build: format!("{} {REVISION}", config.main_version),
            load_timeout: caching.then_some(config.request_timeout),
        })))
    }

    /// Asks the cache, and aux-service if need be, for an answer of ours. `name` is what follows
    /// the route's own segment.
    ///
    /// A load that others may wait for too has the whole of `REQUEST_TIMEOUT`, however little time
    /// the caller gave that began it. To wait no longer than until its own deadline is up to each
    /// caller; the layer above the routes sees to that of the request.
    pub async fn answer(&self, query: Query) -> Result<Served, Problem> {
        let Query { route, mode, deadline: Deadline(deadline), .. } = query;
        let revalidate = mode == Mode::Revalidate;
        let (upstream, name) = (self.clone(), query.parameter().map(str::to_owned));
        let load = async move |attempt: cache::Attempt| {
            let deadline =
                upstream.0.load_timeout.map_or(deadline, |timeout| Instant::now() + timeout);
            let route = Route::of(route);
            let question = Question { route, name: name.as_deref(), revalidate };
            upstream.load(question, attempt.previous, deadline).await
        };
        Ok(self.0.cache.get(&query.key, mode, load).await?)
    }

    /// Looks up a cache key without waiting and without a call.
    pub fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>> {
        Some(self.0.cache.lookup(key, now)?.map_err(Problem::from))
    }

    /// aux-service's own status, as it is at this moment.
    pub async fn status(&self, Deadline(deadline): Deadline) -> Result<JsonValue, Error> {
        let question = Question { route: Route::Status, name: None, revalidate: false };
        let deadline = deadline.min(Instant::now() + STATUS_TIMEOUT);
        let (_, body) = self.fetch(question, None, deadline).await?;
        Ok(serde_json::from_slice(&body.expect("a 200 has one"))
            .expect("the attempt has parsed it"))
    }

    /// One answer of aux-service, made into one of ours.
    async fn load(
        &self,
        question: Question<'_>,
        previous: Option<Previous>,
        deadline: Instant,
    ) -> Result<Loaded, Error> {
        let asked = Instant::now();
        let validator = previous.as_ref().and_then(|previous| previous.validator.clone());
        let (headers, body) = self.fetch(question, validator, deadline).await?;
        let freshness = Freshness::read(&headers, asked.elapsed());
        let storable = freshness.is_some();
        let answer = match (body, previous) {
            (None, previous) => previous.expect("only its validator has a 304").answer,
            (Some(mut body), _) => {
                if storable {
                    let body = std::mem::take(&mut *body);
                    match headers.get(header::ETAG) {
                        // Ours is made of theirs and our build, and of nothing else.
                        Some(theirs) if theirs.as_bytes().starts_with(b"\"") => {
                            let source = [theirs.as_bytes(), self.0.build.as_bytes()];
                            Answer::tagged(Answer::JSON, body, EntityTag::of_source(&source))
                        }
                        _ => Answer::new(Answer::JSON, body),
                    }
                } else {
                    Answer::secret(Answer::JSON, body)
                }
            }
        };
        Ok(Loaded {
            answer,
            freshness: freshness.unwrap_or_default(),
            storable,
            validator: headers.get(header::ETAG).map(|tag| tag.as_bytes().into()),
            cache_status: headers
                .get(header::CACHE_STATUS)
                .and_then(|status| Some(status.to_str().ok()?.into())),
        })
    }

    /// Asks aux-service: the headers of a 200 with the body of our answer to it, or those of a 304 to
    /// a `validator`.
    async fn fetch(
        &self,
        Question { route, name, revalidate }: Question<'_>,
        validator: Option<Box<[u8]>>,
        deadline: Instant,
    ) -> Result<(HeaderMap, Option<Body>), Error> {
        let mut call = Extensions::new();
        call.insert(Call { route: route.template(), deadline, aggregate: route.aggregate() });
        let mut request = Request::new(Method::GET, self.url(route, name));
        if let Some(validator) = validator.and_then(|tag| HeaderValue::from_bytes(&tag).ok()) {
            request.headers_mut().insert(header::IF_NONE_MATCH, validator);
        }
        if revalidate {
            // Or aux-service would answer what it keeps.
            request.headers_mut().insert(header::CACHE_CONTROL, NO_CACHE);
        }
        // No attempt and no pause before one outlasts the deadline of its call.
        let response = self.0.client.execute_with_extensions(request, &mut call).await;
        let mut response = response.map_err(Failure::from)?;
        Ok((std::mem::take(response.headers_mut()), call.remove()))
    }

    /// What `/readyz` tells of aux-service.
    pub fn health(&self) -> serde_json::Value {
        serde_json::json!({
            "aux-service": if self.0.breaker.is_in_doubt() { "degraded" } else { "ok" },
            "circuit_breaker": self.0.breaker.state().as_str(),
        })
    }

    /// To be called before each scrape, and every few seconds.
    pub fn refresh_metrics(&self) {
        self.0.breaker.publish();
        self.0.kept.sweep();
        self.0.cache.sync();
    }

    /// No name can lead out of its route: one in which anything could have a meaning goes as a single
    /// segment.
    fn url(&self, route: Route, name: Option<&str>) -> Url {
        // `Url::path_segments_mut` would drop tabs and line ends, and so ask for another name.
        let base = self.0.base.path().trim_end_matches('/');
        let mut path = String::with_capacity(base.len() + USUAL_PATH);
        path.extend([base, "/", route.segment()]);
        match name {
            // As the client has most likely written it, so that aux-service finds it at once.
            Some(name) if is_plain(name) => path.push_str(name),
            Some(name) => {
                path.push('/');
                path.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
            }
            None => {}
        }
        let mut url = self.0.base.clone();
        url.set_path(&path);
        url
    }
}

/// Whether a name is segments of harmless characters, each with its slash before it.
fn is_plain(name: &str) -> bool {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && part.iter().all(harmless);
    name.strip_prefix('/')
        .is_some_and(|name| name.as_bytes().split(|&byte| byte == b'/').all(plain))
}
