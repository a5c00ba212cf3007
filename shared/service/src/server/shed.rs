//! Load shedding: at most `MAX_IN_FLIGHT` requests are in progress at once.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::{
    http::Request,
    response::{IntoResponse, Response},
};
use metrics::Counter;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::request::ResponseResult;
use crate::{contract::problem::Problem, observe::metrics::REQUESTS_SHED};

/// Refuses requests beyond a number instead of queueing them: a client that gets a 503 at once can
/// use another replica.
///
/// tower's `ConcurrencyLimit` below `LoadShed` would do that, but it reserves its permit for a
/// connection and not for a request, and an idle connection could keep the last one.
#[derive(Clone)]
pub(crate) struct ShedLayer(Arc<Limit>);

struct Limit {
    max_in_flight: usize,
    in_flight: AtomicUsize,
    refused: Counter,
}

impl ShedLayer {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        let refused = metrics::counter!(REQUESTS_SHED);
        Self(Arc::new(Limit { max_in_flight, in_flight: AtomicUsize::new(0), refused }))
    }

    fn admit(&self) -> Option<Permit> {
        // A refused request has its permit for a moment too, and gives it back when it is dropped.
        let permit = Permit(Arc::clone(&self.0));
        (self.0.in_flight.fetch_add(1, Relaxed) < self.0.max_in_flight).then_some(permit)
    }
}

/// The permit for one request in progress. Dropping it frees the place.
pub(crate) struct Permit(Arc<Limit>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
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
        match self.limit.admit() {
            Some(permit) => {
                ShedFuture::Admitted { inner: self.inner.call(request), _permit: permit }
            }
            None => {
                self.limit.0.refused.increment(1);
                ShedFuture::Refused
            }
        }
    }
}

pin_project! {
    /// Holds the permit until the response is there.
    #[project = ShedProjection]
    pub(crate) enum ShedFuture<F> {
        Admitted { #[pin] inner: F, _permit: Permit },
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
