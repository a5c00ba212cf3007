//! Negative entries: remembered 404s.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{load::CacheableError, store::CacheValue};

/// Bytes that a negative entry takes besides its key and error. Like
/// [`entry::OVERHEAD`](crate::entry::OVERHEAD), they include moka's bookkeeping and the allocator's
/// rounding.
pub(crate) const OVERHEAD: usize = 420;

pub(crate) struct Negative<E> {
    key: Arc<str>,
    pub(crate) error: E,
    ttl: Duration,
    loaded_at: Instant,
}

impl<E> Negative<E> {
    pub(crate) fn new(key: Arc<str>, error: E, ttl: Duration, loaded_at: Instant) -> Self {
        Self { key, error, ttl, loaded_at }
    }

    /// Returns the remaining lifetime, or `None` after its end.
    pub(crate) fn remaining(&self, now: Instant) -> Option<Duration> {
        let remaining = self.ttl.saturating_sub(now.saturating_duration_since(self.loaded_at));
        (!remaining.is_zero()).then_some(remaining)
    }
}

impl<E: CacheableError> CacheValue for Negative<E> {
    fn key(&self) -> &str {
        &self.key
    }

    fn weight(&self) -> usize {
        OVERHEAD + self.key.len() + size_of::<E>() + self.error.heap_bytes()
    }

    fn time_to_live(&self) -> Duration {
        self.ttl
    }
}
