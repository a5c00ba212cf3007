//! Requests with `Prefer: wait`: they get the next response that differs from the one that the client
//! has (RFC 7240, 4.3).

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
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
use crate::contract::problem::Problem;

/// The longest wait for a change. Proxies close a connection after 60 seconds without a byte.
const LONGEST_WAIT: Duration = Duration::from_secs(55);

/// The time that is left for the response before the caller's deadline.
const MARGIN: Duration = Duration::from_millis(50);

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

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
    pub(crate) async fn respond(
        &self,
        query: Query,
        found: Option<Result<Served, Problem>>,
        ticket: &WaitTicket,
        received_at: Instant,
        headers: &HeaderMap,
    ) -> Response {
        let (route, key) = (query.route, query.key.clone());
        let found = match found {
            Some(found) => found,
            None => self.cached.respond(query).await,
        };
        let served = match found {
            Ok(served) if served.is_known_to(headers) => served,
            found => return response_of(found, headers),
        };
        let wanted = preferred_wait(headers).unwrap_or_default().min(LONGEST_WAIT);
        // A caller that waits for less time needs a moment for the response.
        let deadline = Deadline::new(received_at, wanted + MARGIN, headers).0 - MARGIN;
        let seconds = deadline.saturating_duration_since(received_at).as_secs();
        let latest = self.watched.follow(route, &key, &served).filter(|_| seconds > 0);
        let Some(mut latest) = latest else { return response_of(Ok(served), headers) };
        let Some(_permit) = self.waits.start(WaitKind::Wait, ticket) else {
            return Problem::overloaded().into_response();
        };
        let differs = |latest: &Latest| match &**latest {
            Ok(served) => !served.is_known_to(headers),
            Err(problem) => problem.status().is_client_error(),
        };
        select! {
            // The receiver of a task that panicked gets nothing more.
            Ok(_) = latest.wait_for(differs) => {}
            () = sleep_until(deadline) => {}
            () = self.waits.ended() => {}
        }
        let now = Instant::now();
        let latest = Arc::clone(&latest.borrow());
        let found = match &*latest {
            Ok(served) => Ok(served.clone().at(now)),
            // The entry may have been loaded since the failure.
            Err(problem) => match self.cached.lookup(&key, now) {
                Some(found) => found,
                None => Err(problem.clone()),
            },
        };
        let mut response = response_of(found, headers);
        let applied = HeaderValue::try_from(format!("wait={seconds}")).expect("digits are ASCII");
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        response
    }
}
