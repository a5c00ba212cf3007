//! One error format: a response that is an error leaves this layer as a problem (RFC 9457).

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    http::{Request, Response},
};
use bytes::Bytes;
use pin_project_lite::pin_project;
use tower::{BoxError, Layer, Service};

use super::respond::Answer;
use crate::problem::rescue;

#[derive(Clone, Copy)]
pub(crate) struct ProblemsLayer;

impl<S> Layer<S> for ProblemsLayer {
    type Service = Problems<S>;

    fn layer(&self, inner: S) -> Problems<S> {
        Problems { inner }
    }
}

#[derive(Clone)]
pub(crate) struct Problems<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Problems<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ProblemsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ProblemsFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    pub(crate) struct ProblemsFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, R> Future for ProblemsFuture<F>
where
    F: Future<Output = Result<Response<R>, Infallible>>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Ok(response) = ready!(self.project().inner.poll(cx));
        let mut response = response.map(Body::new);
        rescue(&mut response);
        Poll::Ready(Ok(response))
    }
}
