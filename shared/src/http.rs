//! The middleware stack. One order, in one place, for every service.

use std::{borrow::Cow, cell::RefCell, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, StatusCode},
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
    fast_path::{Answers, Date, FastPath, Front, Given},
    metrics::{Exporter, REQUESTS_SHED},
    page::OPEN,
    problem::Problem,
    trace,
};

mod asked;

pub(crate) use asked::{Asked, Edge, NOSNIFF};

/// The milliseconds that a caller is willing to wait, as Envoy names them.
pub const EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

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
    pub fast_path: Option<Answers>,
}

/// The public routes of a service, wrapped, and the fast path that goes by them. Cloning is shallow.
#[derive(Clone)]
pub struct Stacked {
    pub router: Router,
    pub(crate) fast_path: Option<Arc<FastPath>>,
}

impl Stacked {
    /// For measurements: appends what the fast path answers to a request. `false`: nothing is ready.
    #[doc(hidden)]
    pub fn answer_ready(&self, request: &[u8], out: &mut Vec<u8>) -> bool {
        thread_local!(static DATE: RefCell<Date> = RefCell::default());
        let Front::Plain(request, _) = Front::of(request) else { return false };
        self.fast_path.as_ref().is_some_and(|path| {
            let answer = |date: &mut Date| path.answer(&request, &mut Instant::now(), date, out);
            matches!(DATE.with_borrow_mut(answer), Given::Answer(_))
        })
    }
}

/// Wraps the public routes of a service. A request meets the layers from top to bottom.
///
/// Invariant: whatever can answer is below the counting, so no response goes unmeasured,
/// and below `identify`, so no error goes out in another format. The [fast path](crate::fast_path)
/// does for a plain request what these layers would: who adds one decides what that is.
pub fn stack(routes: Router, config: &Common, exporter: &Exporter, stack: Stack) -> Stacked {
    let gate = Arc::new(Gate {
        slots: Semaphore::new(config.max_in_flight),
        tokens: config.auth_token_file.as_ref().map(Accepted::follow),
        request_timeout: stack.request_timeout,
        too_slow: stack.too_slow,
    });
    // Lines and spans are made above the router.
    let silent = config.access_log != AccessLog::All && !trace::is_on();
    let edge = Edge { log: config.access_log, traffic: true };
    let fast_path = stack.fast_path.filter(|_| silent);
    let fast_path =
        fast_path.map(|answers| Arc::new(FastPath::new(answers, Arc::clone(&gate), edge)));
    let router = routes.layer(
        ServiceBuilder::new()
            // Outermost, since everything below logs with the ids, and whatever answers an error
            // leaves its format to this.
            .layer(from_fn_with_state(edge, identify))
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

/// Gives the request its ids, an error its format, the response its `x-request-id`, and the log its
/// line.
async fn identify(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map(|route| Cow::Owned(route.as_str().to_owned()));
    let asked = Asked::new(edge, request.method().clone(), route, request.headers());
    let mut response = asked.context().clone().scope(next.run(request)).await;
    asked.answer(&mut response);
    response
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
    pub(crate) too_slow: fn() -> Problem,
}

/// One of the requests that may be open at once, for as long as it lives.
pub(crate) struct Slot(Arc<Gate>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.add_permits(1);
    }
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

    /// What was admitted, for longer than a moment.
    pub(crate) fn keep(self: &Arc<Self>, admitted: SemaphorePermit<'_>) -> Slot {
        admitted.forget();
        Slot(Arc::clone(self))
    }

    pub(crate) fn deadline(&self, headers: &HeaderMap) -> Deadline {
        Deadline::new(self.request_timeout, headers)
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
    let deadline = gate.deadline(request.headers());
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
