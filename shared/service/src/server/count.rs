//! Counts requests and measures their durations.
//!
//! axum-prometheus counts. It looks its series up by their labels, with a string for each, and that
//! costs a fifth of what a cached response costs. So `GET` of a cacheable route is counted through
//! handles that are resolved once, into the same series. So is `POST /`, whose label depends on the
//! operation, which axum-prometheus does not know.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    http::{Method, Request, StatusCode},
    response::Response,
};
use bytes::Bytes;
use metrics::Gauge;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use super::{
    request::{RequestInfo, ResponseResult},
    wait_ticket::WaitTicket,
};
use crate::{
    contract::routes::{RouteId, Routes, WAITED},
    observe::metrics::{self as series, PrometheusMetricLayer, RequestSeries},
};

#[derive(Clone)]
pub(crate) struct CountLayer {
    prometheus: PrometheusMetricLayer<'static>,
    resolved: Arc<[RouteSeries]>,
}

impl CountLayer {
    pub(crate) fn new(prometheus: PrometheusMetricLayer<'static>, routes: Routes) -> Self {
        let resolved = routes.0.iter().filter(|id| id.route().cacheable || id.route().is_aws());
        let waited = RouteSeries { label: WAITED, route: None, ..RouteSeries::new(RouteId::Param) };
        let resolved = resolved.map(|&id| RouteSeries::new(id)).chain([waited]).collect();
        Self { prometheus, resolved }
    }
}

/// axum-prometheus around the same service.
type Prometheus<S> = <PrometheusMetricLayer<'static> as Layer<S>>::Service;

impl<S: Clone> Layer<S> for CountLayer {
    type Service = Count<S>;

    fn layer(&self, inner: S) -> Count<S> {
        let prometheus = Arc::new(self.prometheus.layer(inner.clone()));
        Count { inner, prometheus, resolved: Arc::clone(&self.resolved) }
    }
}

#[derive(Clone)]
pub(crate) struct Count<S> {
    inner: S,
    /// Behind an `Arc`, because a copy of it takes more than a hit that does not use it.
    prometheus: Arc<Prometheus<S>>,
    resolved: Arc<[RouteSeries]>,
}

impl<S, B, P> Service<Request<B>> for Count<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible> + Clone,
    Prometheus<S>:
        Service<Request<B>, Response = axum::http::Response<P>, Error = Infallible> + Clone,
    P: HttpBody<Data = Bytes> + Send + 'static,
    P::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = CountFuture<S::Future, <Prometheus<S> as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let resolved = request.extensions().get::<RequestInfo>().and_then(|info| {
            let index = self.resolved.iter().position(|series| {
                series.route.is_some_and(|route| Some(route) == info.route)
                    && series.method == request.method()
            })?;
            Some((index, info.received_at, info.ticket.clone()))
        });
        match resolved {
            Some((index, received_at, ticket)) => CountFuture::Resolved {
                request: ResolvedRequest {
                    resolved: Arc::clone(&self.resolved),
                    index,
                    ticket,
                    pending: false,
                },
                received_at,
                inner: self.inner.call(request),
            },
            None => {
                let counted = Prometheus::clone(&self.prometheus).call(request);
                CountFuture::ByLabels { inner: Box::pin(counted) }
            }
        }
    }
}

pin_project! {
    #[project = CountProjection]
    pub(crate) enum CountFuture<F, P> {
        Resolved { #[pin] inner: F, request: ResolvedRequest, received_at: Instant },
        // Boxed, because it is so large that moving it would slow down the routes above.
        ByLabels { inner: Pin<Box<P>> },
    }
}

impl<F, P, R> Future for CountFuture<F, P>
where
    F: Future<Output = ResponseResult>,
    P: Future<Output = Result<axum::http::Response<R>, Infallible>>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        match self.project() {
            CountProjection::Resolved { inner, request, received_at } => {
                let polled = inner.poll(cx);
                request.check_wait();
                let Poll::Ready(Ok(response)) = polled else {
                    request.set_pending();
                    return Poll::Pending;
                };
                let elapsed = received_at.elapsed();
                request.series().with_series(response.status(), |series| series.count(elapsed));
                Poll::Ready(Ok(response))
            }
            CountProjection::ByLabels { inner } => {
                let Ok(response) = ready!(inner.as_mut().poll(cx));
                Poll::Ready(Ok(response.map(Body::new)))
            }
        }
    }
}

/// The series of one cacheable route, or of an operation of AWS's protocol. Each is resolved at its
/// first use, since a series must not exist before there is something to count.
struct RouteSeries {
    /// Absent in the last one: it counts requests that have waited for a change.
    route: Option<RouteId>,
    label: &'static str,
    /// `GET`, or `POST` for AWS's protocol.
    method: Method,
    pending: OnceLock<Gauge>,
    by_status: [OnceLock<RequestSeries>; COMMON_STATUSES.len()],
}

/// The statuses of nearly all responses.
const COMMON_STATUSES: [StatusCode; 6] = [
    StatusCode::OK,
    StatusCode::NOT_MODIFIED,
    StatusCode::NOT_FOUND,
    // AWS's status for a parameter that does not exist.
    StatusCode::BAD_REQUEST,
    // AWS's statuses for all failures behind the service. SDKs repeat such requests.
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::SERVICE_UNAVAILABLE,
];

impl RouteSeries {
    fn new(route: RouteId) -> Self {
        let method = if route.route().is_aws() { Method::POST } else { Method::GET };
        Self {
            route: Some(route),
            label: route.label(),
            method,
            pending: OnceLock::new(),
            by_status: Default::default(),
        }
    }

    fn pending(&self) -> &Gauge {
        self.pending.get_or_init(|| series::pending(self.method.as_str(), self.label))
    }

    /// Calls a function with the series of a status.
    fn with_series(&self, status: StatusCode, count: impl FnOnce(&RequestSeries)) {
        let resolve = || RequestSeries::new(self.method.as_str(), status.as_str(), self.label);
        match COMMON_STATUSES.iter().position(|common| *common == status) {
            Some(index) => count(self.by_status[index].get_or_init(resolve)),
            None => count(&resolve()),
        }
    }
}

/// A request that is counted through resolved handles.
pub(crate) struct ResolvedRequest {
    resolved: Arc<[RouteSeries]>,
    index: usize,
    ticket: Option<Arc<WaitTicket>>,
    /// Whether the gauge of requests in progress counts it. A hit is over within one poll.
    pending: bool,
}

impl ResolvedRequest {
    fn series(&self) -> &RouteSeries {
        &self.resolved[self.index]
    }

    /// Counts a request that has begun to wait under the label of all waits: its duration says
    /// nothing about the route.
    fn check_wait(&mut self) {
        if self.ticket.take_if(|ticket| ticket.is_waiting()).is_some() {
            self.clear_pending();
            self.index = self.resolved.len() - 1;
        }
    }

    /// Counts the request as in progress until it is dropped, because its response is not ready.
    fn set_pending(&mut self) {
        if !std::mem::replace(&mut self.pending, true) {
            self.series().pending().increment(1);
        }
    }

    fn clear_pending(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.series().pending().decrement(1);
        }
    }
}

impl Drop for ResolvedRequest {
    fn drop(&mut self) {
        self.clear_pending();
    }
}
