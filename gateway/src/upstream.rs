//! The client of aux-service. From the outside in: the cache, then the stack that [`Upstream::new`]
//! composes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use cache::{
    Cache, CachedBody, LoadContext, Loaded, Mode, Served, Stored, Subscription,
    http::{EntityTag, Freshness},
};
use http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error as ClientError};
use serde_json::Value as JsonValue;
use service::{
    auth::TokenSource,
    changes::ChangeLog,
    config::Switch,
    contract::{problem::Problem, routes::RouteId, ssm},
    observe::{context::RequestContext, metrics::REVISION},
    server::{Deadline, Query, SsmQuery},
};
use tokio::time::Instant;
use url::Url;

use self::{
    attempt::Attempt,
    aux_request::AuxRequest,
    call::{CALLED_ROUTES, Call},
    changes::{Follower, Link, may_precede},
    circuit_history::Opening,
    circuits::Circuits,
    connections::{Connections, streaming_client},
    envelope::{content_type_of, transform_of},
    failure::Failure,
    metrics::OkMetrics,
    retry::Retry,
};
use crate::{config::Config, error::Error};

mod aux_request;
mod retry;
pub mod budget;
mod attempt;
mod circuits;
pub mod circuit_history;
pub mod breaker;
mod window;
mod connections;
mod changes;
mod body;
mod validate;
mod metrics;
pub mod envelope;
pub(crate) mod failure;
pub(crate) mod call;

/// An abandoned attempt counts as a failure after its timeout divided by this.
const SLOW_CALL_DIVISOR: u32 = 4;

/// The timeout for `/status`: report an unresponsive aux-service quickly instead of waiting for the
/// request timeout.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// The part of `CACHE_MAX_BYTES` for responses whose requests a client can vary at will: lists of
/// names, pages and filters of AWS's protocol. They must not evict the other entries.
const VARIANTS_DIVISOR: u64 = 8;

/// The client of aux-service. Cloning it shares the connections, the circuits and the cache.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    client: ClientWithMiddleware,
    base: Url,
    circuits: Circuits,
    cache: Cache<Error>,
    /// See [`VARIANTS_DIVISOR`].
    variants: Cache<Error>,
    changes: ChangeLog,
    /// The state of the stream of aux-service's changes.
    link: Arc<Link>,
    /// The token for aux-service.
    token: Option<TokenSource>,
    /// Version and revision of this process. Another build may write the same response differently.
    build: String,
    /// The time that a load may take. While the cache is off, a load belongs to one caller and ends
    /// at its deadline, so there is none.
    load_timeout: Option<Duration>,
}

