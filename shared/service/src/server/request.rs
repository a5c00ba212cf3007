//! The types that the layers of the stack share: facts about a request, and the form of a response.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName},
    response::Response,
};
use tokio::time::Instant;

use super::wait_ticket::WaitTicket;
use crate::contract::routes::RouteId;

/// The milliseconds for which a caller waits, under the name that Envoy uses.
pub const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// The response of a service. Errors are responses too, so no service of the stack fails.
pub(crate) type ResponseResult = Result<Response, Infallible>;

/// The facts about a request that the layers share. They are one extension of the request, because
/// each extension takes an allocation.
#[derive(Clone)]
pub(crate) struct RequestInfo {
    pub(crate) route: Option<RouteId>,
    /// The time at which the header had arrived.
    pub(crate) received_at: Instant,
    /// The ticket of a request that may wait for a change.
    pub(crate) ticket: Option<Arc<WaitTicket>>,
    /// The deadline, from its layer on.
    pub(crate) deadline: Option<Deadline>,
}

impl RequestInfo {
    /// The deadline, for the services below its layer.
    pub(crate) fn due(&self) -> Deadline {
        self.deadline.expect("the layer above sets the deadline")
    }
}

/// The time by which a response is due. Handlers of axum's Router find it in the request's
/// extensions.
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
