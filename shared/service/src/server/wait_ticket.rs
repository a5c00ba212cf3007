//! The ticket of a request that may wait: what the layers of the stack know about its wait.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::{HeaderMap, Method};
use cache::http::preferred_wait;
use parking_lot::Mutex;

use super::places::Permit;
use crate::contract::routes::RouteId;

/// The ticket is in the extensions of a request that may wait, and of no other. So the other
/// requests pay nothing for it.
#[derive(Default)]
pub(crate) struct WaitTicket {
    /// The permit of `MAX_IN_FLIGHT`, until the request begins to wait.
    permit: Mutex<Option<Permit>>,
    waiting: AtomicBool,
}

impl WaitTicket {
    /// Returns the ticket of a request that may wait for a change.
    pub(crate) fn of(
        route: Option<RouteId>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Arc<Self>> {
        let route = route?.route();
        let may_wait = route.waits && method == Method::GET && preferred_wait(headers).is_some();
        may_wait.then(Arc::default)
    }

    /// Holds the permit of the request until the request begins to wait.
    pub(crate) fn hold(&self, permit: Permit) {
        *self.permit.lock() = Some(permit);
    }

    /// Notes that the request waits from now on, and gives its permit back.
    pub(crate) fn start_waiting(&self) {
        self.waiting.store(true, Relaxed);
        let permit = self.permit.lock().take();
        drop(permit);
    }

    /// Whether the request waits or has waited. Its deadline is then its own, and its duration says
    /// nothing about the service.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed)
    }
}
