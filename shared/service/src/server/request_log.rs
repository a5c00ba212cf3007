//! The outermost layer: gives a request its ids, its span and its line in the log.
//!
//! tower-http's request-id layers keep a malformed id, and this id goes into every log line, so the
//! ids are made and checked by [`RequestContext`].

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::Response,
};
use pin_project_lite::pin_project;
use tokio::{task::futures::TaskLocalFuture, time::Instant};
use tower::{Layer, Service};

use super::{
    request::{RequestInfo, ResponseResult},
    wait_ticket::WaitTicket,
};
use crate::{
    config::AccessLog,
    contract::{
        problem::Problem,
        routes::{RouteId, Routes, WAITED, label},
    },
    observe::{
        context::{REQUEST_ID, RequestContext, TRACEPARENT, TraceParent},
        metrics::{count_abandoned, method_label},
        trace::Span,
    },
};

/// A request slower than this gets a log line even when it succeeds.
const SLOW: Duration = Duration::from_secs(1);

/// A browser must take the kind of a body from its type and not guess it.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

#[derive(Clone, Copy)]
pub(crate) struct RequestLogLayer {
    pub(crate) routes: Routes,
    pub(crate) kind: RequestKind,
}

/// The rules by which requests are logged, traced and counted.
#[derive(Clone, Copy)]
pub(crate) struct RequestKind {
    pub(crate) access_log: AccessLog,
    /// Whether the requests are the work of the service. Probes and scrapes are not: they have no
    /// span, and one whose client left is not counted.
    pub(crate) traffic: bool,
}

impl<S> Layer<S> for RequestLogLayer {
    type Service = RequestLog<S>;

    fn layer(&self, inner: S) -> RequestLog<S> {
        RequestLog { inner, settings: *self }
    }
}

#[derive(Clone)]
pub(crate) struct RequestLog<S> {
    inner: S,
    settings: RequestLogLayer,
}

impl<S, B> Service<Request<B>> for RequestLog<S>
where
    S: Service<Request<B>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RequestLogFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let RequestLogLayer { routes, kind } = self.settings;
        let route = routes.parse(request.method(), request.uri().path(), request.headers());
        let ticket = WaitTicket::of(route, request.method(), request.headers());
        let method = method_label(request.method());
        let record = RequestRecord::new(kind, method, route, request.headers(), ticket.clone());
        let received_at = record.received_at;
        let info = RequestInfo { route, received_at, ticket, deadline: None };
        request.extensions_mut().insert(info);
        let context = record.context.clone();
        let inner = context.enter(|| self.inner.call(request));
        RequestLogFuture { inner: context.scope(inner), record: Some(record) }
    }
}

pin_project! {
    pub(crate) struct RequestLogFuture<F> {
        #[pin]
        inner: TaskLocalFuture<RequestContext, F>,
        record: Option<RequestRecord>,
    }
}

impl<F: Future<Output = ResponseResult>> Future for RequestLogFuture<F> {
    type Output = ResponseResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ResponseResult> {
        let this = self.project();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        let record = this.record.take().expect("a future is not polled after its end");
        record.complete(&mut response);
        Poll::Ready(Ok(response))
    }
}

/// A request in progress. A record that is dropped before its response is that of a request whose
/// client has left.
struct RequestRecord {
    kind: RequestKind,
    context: RequestContext,
    /// See [`method_label`]. An unknown method may be as long as a header, so it is not logged.
    method: &'static str,
    route: Option<RouteId>,
    ticket: Option<Arc<WaitTicket>>,
    span: Span,
    received_at: Instant,
    completed: bool,
}

impl RequestRecord {
    fn new(
        kind: RequestKind,
        method: &'static str,
        route: Option<RouteId>,
        headers: &HeaderMap,
        ticket: Option<Arc<WaitTicket>>,
    ) -> Self {
        let context = RequestContext::from_headers(headers);
        let span = if kind.traffic {
            let caller = || headers.get(TRACEPARENT).and_then(TraceParent::parse);
            Span::server(caller, || format!("{method} {}", label(route)))
        } else {
            Span::none()
        };
        let context = span.context(context);
        let received_at = Instant::now();
        Self { kind, context, method, route, ticket, span, received_at, completed: false }
    }

    /// Adds the headers of every response, and writes the log line if the request gets one.
    fn complete(mut self, response: &mut Response) {
        self.completed = true;
        self.describe_span(response);
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.context.request_id());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        let (status, elapsed) = (response.status(), self.received_at.elapsed());
        // AWS's protocol reports throttling with status 400.
        let problem = response.extensions().get::<Problem>();
        let failed = problem.map_or(status, Problem::status).is_server_error();
        let logged = match self.kind.access_log {
            AccessLog::All => true,
            AccessLog::Errors => failed || self.is_slow(elapsed),
            AccessLog::Off => false,
        };
        if logged {
            self.context.enter(|| self.log_response(status, failed, problem, elapsed));
        }
    }

    /// Whether the request has waited for a change.
    fn has_waited(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.is_waiting())
    }

    fn is_slow(&self, elapsed: Duration) -> bool {
        elapsed > SLOW && !self.has_waited()
    }

    fn describe_span(&mut self, response: &Response) {
        if !self.span.is_recorded() {
            return;
        }
        self.span.set_attribute("http.request.method", self.method);
        self.span.set_attribute("http.route", label(self.route));
        self.span.set_attribute("http.response.status_code", i64::from(response.status().as_u16()));
        // The handling by each cache on the way: a hit, a stale response, a call.
        if let Some(status) = response.headers().get(header::CACHE_STATUS) {
            self.span.set_attribute(
                "cache.status",
                String::from_utf8_lossy(status.as_bytes()).into_owned(),
            );
        }
        if let Some(problem) = response.extensions().get::<Problem>() {
            self.span.set_attribute("error.type", problem.code.to_string());
        }
        if response.status().is_server_error() {
            self.span.fail("");
        }
    }

    fn log_response(
        &self,
        status: StatusCode,
        failed: bool,
        problem: Option<&Problem>,
        elapsed: Duration,
    ) {
        let (method, route) = (self.method, label(self.route));
        let code = problem.map(|problem| problem.code.as_ref());
        let cause = problem.and_then(|problem| problem.cause.as_ref()).map(|error| chain(error));
        let duration_ms = elapsed.as_secs_f64() * 1e3;
        let status = status.as_u16();
        if failed {
            tracing::warn!(method, route, status, code, cause, duration_ms, "failed");
        } else {
            tracing::info!(method, route, status, code, cause, duration_ms, "completed");
        }
    }

    fn log_abandoned(&self, elapsed: Duration) {
        let (method, route) = (self.method, label(self.route));
        let duration_ms = elapsed.as_secs_f64() * 1e3;
        tracing::info!(method, route, duration_ms, "abandoned by the client");
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if self.completed || !self.kind.traffic {
            return;
        }
        let elapsed = self.received_at.elapsed();
        let endpoint = if self.has_waited() { WAITED } else { label(self.route) };
        count_abandoned(self.method, endpoint, elapsed);
        self.span.fail("abandoned by the client");
        let log = self.kind.access_log;
        if log == AccessLog::All || log == AccessLog::Errors && self.is_slow(elapsed) {
            self.context.enter(|| self.log_abandoned(elapsed));
        }
    }
}

/// An error and its causes, down to the root.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
