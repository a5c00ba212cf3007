//! The middleware stack. One order, in one place, for every service.

use std::{cell::RefCell, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    auth::Accepted,
    config::{AccessLog, Common},
    fast_path::{Date, FastPath, Front, Hits},
    metrics::{Exporter, REQUESTS_SHED, count_abandoned, endpoint},
    page::OPEN,
    problem::{Problem, rescue},
    telemetry::{REQUEST_ID, RequestContext, TRACEPARENT, TraceParent},
    trace::{self, Span},
};

/// The milliseconds that a caller is willing to wait, as Envoy names them.
pub const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// A request slower than this gets a log line even when it succeeds.
const SLOW: Duration = Duration::from_secs(1);

/// When the answer to a request must be there: in a request's extensions, below the deadline layer.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// A caller that waits less long than we would shortens the deadline; none can lengthen it.
    fn new(timeout: Duration, headers: &HeaderMap) -> Self {
        let expected =
            headers.get(EXPECTED_TIMEOUT).and_then(|value| value.to_str().ok()?.parse().ok());
        let timeout = expected.map_or(timeout, |ms| timeout.min(Duration::from_millis(ms)));
        Self(Instant::now() + timeout)
    }
}

/// What differs between the services.
pub struct Stack {
    pub request_timeout: Duration,
    /// The problem of a request that took longer.
    pub too_slow: fn() -> Problem,
    /// What needs none of the layers below to be answered.
    pub hits: Option<Hits>,
}

/// The public routes of a service, wrapped, and the fast path that goes by them. Cloning is shallow.
#[derive(Clone)]
pub struct Stacked {
    pub router: Router,
    pub(crate) fast_path: Option<Arc<FastPath>>,
}

impl Stacked {
    /// For measurements: appends what the fast path answers to a request. `false`: it does not.
    #[doc(hidden)]
    pub fn answer_ready(&self, request: &[u8], out: &mut Vec<u8>) -> bool {
        thread_local!(static DATE: RefCell<Date> = RefCell::default());
        let Front::Plain(request, _) = Front::of(request) else { return false };
        self.fast_path.as_ref().is_some_and(|path| {
            let answer = |date: &mut Date| path.answer(&request, &mut Instant::now(), date, out);
            DATE.with_borrow_mut(answer).is_some()
        })
    }
}

/// Wraps the public routes of a service. A request meets the layers from top to bottom.
///
/// Invariant: whatever can answer is below the counting, so no response goes unmeasured,
/// and below `identify`, so no error goes out in another format. The [fast path](crate::fast_path)
/// does for a hit what these layers would: who adds one decides what that is.
pub fn stack(routes: Router, config: &Common, exporter: &Exporter, stack: Stack) -> Stacked {
    let gate = Arc::new(Gate {
        slots: Semaphore::new(config.max_in_flight),
        tokens: config.auth_token_file.as_ref().map(Accepted::follow),
        request_timeout: stack.request_timeout,
        too_slow: stack.too_slow,
    });
    // Lines and spans are made above the router.
    let silent = config.access_log != AccessLog::All && !trace::is_on();
    let fast_path = stack.hits.filter(|_| silent);
    let fast_path = fast_path.map(|hits| Arc::new(FastPath::new(hits, Arc::clone(&gate))));
    let router = routes.layer(
        ServiceBuilder::new()
            // Outermost, since everything below logs with the ids, and whatever answers an error
            // leaves its format to this.
            .layer(from_fn_with_state(Edge { log: config.access_log, traffic: true }, identify))
            .layer(exporter.layer())
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn_with_state(gate, pass)),
    );
    Stacked { router, fast_path }
}

/// Wraps probes and metrics: they are never shed, authenticated or counted as traffic.
pub fn probe_stack(routes: Router) -> Router {
    routes.layer(from_fn_with_state(Edge { log: AccessLog::Errors, traffic: false }, identify))
}

#[derive(Clone, Copy)]
struct Edge {
    log: AccessLog,
    /// Whether these requests are what the service is there for; probes are not.
    traffic: bool,
}

