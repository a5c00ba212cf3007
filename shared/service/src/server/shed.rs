//! Load shedding: at most `MAX_IN_FLIGHT` requests are in progress at once.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    http::Request,
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{
    places::{Permit, Places},
    request::{RequestInfo, ResponseResult},
};
use crate::contract::problem::Problem;

/// Refuses requests beyond a number instead of queueing them: a client that gets a 503 at once can
/// use another replica.
///
/// tower's `ConcurrencyLimit` below `LoadShed` would do that, but it reserves its permit for a
/// connection and not for a request, and an idle connection could keep the last one.
#[derive(Clone)]
pub(crate) struct ShedLayer(Places);

impl ShedLayer {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        Self(Places::new(max_in_flight))
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, limit: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Shed<S> {
    inner: S,
    limit: ShedLayer,
}

impl<S, B> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ShedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.limit.0.take() {
            Some(permit) => {
                // A request that may wait gives its permit back when it begins to wait.
                let info = request.extensions().get::<RequestInfo>();
                let permit = match info.and_then(|info| info.ticket.as_ref()) {
                    Some(ticket) => {
                        ticket.hold(permit);
                        None
                    }
                    None => Some(permit),
                };
                ShedFuture::Admitted { inner: self.inner.call(request), _permit: permit }
            }
            None => ShedFuture::Refused,
        }
    }
}

pin_project! {
    /// Holds the permit until the response is there.
    #[project = ShedProjection]
    pub(crate) enum ShedFuture<F> {
        Admitted { #[pin] inner: F, _permit: Option<Permit> },
        Refused,
    }
}

impl<F: Future<Output = ResponseResult>> Future for ShedFuture<F> {
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        match self.project() {
            ShedProjection::Admitted { inner, .. } => inner.poll(cx),
            ShedProjection::Refused => Poll::Ready(Ok(Problem::overloaded().into_response())),
        }
    }
}
