//! Negative entries: remembered 404s.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{load::CacheableError, store::Held};

/// Bytes that a negative entry takes besides its key and error. Like
/// [`entry::OVERHEAD`](super::entry::OVERHEAD), they include moka's bookkeeping and the allocator's
/// rounding.
pub(super) const OVERHEAD: usize = 420;

pub(super) struct Negative<E> {
    key: Arc<str>,
    pub(super) error: E,
    ttl: Duration,
    learnt_at: Instant,
}

impl<E> Negative<E> {
    pub(super) fn new(key: Arc<str>, error: E, ttl: Duration, learnt_at: Instant) -> Self {
        Self { key, error, ttl, learnt_at }
    }

    /// Returns the remaining lifetime, or `None` after its end.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.ttl.saturating_sub(now.saturating_duration_since(self.learnt_at));
        (!left.is_zero()).then_some(left)
    }
}

impl<E: CacheableError> Held for Negative<E> {
    fn key(&self) -> &str {
        &self.key
    }

    fn held_bytes(&self) -> usize {
        OVERHEAD + self.key.len() + size_of::<E>() + self.error.heap_bytes()
    }

    fn kept_for(&self) -> Duration {
        self.ttl
    }
}
