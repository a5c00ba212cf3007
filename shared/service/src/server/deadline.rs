//! The deadline of a request: `REQUEST_TIMEOUT`, or less where the caller waits for less.
//!
//! The timeouts of tower and tower-http are the same for every request. The deadline differs by
//! request, so it needs a layer of its own.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    http::Request,
    response::{IntoResponse, Response},
};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

use super::{
    request::{Deadline, RequestInfo, ResponseResult},
    wait_ticket::WaitTicket,
};
use crate::contract::problem::Problem;

#[derive(Clone, Copy)]
pub(crate) struct DeadlineLayer {
    pub(crate) request_timeout: Duration,
    /// The problem of a request that took longer.
    pub(crate) timed_out: fn() -> Problem,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = WithDeadline<S>;

    fn layer(&self, inner: S) -> WithDeadline<S> {
        WithDeadline { inner, settings: *self }
    }
}

#[derive(Clone)]
pub(crate) struct WithDeadline<S> {
    inner: S,
    settings: DeadlineLayer,
}

impl<S, B> Service<Request<B>> for WithDeadline<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let info = request.extensions().get::<RequestInfo>();
        let received_at = info.map_or_else(Instant::now, |info| info.received_at);
        let DeadlineLayer { request_timeout, timed_out } = self.settings;
        let deadline = Deadline::new(received_at, request_timeout, request.headers());
        let ticket = request.extensions_mut().get_mut::<RequestInfo>().and_then(|info| {
            info.deadline = Some(deadline);
            info.ticket.clone()
        });
        // A load that other requests wait for too is a task of its own and outlives this future.
        let inner = self.inner.call(request);
        DeadlineFuture { inner, deadline: deadline.0, timer: None, ticket, timed_out }
    }
}

pin_project! {
    pub(crate) struct DeadlineFuture<F> {
        #[pin]
        inner: F,
        deadline: Instant,
        // Started when the response is not ready at once. Most are, and need no timer.
        timer: Option<Pin<Box<Sleep>>>,
        // The deadline of a request that waits for a change is its own.
        ticket: Option<Arc<WaitTicket>>,
        timed_out: fn() -> Problem,
    }
}

impl<F: Future<Output = ResponseResult>> Future for DeadlineFuture<F> {
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        let this = self.project();
        if let Poll::Ready(response) = this.inner.poll(cx) {
            return Poll::Ready(response);
        }
        if this.ticket.as_ref().is_some_and(|ticket| ticket.is_waiting()) {
            *this.timer = None;
            return Poll::Pending;
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(*this.deadline)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Ok((this.timed_out)().into_response()))
    }
}
