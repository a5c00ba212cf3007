//! One place for the format of errors: a response that is an error leaves this layer as a problem
//! (RFC 9457), or in AWS's form on the route of AWS's protocol.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, Request, Response, header},
};
use bytes::Bytes;
use pin_project_lite::pin_project;
use tower::{BoxError, Layer, Service};

use super::request::{RequestInfo, ResponseResult};
use crate::{
    contract::{
        problem::{CONTENT_TYPE, Problem},
        ssm,
    },
    observe::context::{current_request_id, request_id},
};

/// The format in which a request gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorFormat {
    /// A problem.
    Problem,
    /// AWS's form.
    Aws,
    /// A problem with the error of AWS's protocol in it. The other service asks for it with
    /// `Accept`, because the decisions about retries, circuits and caches depend on the problem.
    ProblemForService,
}

impl ErrorFormat {
    fn of<B>(request: &Request<B>) -> Self {
        let route = request.extensions().get::<RequestInfo>().and_then(|info| info.route);
        if !route.is_some_and(|route| route.route().is_aws()) {
            Self::Problem
        } else if wants_problem(request.headers()) {
            Self::ProblemForService
        } else {
            Self::Aws
        }
    }
}

/// Whether a request asks for problems and nothing else. SDKs send no `Accept`, or `*/*`.
fn wants_problem(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept == CONTENT_TYPE)
}

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
        let format = ErrorFormat::of(&request);
        ProblemsFuture { inner: self.inner.call(request), format }
    }
}

pin_project! {
    pub(crate) struct ProblemsFuture<F> {
        #[pin]
        inner: F,
        format: ErrorFormat,
    }
}

impl<F, R> Future for ProblemsFuture<F>
where
    F: Future<Output = Result<Response<R>, Infallible>>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        let this = self.project();
        let Ok(response) = ready!(this.inner.poll(cx));
        let mut response = response.map(Body::new);
        if response.status().is_client_error() || response.status().is_server_error() {
            render(&mut response, *this.format);
        }
        if *this.format != ErrorFormat::Problem
            && let Some(id) = current_request_id()
        {
            response.headers_mut().insert(ssm::REQUEST_ID, id);
        }
        Poll::Ready(Ok(response))
    }
}

/// Replaces the body of an error. The problem stays in the response's extensions for the access log,
/// the only place that logs a failure.
fn render(response: &mut Response<Body>, format: ErrorFormat) {
    let (mut parts, _) = std::mem::take(response).into_parts();
    let status = parts.status;
    let problem = parts.extensions.get_or_insert_with(|| Problem::from(status));
    problem.request_id = request_id();
    let body = match format {
        ErrorFormat::Problem => {
            problem.aws_error = None;
            problem.render(&mut parts.headers)
        }
        ErrorFormat::ProblemForService => problem.render(&mut parts.headers),
        ErrorFormat::Aws => {
            let (status, body) = ssm::render(problem, &mut parts.headers);
            parts.status = status;
            body
        }
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    *response = Response::from_parts(parts, Body::from(body));
}
