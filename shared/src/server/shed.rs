//! Load shedding: at most `MAX_IN_FLIGHT` requests are open at once.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
};
use metrics::Counter;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::respond::{Answer, Respond};
use crate::{metrics::REQUESTS_SHED, problem::Problem};

/// Refuses requests beyond a number instead of queueing them: a client that gets a 503 at once can
/// use another replica.
#[derive(Clone)]
pub(crate) struct ShedLayer {
    permits: Arc<Semaphore>,
    refused: Counter,
}

impl ShedLayer {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_in_flight)),
            refused: metrics::counter!(REQUESTS_SHED),
        }
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
        match Arc::clone(&self.limit.permits).try_acquire_owned() {
            Ok(permit) => {
                ShedFuture { inner: Respond::call(self.inner.call(request)), _permit: Some(permit) }
            }
            Err(_) => {
                self.limit.refused.increment(1);
                ShedFuture { inner: Respond::refuse(overloaded().into_response()), _permit: None }
            }
        }
    }
}

pin_project! {
    /// Holds the permit until the response is there.
    pub(crate) struct ShedFuture<F> {
        #[pin]
        inner: Respond<F>,
        _permit: Option<OwnedSemaphorePermit>,
    }
}

impl<F: Future<Output = Answer>> Future for ShedFuture<F> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.project().inner.poll(cx)
    }
}

pub(crate) fn overloaded() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "Too many requests at once",
        "More requests are open than this service allows; try again in a second.",
    )
    .retry_after(Duration::from_secs(1))
}
