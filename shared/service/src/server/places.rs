//! A limited number of places for requests.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use metrics::Counter;

use crate::observe::metrics::REQUESTS_SHED;

/// The places. Cloning is shallow.
///
/// tokio's semaphore would do the same with a lock for each permit.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    limit: usize,
    taken: AtomicUsize,
    refused: Counter,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        let refused = metrics::counter!(REQUESTS_SHED);
        Self(Arc::new(Inner { limit, taken: AtomicUsize::new(0), refused }))
    }

    /// Takes a place. Returns `None`, and counts the refusal, if all are taken.
    pub(crate) fn take(&self) -> Option<Permit> {
        // A refused request has its permit for a moment too, and gives it back when it is dropped.
        let permit = Permit(self.clone());
        if self.0.taken.fetch_add(1, Relaxed) < self.0.limit {
            return Some(permit);
        }
        self.0.refused.increment(1);
        None
    }
}

/// The place of one request. Dropping it frees the place.
pub(crate) struct Permit(Places);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.taken.fetch_sub(1, Relaxed);
    }
}
