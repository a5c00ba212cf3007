//! The memory that there is no such thing.

use std::time::Duration;

use tokio::time::Instant;

use super::{load::CacheableError, store::Held};

/// As [`entry::OVERHEAD`](super::entry::OVERHEAD), for what is kept of an error.
pub(super) const OVERHEAD: usize = 500;

pub(super) struct Negative<E> {
    pub(super) error: E,
    ttl: Duration,
    learnt_at: Instant,
}

impl<E> Negative<E> {
    pub(super) fn new(error: E, ttl: Duration, learnt_at: Instant) -> Self {
        Self { error, ttl, learnt_at }
    }

    /// What is left of its time; `None` once it is over.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.ttl.saturating_sub(now.saturating_duration_since(self.learnt_at));
        (!left.is_zero()).then_some(left)
    }
}

impl<E: CacheableError> Held for Negative<E> {
    fn heap_bytes(&self) -> usize {
        OVERHEAD + size_of::<E>() + self.error.heap_bytes()
    }

    fn kept_for(&self) -> Duration {
        self.ttl
    }
}
