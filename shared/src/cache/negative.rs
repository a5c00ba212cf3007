//! The memory that there is no such thing.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{load::CacheableError, store::Held};

/// As [`entry::OVERHEAD`](super::entry::OVERHEAD), for what is kept of an error.
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

    /// What is left of its time; `None` once it is over.
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
