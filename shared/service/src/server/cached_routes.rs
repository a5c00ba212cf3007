//! The interface between the server and the cacheable routes of a service.

use std::{future::Future, pin::Pin};

use axum::{
    body::Body,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use cache::{Mode, Served, Subscription};
use tokio::time::Instant;

use super::request::Deadline;
use crate::contract::{problem::Problem, routes::RouteId, ssm};

/// The cacheable routes of a service.
pub trait CachedRoutes: Send + Sync + 'static {
    /// Looks up the response for a cache key, without waiting and without a load. Returns a fresh
    /// entry, a negative entry, or a stale entry while its loads back off. Returns `None` if the
    /// caller must use [`respond`](Self::respond).
    ///
    /// The outcome is counted, so the caller must send the result.
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>>;

    /// Returns the response from the cache, or waits for a load.
    fn respond(&self, query: Query) -> ResponseFuture;

    /// Subscribes to the events of the entry that serves a cache key. Returns `None` if the cache is
    /// off.
    fn subscribe(&self, key: &str) -> Option<Subscription>;

    /// Looks up the response to a request in AWS's protocol, as [`lookup`](Self::lookup) does.
    fn lookup_ssm(&self, _: &ssm::Request, _: Instant) -> Option<Result<Served, Problem>> {
        None
    }

    /// Returns the response to a request in AWS's protocol. Only a service with the routes of this
    /// protocol gets such requests.
    fn respond_ssm(&self, _: SsmQuery) -> ResponseFuture {
        Box::pin(async { Err(Problem::internal()) })
    }
}

/// A request in AWS's protocol that [`lookup_ssm`](CachedRoutes::lookup_ssm) did not serve.
#[derive(Debug)]
pub struct SsmQuery {
    pub request: ssm::Request,
    pub mode: Mode,
    pub deadline: Deadline,
}

/// A response, or the problem of the request.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Served, Problem>> + Send>>;

/// A request for a cacheable route that [`lookup`](CachedRoutes::lookup) did not serve.
#[derive(Debug)]
pub struct Query {
    pub route: RouteId,
    /// Under this key the cache is to hold the response. See [`RouteId::cache_key`].
    pub key: String,
    pub mode: Mode,
    pub deadline: Deadline,
}

impl Query {
    /// The parameter or path that the request names, with its leading slash.
    pub fn parameter(&self) -> Option<&str> {
        self.route.parameter(&self.key)
    }
}

/// Builds the response to a request with these headers.
pub(crate) fn response_of(found: Result<Served, Problem>, request: &HeaderMap) -> Response {
    match found {
        Ok(served) => served.response(request).map(Body::from),
        Err(problem) => problem.into_response(),
    }
}