impl Upstream {
    /// Builds the client. No connection is opened yet.
    ///
    /// # Errors
    ///
    /// reqwest cannot build a client.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let circuits = Circuits::new(&breaker::Settings {
            consecutive_failures: config.breaker_consecutive_failures,
            failure_rate: config.breaker_failure_rate,
            window: config.breaker_window,
            min_calls: config.breaker_min_calls,
            open_for: config.breaker_open_for,
            slow_call: config.attempt_timeout / SLOW_CALL_DIVISOR,
        });
        let retry = Retry::new(&retry::Settings {
            max_attempts: config.retry_max_attempts,
            backoff: config.retry_backoff,
            budget: config.retry_budget,
        });
        retry::describe(&CALLED_ROUTES);
        let connections = Connections::new()?;
        let wrapped = connections.any_client();
        let token = config.aux_token_file.as_ref().map(TokenSource::watch);
        let attempt = Attempt {
            circuits: circuits.clone(),
            timeout: config.attempt_timeout,
            connections,
            token: token.clone(),
            version: config.main_version.clone(),
            ok_metrics: OkMetrics::new(),
        };
        let client = ClientBuilder::new(wrapped)
            // This layer is outside of the attempt, so that the circuit breaker sees every retry.
            .with(retry)
            // This layer has the circuit breaker, timeout, HTTP and validation. It is the last one,
            // because it sends the request itself.
            .with(attempt)
            .build();
        let caching = config.common.cache == Switch::On;
        let cache = |name, max_bytes| {
            let settings = cache::Settings { name, hop: "main-api", max_bytes };
            if caching { Cache::new(settings) } else { Cache::off(settings) }
        };
        let all_bytes = config.common.cache_max_bytes.as_u64();
        let variant_bytes = all_bytes / VARIANTS_DIVISOR;
        Ok(Self(Arc::new(Inner {
            client,
            base: config.aux_url.clone(),
            circuits,
            cache: cache("answers", all_bytes - variant_bytes),
            variants: cache("variants", variant_bytes),
            changes: ChangeLog::with_random_start(),
            link: Arc::new(Link::new()),
            token,
            build: format!("{} {REVISION}", config.main_version),
            load_timeout: caching.then_some(config.request_timeout),
        })))
    }

    /// Spawns the task that follows the changes that aux-service reports.
    ///
    /// # Errors
    ///
    /// reqwest cannot build a client.
    pub fn follow_changes(&self) -> anyhow::Result<()> {
        let Inner { base, cache, variants, changes, link, token, .. } = &*self.0;
        let follower = Follower::new(changes::Parts {
            client: streaming_client()?,
            base: base.clone(),
            token: token.clone(),
            caches: [cache.clone(), variants.clone()],
            log: changes.clone(),
            link: Arc::clone(link),
        });
        tokio::spawn(follower.run());
        Ok(())
    }

    /// Returns the changes for main-api's own clients.
    pub fn changes(&self) -> ChangeLog {
        self.0.changes.clone()
    }

    /// Returns our response for a query, from the cache or with a call of aux-service.
    ///
    /// Others may wait for the same load, so it has the whole of `REQUEST_TIMEOUT`, even if the
    /// caller that starts it has less time. Each caller stops waiting at its own deadline, which
    /// the layer above enforces.
    ///
    /// # Errors
    ///
    /// The problem for the client, if the call failed and the cache holds no usable entry.
    pub async fn get(&self, query: Query) -> Result<Served, Problem> {
        let request = AuxRequest::of(&query);
        self.read(&self.0.cache, &query.key, request, query.mode, query.deadline).await
    }

    /// Returns our response for a query in AWS's protocol, like [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    pub async fn get_ssm(&self, query: SsmQuery) -> Result<Served, Problem> {
        let request = AuxRequest::of_ssm(&query);
        let (cache, key) = (self.cache_of(&query.request), query.request.key());
        self.read(cache, &key, request, query.mode, query.deadline).await
    }

    fn cache_of(&self, request: &ssm::Request) -> &Cache<Error> {
        match request {
            ssm::Request::GetParameter(_) => &self.0.cache,
            ssm::Request::GetParameters(_)
            | ssm::Request::GetParametersByPath(_)
            | ssm::Request::DescribeParameters(_) => &self.0.variants,
        }
    }

    async fn read(
        &self,
        cache: &Cache<Error>,
        key: &str,
        request: AuxRequest,
        mode: Mode,
        Deadline(deadline): Deadline,
    ) -> Result<Served, Problem> {
        let upstream = self.clone();
        let request_context = RequestContext::current();
        let load = move |context: LoadContext| {
            // The load runs in a task of its own, as part of the request that started it.
            RequestContext::restore(request_context, async move {
                let deadline =
                    upstream.0.load_timeout.map_or(deadline, |timeout| Instant::now() + timeout);
                upstream.load(&request, context.stored, deadline).await
            })
        };
        Ok(cache.get(key, mode, load).await?)
    }

    /// Looks up a cache key without waiting and without a call.
    pub fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>> {
        Some(self.0.cache.lookup(key, now)?.map_err(Problem::from))
    }

    /// Subscribes to the events of an entry; see [`Cache::subscribe`].
    pub fn subscribe(&self, key: &str) -> Option<Subscription> {
        self.0.cache.subscribe(key)
    }

    /// Looks up the response to a request in AWS's protocol, without waiting and without a call.
    pub fn lookup_ssm(
        &self,
        request: &ssm::Request,
        now: Instant,
    ) -> Option<Result<Served, Problem>> {
        Some(self.cache_of(request).lookup(&request.key(), now)?.map_err(Problem::from))
    }

    /// Returns the current `/status` of aux-service, within at most two seconds. `history` adds the
    /// counts of its last 15 minutes.
    ///
    /// # Errors
    ///
    /// aux-service does not respond, or the circuit is open.
    pub async fn status(
        &self,
        Deadline(deadline): Deadline,
        history: bool,
    ) -> Result<JsonValue, Error> {
        let request = AuxRequest::status(history);
        let deadline = deadline.min(Instant::now() + STATUS_TIMEOUT);
        let (_, body) = self.fetch(&request, None, deadline).await?;
        let body = body.expect("a request without a validator has no 304");
        Ok(serde_json::from_slice(&body).expect("the attempt has parsed the body"))
    }

    /// Loads one entry of the cache from aux-service.
    async fn load(
        &self,
        request: &AuxRequest,
        stored: Option<Stored>,
        deadline: Instant,
    ) -> Result<Loaded, Error> {
        let started = Instant::now();
        let validator = stored.as_ref().and_then(|stored| stored.validator.clone());
        let (headers, body) = self.fetch(request, validator, deadline).await?;
        let freshness = Freshness::read(&headers, started.elapsed());
        let storable = freshness.is_some();
        let mut freshness = freshness.unwrap_or_default();
        // The replica that responded may not have learned of the change yet.
        let outdated_at = stored
            .as_ref()
            .and_then(|stored| stored.outdated_at)
            .filter(|changed| may_precede(freshness.age_at_load, changed.elapsed()));
        if outdated_at.is_some() {
            freshness = freshness.stale_from(freshness.age_at_load);
        }
        let body = match (body, stored) {
            (None, stored) => stored.expect("only its validator has a 304").body,
            (Some(body), _) if storable => self.cacheable_body(request.route, &headers, &body),
            (Some(body), _) => CachedBody::confidential_bytes(content_type_of(request.route), body),
        };
        Ok(Loaded {
            body,
            freshness,
            storable,
            validator: headers.get(header::ETAG).map(|tag| tag.as_bytes().into()),
            cache_status: headers
                .get(header::CACHE_STATUS)
                .and_then(|status| Some(status.to_str().ok()?.into())),
            min_interval: Duration::ZERO,
            outdated_at,
        })
    }

    /// Copies a body for the cache into memory of its exact size. Its tag is derived from the
    /// upstream's strong tag and our build, since our body depends on nothing else. A body in AWS's
    /// protocol has no tag, because that protocol has no conditional requests.
    fn cacheable_body(&self, route: RouteId, headers: &HeaderMap, body: &[u8]) -> CachedBody {
        if route.route().is_aws() {
            return CachedBody::untagged(ssm::CONTENT_TYPE, body.to_vec());
        }
        match headers.get(header::ETAG).map(HeaderValue::as_bytes) {
            Some(upstream) if upstream.starts_with(b"\"") => {
                let tag = EntityTag::derived_from(&[upstream, self.0.build.as_bytes()]);
                CachedBody::tagged(CachedBody::JSON, body.to_vec(), tag)
            }
            _ => CachedBody::new(CachedBody::JSON, body.to_vec()),
        }
    }

    /// Calls aux-service. Returns the headers of the response and our body, which is `None` for a
    /// 304 to the `validator`. The body is wiped from memory when it is dropped.
    async fn fetch(
        &self,
        request: &AuxRequest,
        validator: Option<Box<[u8]>>,
        deadline: Instant,
    ) -> Result<(HeaderMap, Option<Bytes>), Error> {
        let route = request.route;
        let mut extensions = Extensions::new();
        extensions.insert(Call { route, deadline, transform: transform_of(route) });
        let message = request.message(&self.0.base, validator);
        // The layers end every attempt, and every pause before one, at the deadline of its call.
        let response = self.0.client.execute_with_extensions(message, &mut extensions).await;
        let mut response = response.map_err(Failure::from)?;
        let headers = std::mem::take(response.headers_mut());
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok((headers, None));
        }
        // The attempt has read the body, so nothing is waited for or copied here.
        let body = response.bytes().await.map_err(ClientError::from).map_err(Failure::from)?;
        Ok((headers, Some(body)))
    }

    /// The dependencies that `/readyz` reports.
    pub fn health(&self) -> JsonValue {
        let state = |is_degraded| if is_degraded { "degraded" } else { "ok" };
        let circuits = &self.0.circuits;
        serde_json::json!({
            "aux-service": state(circuits.is_degraded()),
            "changes": state(self.0.link.is_degraded()),
            "circuit_breaker": self.worst_circuit_state(),
            "circuits": self.circuit_states(),
        })
    }

    /// The state of the circuit that is furthest from closed.
    pub fn worst_circuit_state(&self) -> &'static str {
        self.0.circuits.worst_state().as_str()
    }

    /// The state of each route's circuit, by the route's label.
    pub fn circuit_states(&self) -> BTreeMap<&'static str, &'static str> {
        self.0.circuits.states().map(|(route, state)| (route, state.as_str())).collect()
    }

    /// The latest openings of the circuits, oldest first.
    pub fn openings(&self) -> Vec<Opening> {
        self.0.circuits.openings()
    }

    /// Updates the metrics that time alone changes. Call it before each scrape, and every few
    /// seconds.
    pub fn refresh_metrics(&self) {
        self.0.circuits.publish();
        self.0.cache.sync();
        self.0.variants.sync();
    }
}
