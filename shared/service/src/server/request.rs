//! The types that the layers of the stack share: facts about a request, and the form of a response.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName},
    response::Response,
};
use tokio::time::Instant;

use crate::contract::routes::RouteId;

/// The milliseconds for which a caller waits, under the name that Envoy uses.
pub const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The response of a service. Errors are responses too, so no service of the stack fails.
pub(crate) type ResponseResult = Result<Response, Infallible>;

/// The route of a request and the time at which its header had arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestInfo {
    pub(crate) route: Option<RouteId>,
    pub(crate) received_at: Instant,
}

/// The time by which a response is due. Handlers find it in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// A caller that waits for less than `timeout` shortens the deadline. No caller lengthens it.
    pub fn new(received_at: Instant, timeout: Duration, headers: &HeaderMap) -> Self {
        let expected =
            headers.get(EXPECTED_TIMEOUT).and_then(|value| value.to_str().ok()?.parse().ok());
        let timeout = expected.map_or(timeout, |ms| timeout.min(Duration::from_millis(ms)));
        Self(received_at + timeout)
    }
}
