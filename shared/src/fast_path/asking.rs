//! A plain request whose answer is not ready: until it has come, and what is written then.

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use metrics::Gauge;
use tokio::time::{Instant, timeout_at};

use super::{Admitted, Answering, Date, FastPath, Request, end_head, put_body};
use crate::{cache::Served, http::Asked, problem::Problem, telemetry::RequestContext};

/// A request under way. Dropped, it is one whose client has left.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What a request has come to.
pub(crate) struct Outcome {
    path: Arc<FastPath>,
    route: usize,
    asked: Asked,
    if_none_match: Option<HeaderValue>,
    answer: Result<Served, Problem>,
}

impl FastPath {
    /// Asks for what is not ready. `None`: a header of the request is none, and hyper says so.
    pub(crate) fn ask(
        self: &Arc<Self>,
        Admitted { route, slot }: Admitted<'_>,
        request: &Request<'_>,
    ) -> Option<Asking> {
        let mut headers = request.headers()?;
        let deadline = self.gate.deadline(&headers);
        let answering = (self.ask)(request.path, deadline);
        let slot = self.gate.keep(slot);
        let path = Arc::clone(self);
        Some(Box::pin(async move {
            let _slot = slot;
            let template = Some(Cow::Borrowed(path.routes[route].template));
            let asked = Asked::new(path.edge, Method::GET, template, &headers);
            let pending = Pending::new(path.routes[route].pending());
            let answering = asked.context().clone().scope(unharmed(answering));
            let answer = match timeout_at(deadline.0, answering).await {
                Ok(answer) => answer,
                Err(_) => Err((path.gate.too_slow)()),
            };
            let if_none_match = headers.remove(header::IF_NONE_MATCH);
            drop(pending);
            Outcome { path, route, asked, if_none_match, answer }
        }))
    }
}

/// A panic is one request's matter. What it said is not repeated: it may hold anything. The panic
/// hook told where it was.
async fn unharmed(mut answering: Answering) -> Result<Served, Problem> {
    let polled = std::future::poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(_) => Poll::Ready(Err(Problem::internal())),
        }
    });
    polled.await
}

/// Counts a request among those that are under way.
struct Pending<'a>(&'a Gauge);

impl<'a> Pending<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl Outcome {
    /// Appends the response, and returns the part of the body that is to be sent after it. After a
    /// `last` one the connection ends.
    pub(crate) fn write(self, last: bool, date: &mut Date, out: &mut Vec<u8>) -> Bytes {
        let Self { path, route, asked, if_none_match, answer } = self;
        let context = asked.context().clone();
        let (status, problem, behind) = match answer {
            Ok(served) => {
                let if_none_match = if_none_match.as_ref().map(HeaderValue::as_bytes);
                let status = served.write(if_none_match, out);
                end(&context, last, date, out);
                (status, None, put_body(&served, status, out))
            }
            Err(mut problem) => {
                problem.address(&context);
                let status = problem.status();
                let (headers, body) = problem.render();
                write_head(status, &headers, body.len(), out);
                end(&context, last, date, out);
                out.extend_from_slice(&body);
                (status, Some(problem), Bytes::new())
            }
        };
        let elapsed = asked.end(status, problem.as_ref());
        path.routes[route].answered(status, |series| series.count(elapsed));
        behind
    }
}

fn write_head(status: StatusCode, headers: &HeaderMap, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
    out.extend_from_slice(b"\r\ncontent-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    for (name, value) in headers {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn end(context: &RequestContext, last: bool, date: &mut Date, out: &mut Vec<u8>) {
    if last {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"x-request-id: ");
    out.extend_from_slice(context.request_id().as_bytes());
    end_head(date.at(Instant::now()), out);
}
