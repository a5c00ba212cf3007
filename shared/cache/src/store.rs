//! A bounded store. moka decides only which entries to evict at capacity. The cache decides by its
//! own clock whether an entry is usable, because tests cannot pause moka's clock.

use std::{
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, notification::RemovalCause, sync::Cache};

use crate::metrics::Evictions;

/// A value that a store can hold.
pub(crate) trait CacheValue: Send + Sync + 'static {
    fn key(&self) -> &str;

    /// Returns the size of the value in bytes, including its key and moka's bookkeeping.
    fn weight(&self) -> usize;

    /// Returns the time until the value is unusable.
    fn time_to_live(&self) -> Duration;
}

pub(crate) struct Store<V> {
    /// The values by the hash of their key. moka keeps the keys of hundreds of dropped entries, and
    /// made-up names are long, so the key is not stored here but in the value. Two keys of one hash
    /// displace each other, but a lookup never confuses them. The hash is seeded, so a client
    /// cannot construct a collision.
    entries: Cache<u64, Arc<V>, BuildHasherDefault<KeyIsHash>>,
    hasher: RandomState,
    max_bytes: u64,
}

impl<V: CacheValue> Store<V> {
    pub(crate) fn new(max_bytes: u64, evictions: Evictions) -> Self {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, value| weigh(value))
            .expire_after(ExpireWhenUnusable)
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Size => evictions.size.increment(1),
                RemovalCause::Expired => evictions.expired.increment(1),
                RemovalCause::Explicit => evictions.invalidated.increment(1),
                RemovalCause::Replaced => {}
            })
            .build_with_hasher(BuildHasherDefault::default());
        Self { entries, hasher: RandomState::new(), max_bytes }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<V>> {
        self.entries.get(&self.hasher.hash_one(key)).filter(|value| value.key() == key)
    }

    /// Stores a value and returns whether it fits. A value larger than the whole store is rejected,
    /// and the previous value under its key is removed.
    pub(crate) fn insert(&self, value: Arc<V>) -> bool {
        let fits = u64::from(weigh(&value)) <= self.max_bytes;
        if fits {
            self.entries.insert(self.hasher.hash_one(value.key()), value);
        } else {
            self.remove(value.key());
        }
        fits
    }

    pub(crate) fn remove(&self, key: &str) {
        self.entries.invalidate(&self.hasher.hash_one(key));
    }

    /// Returns the values that are stored now. A value that is stored meanwhile may be missing.
    pub(crate) fn values(&self) -> impl Iterator<Item = Arc<V>> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Runs moka's deferred evictions now: values beyond the bound and expired values.
    pub(crate) fn run_pending_tasks(&self) {
        self.entries.run_pending_tasks();
    }

    pub(crate) fn count(&self) -> u64 {
        self.entries.entry_count()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

fn weigh<V: CacheValue>(value: &Arc<V>) -> u32 {
    u32::try_from(value.weight()).unwrap_or(u32::MAX)
}

/// The hasher of moka's map. Its keys are hashes already.
#[derive(Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a key is one u64");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct ExpireWhenUnusable;

impl<V: CacheValue> Expiry<u64, Arc<V>> for ExpireWhenUnusable {
    fn expire_after_create(&self, _: &u64, value: &Arc<V>, _: Instant) -> Option<Duration> {
        Some(value.time_to_live())
    }

    /// Sets the expiry of the new value. The default would keep the expiry of the replaced value.
    fn expire_after_update(
        &self,
        _: &u64,
        value: &Arc<V>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.time_to_live())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl CacheValue for Named {
        fn key(&self) -> &str {
            self.0
        }

        fn weight(&self) -> usize {
            1
        }

        fn time_to_live(&self) -> Duration {
            Duration::from_secs(60)
        }
    }

    #[test]
    fn keys_with_equal_hashes_are_never_confused() {
        let store = Store::new(1000, Evictions::new("test"));
        assert!(store.insert(Arc::new(Named("mine"))));
        assert!(store.get("mine").is_some());
        store.entries.insert(store.hasher.hash_one("mine"), Arc::new(Named("yours")));
        assert!(store.get("mine").is_none());
    }
}
