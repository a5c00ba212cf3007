//! Requests with `Prefer: wait`: they get the next response that differs from the one that the client
//! has (RFC 7240, 4.3).

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header::IF_NONE_MATCH},
    response::{IntoResponse, Response},
};
use cache::{Served, http::preferred_wait};
use tokio::{
    select,
    time::{Instant, sleep_until},
};

use super::{
    cached_routes::{CachedRoutes, Query, response_of},
    request::Deadline,
    wait_ticket::WaitTicket,
    waits::{WaitKind, Waits},
    watched::{Latest, Watched},
};
use crate::contract::{problem::Problem, routes::RouteId};

/// The longest wait for a change. Proxies close a connection after 60 seconds without a byte.
const LONGEST_WAIT: Duration = Duration::from_secs(55);

/// The time that is left for the response before the caller's deadline.
const MARGIN: Duration = Duration::from_millis(50);

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The future of a response that may be due much later.
pub(crate) type WaitFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A request that may wait.
///
/// It owns its headers. The request's headers share the buffer into which the connection has read
/// them, and the connection would need a second one as long as they exist.
pub(crate) struct WaitRequest {
    /// The time until which the client waits.
    deadline: Instant,
    /// The time for which the client waits.
    seconds: u64,
    /// The `If-None-Match` of the request.
    conditions: HeaderMap,
    ticket: Arc<WaitTicket>,
}

impl WaitRequest {
    pub(crate) fn new(received_at: Instant, headers: &HeaderMap, ticket: Arc<WaitTicket>) -> Self {
        let wanted = preferred_wait(headers).unwrap_or_default().min(LONGEST_WAIT);
        // A caller that waits for less time needs a moment for the response.
        let deadline = Deadline::new(received_at, wanted + MARGIN, headers).0 - MARGIN;
        let seconds = deadline.saturating_duration_since(received_at).as_secs();
        let conditions = headers.get_all(IF_NONE_MATCH).iter().map(|condition| {
            let copy = HeaderValue::from_bytes(condition.as_bytes());
            (IF_NONE_MATCH, copy.expect("it was a header before"))
        });
        Self { deadline, seconds, conditions: conditions.collect(), ticket }
    }
}

/// Responds to requests that may wait. Cloning is shallow.
#[derive(Clone)]
pub(crate) struct Waiter {
    cached: Arc<dyn CachedRoutes>,
    watched: Watched,
    waits: Waits,
}

impl Waiter {
    pub(crate) fn new(
        cached: Arc<dyn CachedRoutes>,
        waits: Waits,
        request_timeout: Duration,
    ) -> Self {
        let watched = Watched::new(Arc::clone(&cached), request_timeout);
        Self { cached, watched, waits }
    }

    /// Waits until the response differs from the one that the client has, and returns it. The client
    /// gets a 304 at the end of the time for which it wants to wait. `found` is the result of the
    /// lookup, unless a load is due.
    ///
    /// A client without the current response gets it at once. A 403 or 404 ends a wait, but no failure
    /// of the upstream does, because it passes.
    pub(crate) fn respond(
        &self,
        query: Query,
        found: Option<Result<Served, Problem>>,
        request: WaitRequest,
    ) -> WaitFuture {
        if let Some(found) = found {
            return self.respond_to(query.route, &query.key, found, request);
        }
        let waiter = self.clone();
        Box::pin(async move {
            let (route, key) = (query.route, query.key.clone());
            let found = waiter.cached.respond(query).await;
            waiter.respond_to(route, &key, found, request).await
        })
    }

    /// Returns a small future for the wait, because thousands of them may exist for a minute. It uses
    /// its captured variables in place: a future has separate room for each variable that is moved
    /// inside of it.
    fn respond_to(
        &self,
        route: RouteId,
        key: &str,
        found: Result<Served, Problem>,
        request: WaitRequest,
    ) -> WaitFuture {
        let at_once = |response| Box::pin(ready(response));
        let WaitRequest { deadline, seconds, conditions, ticket } = request;
        let served = match found {
            Ok(served) if served.is_known_to(&conditions) => served,
            found => return at_once(response_of(found, &conditions)),
        };
        let latest = self.watched.follow(route, key, &served).filter(|_| seconds > 0);
        let Some(mut latest) = latest else {
            return at_once(response_of(Ok(served), &conditions));
        };
        let Some(permit) = self.waits.start(WaitKind::Wait, &ticket) else {
            return at_once(Problem::overloaded().into_response());
        };
        let (waits, cached, key) = (self.waits.clone(), Arc::clone(&self.cached), key.to_owned());
        Box::pin(async move {
            let _place = &permit;
            let differs = |latest: &Latest| match &**latest {
                Ok(served) => !served.is_known_to(&conditions),
                Err(problem) => problem.status().is_client_error(),
            };
            select! {
                // The receiver of a task that panicked gets nothing more.
                Ok(_) = latest.wait_for(differs) => {}
                () = sleep_until(deadline) => {}
                () = waits.ended() => {}
            }
            let now = Instant::now();
            let latest = Arc::clone(&latest.borrow());
            let found = match &*latest {
                Ok(served) => Ok(served.clone().at(now)),
                // The entry may have been loaded since the failure.
                Err(problem) => match cached.lookup(&key, now) {
                    Some(found) => found,
                    None => Err(problem.clone()),
                },
            };
            let mut response = response_of(found, &conditions);
            let applied =
                HeaderValue::try_from(format!("wait={seconds}")).expect("digits are ASCII");
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
            response
        })
    }
}
