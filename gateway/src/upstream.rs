//! The client of aux-service. From the outside in: the overall deadline, [retry](crate::retry),
//! then the layers of an [attempt](crate::attempt): circuit breaker, timeout, HTTP.

use std::{sync::Arc, time::Duration};

use http::{Extensions, HeaderMap};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use serde::de::DeserializeOwned;
use shared::http::Deadline;
use tokio::time::timeout_at;
use url::Url;

use crate::{
    attempt::{self, Attempt, Call, Failure},
    breaker::{self, Breaker},
    config::Config,
    error::Error,
    retry::{self, Retry},
};

/// A host that does not even shake hands within this time is gone; another replica may be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Shorter than the ten seconds after which aux-service closes a connection that nobody uses:
/// a request must not meet that close half-way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(8);

/// An abandoned attempt counts as a failure from this part of its timeout on.
const SLOW_PART: u32 = 4;

/// Cloning is shallow.
#[derive(Clone)]
pub struct Upstream {
    client: ClientWithMiddleware,
    base: Url,
    breaker: Breaker,
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

/// A successful answer.
#[derive(Debug)]
pub struct Answer<T> {
    pub body: T,
    pub headers: HeaderMap,
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
        let attempt = Attempt { breaker: breaker.clone(), timeout: config.attempt_timeout };
        retry::describe(&Route::ALL.map(Route::template));
        attempt::describe();
        Ok(Self {
            client: ClientBuilder::new(client).with(retry).with(attempt).build(),
            base: config.aux_url.clone(),
            breaker,
        })
    }

    /// Asks aux-service. `name` is what follows the route's own segment.
    pub async fn get<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        route: Route,
        name: Option<&str>,
        Deadline(deadline): Deadline,
    ) -> Result<Answer<T>, Error> {
        let call = Call { route: route.template(), deadline, parse: parse::<T> };
        let request = self.client.get(self.url(route, name)).with_extension(call);
        let response = timeout_at(deadline, request.send()).await;
        let mut response = response.map_err(|_| Error::UpstreamTimeout)?.map_err(Failure::from)?;
        let body = response.extensions_mut().remove::<Arc<T>>().and_then(Arc::into_inner);
        let body = body.expect("the attempt has parsed the body of a 200");
        Ok(Answer { body, headers: std::mem::take(response.headers_mut()) })
    }

    /// What `/readyz` tells of aux-service.
    pub fn health(&self) -> serde_json::Value {
        serde_json::json!({
            "aux-service": if self.breaker.is_in_doubt() { "degraded" } else { "ok" },
            "circuit_breaker": self.breaker.state().as_str(),
        })
    }

    /// To be called before each scrape.
    pub fn refresh_metrics(&self) {
        self.breaker.publish();
    }

    /// The path is made of segments, so that no name can lead out of its route.
    fn url(&self, route: Route, name: Option<&str>) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("the configuration accepts only http URLs, which have a path")
            .pop_if_empty()
            .push(route.segment())
            .extend(name);
        url
    }
}

/// Reads a body into the extensions of its response. The parser's message may quote a value, so it goes no further.
fn parse<T: DeserializeOwned + Send + Sync + 'static>(
    body: &[u8],
    parsed: &mut Extensions,
) -> bool {
    let Ok(body) = serde_json::from_slice::<T>(body) else { return false };
    parsed.insert(Arc::new(body));
    true
}