/// Gives the request its ids, an error its format, the response its `x-request-id`, and the log its
/// line.
async fn identify(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let context = RequestContext::from_headers(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = edge.span(request.headers(), &method, route.as_ref());
    let context = span.within(context);
    let mut asked = Asked {
        edge,
        context: context.clone(),
        method,
        route,
        span,
        started: Instant::now(),
        answered: false,
    };

    let mut response = context.scope(next.run(request)).await;

    asked.answered = true;
    rescue(&mut response, &asked.context);
    asked.tell_span(&response);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, asked.context.request_id().clone());
    // No browser shall take a body for anything but what its type says.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let elapsed = asked.started.elapsed();
    let told = match edge.log {
        AccessLog::All => true,
        AccessLog::Errors => response.status().is_server_error() || elapsed > SLOW,
        AccessLog::Off => false,
    };
    if told {
        asked.context.clone().enter(|| asked.log_answer(&response, elapsed));
    }
    response
}

/// A request under way. Dropped without an answer, it is one whose client has left.
struct Asked {
    edge: Edge,
    context: RequestContext,
    method: Method,
    route: Option<MatchedPath>,
    span: Span,
    started: Instant,
    answered: bool,
}

impl Edge {
    /// Probes and scrapes would drown the traces of requests.
    fn span(self, headers: &HeaderMap, method: &Method, route: Option<&MatchedPath>) -> Span {
        if !self.traffic {
            return Span::none();
        }
        let caller = headers.get(TRACEPARENT).and_then(TraceParent::parse);
        Span::server(caller.as_ref(), || format!("{method} {}", endpoint(route)))
    }
}

impl Asked {
    fn tell_span(&mut self, response: &Response) {
        if !self.span.is_recorded() {
            return;
        }
        self.span.tell("http.request.method", self.method.to_string());
        self.span.tell("http.route", endpoint(self.route.as_ref()));
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

    fn log_answer(&self, response: &Response, elapsed: Duration) {
        let (method, route) = (&self.method, endpoint(self.route.as_ref()));
        let status = response.status().as_u16();
        let problem = response.extensions().get::<Problem>();
        let code = problem.map(|problem| problem.code.as_ref());
        let cause = problem.and_then(|problem| problem.cause.as_ref()).map(|error| chain(error));
        let duration_ms = elapsed.as_secs_f64() * 1e3;
        if response.status().is_server_error() {
            tracing::warn!(%method, route, status, code, cause, duration_ms, "failed");
        } else {
            tracing::info!(%method, route, status, code, cause, duration_ms, "answered");
        }
    }

    fn log_abandoned(&self, elapsed: Duration) {
        let (method, route) = (&self.method, endpoint(self.route.as_ref()));
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
        count_abandoned(&self.method, self.route.as_ref(), elapsed);
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

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    // What the panic said is not repeated: it may hold anything. The panic hook told where it was.
    Problem::internal().into_response()
}

pub(crate) struct Gate {
    slots: Semaphore,
    /// `None`: anybody may call.
    tokens: Option<Accepted>,
    request_timeout: Duration,
    too_slow: fn() -> Problem,
}

impl Gate {
    /// For anybody.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        let (slots, request_timeout) = (Semaphore::new(1), Duration::ZERO);
        Self { slots, tokens: None, request_timeout, too_slow: Problem::internal }
    }

    /// A slot for a request with at most one `Authorization`. `None`: it is refused, and [`pass`]
    /// says how.
    pub(crate) fn admit(&self, authorization: Option<&[u8]>) -> Option<SemaphorePermit<'_>> {
        let slot = self.slots.try_acquire().ok()?;
        match (&self.tokens, authorization) {
            (None, _) => Some(slot),
            (Some(tokens), Some(shown)) => tokens.accept(shown).ok().map(|()| slot),
            (Some(_), None) => None,
        }
    }
}

/// Shed, authenticate, deadline. They are one layer because each layer costs what a token's check does.
async fn pass(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    // Refusing must stay cheap, so it comes before anything that works for the answer. It comes
    // at once, too: a client that hears 503 can go elsewhere, one that queues cannot.
    let Ok(_slot) = gate.slots.try_acquire() else {
        metrics::counter!(REQUESTS_SHED).increment(1);
        return overloaded().into_response();
    };
    let route = request.extensions().get::<MatchedPath>();
    if let Some(tokens) = &gate.tokens
        && !route.is_some_and(|route| OPEN.contains(&route.as_str()))
        && let Err(refusal) = tokens.check(request.headers())
    {
        return refusal;
    }
    // The answer comes in time, whatever the handler does. Work that others wait for too lives on
    // in its own task.
    let deadline = Deadline::new(gate.request_timeout, request.headers());
    request.extensions_mut().insert(deadline);
    match timeout_at(deadline.0, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (gate.too_slow)().into_response(),
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
