//! A request under way: its ids and its span, its line in the log, its count if the client leaves.

use std::{borrow::Cow, time::Duration};

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use tokio::time::Instant;

use crate::{
    config::AccessLog,
    metrics::{count_abandoned, endpoint},
    problem::{Problem, rescue},
    telemetry::{REQUEST_ID, RequestContext, TRACEPARENT, TraceParent},
    trace::Span,
};

/// A request slower than this gets a log line even when it succeeds.
const SLOW: Duration = Duration::from_secs(1);

/// What an answer's body is must be taken from its type: no browser shall guess.
pub(crate) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

#[derive(Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) log: AccessLog,
    /// Whether these requests are what the service is there for; probes are not.
    pub(crate) traffic: bool,
}

/// Dropped without an answer, it is one whose client has left.
pub(crate) struct Asked {
    edge: Edge,
    context: RequestContext,
    method: Method,
    /// The template of its route, as the router has it.
    route: Option<Cow<'static, str>>,
    span: Span,
    started: Instant,
    answered: bool,
}

impl Asked {
    pub(crate) fn new(
        edge: Edge,
        method: Method,
        route: Option<Cow<'static, str>>,
        headers: &HeaderMap,
    ) -> Self {
        let context = RequestContext::from_headers(headers);
        let span = if edge.traffic {
            let caller = headers.get(TRACEPARENT).and_then(TraceParent::parse);
            Span::server(caller.as_ref(), || format!("{method} {}", endpoint(route.as_deref())))
        } else {
            // Probes and scrapes would drown the traces of requests.
            Span::none()
        };
        let context = span.within(context);
        Self { edge, context, method, route, span, started: Instant::now(), answered: false }
    }

    pub(crate) fn context(&self) -> &RequestContext {
        &self.context
    }

    /// The answer is there: an error gets its format, the response its ids, and the log its line.
    pub(crate) fn answer(mut self, response: &mut Response) {
        rescue(response, &self.context);
        self.tell_span(response);
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.context.request_id().clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        self.end(response.status(), response.extensions().get());
    }

    /// The answer is there, and complete. Returns how long it took.
    pub(crate) fn end(mut self, status: StatusCode, problem: Option<&Problem>) -> Duration {
        self.answered = true;
        let elapsed = self.started.elapsed();
        let told = match self.edge.log {
            AccessLog::All => true,
            AccessLog::Errors => status.is_server_error() || elapsed > SLOW,
            AccessLog::Off => false,
        };
        if told {
            self.context.clone().enter(|| self.log_answer(status, problem, elapsed));
        }
        elapsed
    }

    fn tell_span(&mut self, response: &Response) {
        if !self.span.is_recorded() {
            return;
        }
        self.span.tell("http.request.method", self.method.to_string());
        self.span.tell("http.route", endpoint(self.route.as_deref()));
        self.span.tell("http.response.status_code", i64::from(response.status().as_u16()));
        // How each cache on the way handled it: a hit, a stale answer, a call.
        if let Some(status) = response.headers().get(header::CACHE_STATUS) {
            self.span.tell("cache.status", String::from_utf8_lossy(status.as_bytes()).into_owned());
        }
        if let Some(problem) = response.extensions().get::<Problem>() {
            self.span.tell("error.type", problem.code.to_string());
        }
        if response.status().is_server_error() {
            self.span.fail("");
        }
    }

    fn log_answer(&self, status: StatusCode, problem: Option<&Problem>, elapsed: Duration) {
        let (method, route) = (&self.method, endpoint(self.route.as_deref()));
        let code = problem.map(|problem| problem.code.as_ref());
        let cause = problem.and_then(|problem| problem.cause.as_ref()).map(|error| chain(error));
        let duration_ms = elapsed.as_secs_f64() * 1e3;
        if status.is_server_error() {
            let status = status.as_u16();
            tracing::warn!(%method, route, status, code, cause, duration_ms, "failed");
        } else {
            let status = status.as_u16();
            tracing::info!(%method, route, status, code, cause, duration_ms, "answered");
        }
    }

    fn log_abandoned(&self, elapsed: Duration) {
        let (method, route) = (&self.method, endpoint(self.route.as_deref()));
        let duration_ms = elapsed.as_secs_f64() * 1e3;
        tracing::info!(%method, route, duration_ms, "abandoned by the client");
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.answered || !self.edge.traffic {
            return;
        }
        let elapsed = self.started.elapsed();
        count_abandoned(&self.method, self.route.as_deref(), elapsed);
        self.span.fail("abandoned by the client");
        if self.edge.log == AccessLog::All || self.edge.log == AccessLog::Errors && elapsed > SLOW {
            self.context.clone().enter(|| self.log_abandoned(elapsed));
        }
    }
}

/// An error and what caused it, down to the root.
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
