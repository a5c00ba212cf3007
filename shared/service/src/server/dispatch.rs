//! The innermost service: cacheable routes and AWS's protocol are served here, everything else by
//! axum's Router.
//!
//! Serving a cacheable route here costs half of what it costs by way of the Router, which boxes
//! the future of every handler and copies the headers for it.

use std::{
    borrow::Cow,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::HttpBody,
    http::{HeaderMap, Method, Request},
    response::{IntoResponse, Response},
    routing::future::RouteFuture,
};
use bytes::Bytes;
use cache::Mode;
use pin_project_lite::pin_project;
use tower::{BoxError, Service};

use super::{
    cached_routes::{CachedRoutes, Query, ResponseFuture, SsmQuery, response_of},
    request::{RequestInfo, ResponseResult},
    request_body::read_body,
    wait::{WaitRequest, Waiter},
};
use crate::contract::{problem::Problem, routes::RouteId, ssm};

/// Cloning is shallow.
#[derive(Clone)]
pub(crate) struct Dispatch(Arc<Inner>);

struct Inner {
    cached: Arc<dyn CachedRoutes>,
    waiter: Waiter,
    others: Router,
    /// See [`Mode::of_request`].
    trusts_clients: bool,
}

impl Dispatch {
    pub(crate) fn new(
        cached: Arc<dyn CachedRoutes>,
        others: Router,
        trusts_clients: bool,
        waiter: Waiter,
    ) -> Self {
        Self(Arc::new(Inner { cached, waiter, others, trusts_clients }))
    }

    /// The response to a `GET` or `HEAD` of a cacheable route. hyper sends no body to a `HEAD`.
    fn cached<B>(&self, route: RouteId, info: &RequestInfo, request: Request<B>) -> DispatchFuture {
        let Inner { cached, trusts_clients, .. } = &*self.0;
        let Ok(key) = route.cache_key(request.uri().path()) else {
            return DispatchFuture::Ready { response: Some(undecodable_name().into_response()) };
        };
        let received_at = info.received_at;
        let mode = Mode::of_request(request.headers(), *trusts_clients);
        let found = match mode {
            Mode::Normal => cached.lookup(&key, received_at),
            Mode::Revalidate => None,
        };
        let query = |key: Cow<'_, str>| {
            let deadline = info.due();
            Query { route, key: key.into_owned(), mode, deadline }
        };
        if let Some(ticket) = &info.ticket {
            let waiting = WaitRequest::new(received_at, request.headers(), Arc::clone(ticket));
            let inner = self.0.waiter.respond(query(key), found, waiting);
            return DispatchFuture::Boxed { inner };
        }
        if let Some(found) = found {
            let response = response_of(found, request.headers());
            return DispatchFuture::Ready { response: Some(response) };
        }
        let query = query(key);
        DispatchFuture::Wait {
            inner: cached.respond(query),
            headers: request.into_parts().0.headers,
        }
    }
}

/// The response to a request in AWS's protocol.
async fn respond_ssm<B>(inner: Arc<Inner>, info: RequestInfo, request: Request<B>) -> Response
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    // A request without an operation is refused without its body.
    let operation = match ssm::Request::operation_of(&parts.headers) {
        Ok(operation) => operation,
        Err(error) => return Problem::from(error).into_response(),
    };
    let body = match read_body(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let found = match ssm::Request::parse_body(operation, &body) {
        Ok(request) => {
            let mode = Mode::of_request(&parts.headers, inner.trusts_clients);
            let ready = match mode {
                Mode::Normal => inner.cached.lookup_ssm(&request, info.received_at),
                Mode::Revalidate => None,
            };
            match ready {
                Some(found) => found,
                None => {
                    let deadline = info.due();
                    inner.cached.respond_ssm(SsmQuery { request, mode, deadline }).await
                }
            }
        }
        Err(error) => Err(error.into()),
    };
    // A `POST` has no conditions, so no header of the request matters (RFC 9110, 13.1.2).
    response_of(found, &HeaderMap::new())
}

fn undecodable_name() -> Problem {
    Problem::invalid_parameter_name("The name is not UTF-8 once its percent-encoding is decoded.")
}

impl<B> Service<Request<B>> for Dispatch
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = DispatchFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A Router is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> DispatchFuture {
        if let Some(info) = request.extensions().get::<RequestInfo>().cloned() {
            let reads = request.method() == Method::GET || request.method() == Method::HEAD;
            match info.route {
                Some(route) if route.route().cacheable && reads => {
                    return self.cached(route, &info, request);
                }
                Some(route) if route.route().is_aws() => {
                    let inner = Box::pin(respond_ssm(Arc::clone(&self.0), info, request));
                    return DispatchFuture::Boxed { inner };
                }
                _ => request.extensions_mut().insert(info.due()),
            };
        }
        DispatchFuture::Route { inner: Box::pin(self.0.others.clone().call(request)) }
    }
}

pin_project! {
    #[project = DispatchProjection]
    pub(crate) enum DispatchFuture {
        // AWS's protocol, whose type depends on that of the body, or a request that may wait.
        Boxed { inner: Pin<Box<dyn Future<Output = Response> + Send>> },
        Ready { response: Option<Response> },
        Wait { inner: ResponseFuture, headers: HeaderMap },
        // Boxed, because it is so large that moving it would slow down the cacheable routes.
        Route { inner: Pin<Box<RouteFuture<Infallible>>> },
    }
}

impl Future for DispatchFuture {
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        match self.project() {
            DispatchProjection::Ready { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after its end")))
            }
            DispatchProjection::Wait { inner, headers } => {
                let found = ready!(inner.as_mut().poll(cx));
                Poll::Ready(Ok(response_of(found, headers)))
            }
            DispatchProjection::Boxed { inner } => inner.as_mut().poll(cx).map(Ok),
            DispatchProjection::Route { inner } => inner.as_mut().poll(cx),
        }
    }
}
