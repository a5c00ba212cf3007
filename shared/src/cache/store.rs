//! A bounded store. moka decides what stays when room is short, and nothing else: what may
//! still be answered is decided by our own clock, since moka's cannot be paused in tests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, notification::RemovalCause, sync::Cache};

use super::metrics::Evictions;

/// What a store must know of its values.
pub(super) trait Held: Send + Sync + 'static {
    /// The memory that it takes, all but its key.
    fn heap_bytes(&self) -> usize;

    /// After this long it is of no use to anyone.
    fn kept_for(&self) -> Duration;
}

pub(super) struct Store<V> {
    entries: Cache<Arc<str>, Arc<V>>,
    max_bytes: u64,
}

impl<V: Held> Store<V> {
    pub(super) fn new(max_bytes: u64, evictions: Evictions) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weigh)
            .expire_after(HardEnd)
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Size => evictions.size.increment(1),
                RemovalCause::Expired => evictions.expired.increment(1),
                RemovalCause::Explicit => evictions.invalidated.increment(1),
                RemovalCause::Replaced => {}
            })
            .build();
        Self { entries, max_bytes }
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<V>> {
        self.entries.get(key)
    }

    /// Whether it was taken: what is larger than the whole store is not, and what was kept
    /// under the key is dropped all the same.
    pub(super) fn insert(&self, key: &Arc<str>, value: Arc<V>) -> bool {
        let fits = u64::from(weigh(key, &value)) <= self.max_bytes;
        if fits {
            self.entries.insert(Arc::clone(key), value);
        } else {
            self.remove(key);
        }
        fits
    }

    pub(super) fn remove(&self, key: &str) {
        self.entries.invalidate(key);
    }

    /// Lets moka drop at once what it would drop later: what is over the bound or past its end.
    pub(super) fn settle(&self) {
        self.entries.run_pending_tasks();
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries.entry_count()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

fn weigh<V: Held>(key: &Arc<str>, value: &Arc<V>) -> u32 {
    u32::try_from(key.len() + value.heap_bytes()).unwrap_or(u32::MAX)
}

struct HardEnd;

impl<V: Held> Expiry<Arc<str>, Arc<V>> for HardEnd {
    fn expire_after_create(&self, _: &Arc<str>, value: &Arc<V>, _: Instant) -> Option<Duration> {
        Some(value.kept_for())
    }

    /// The default would keep the end of the value that was replaced.
    fn expire_after_update(
        &self,
        _: &Arc<str>,
        value: &Arc<V>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.kept_for())
    }
}
