//! The input of a load, its result, and the meaning of its errors.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{CachedBody, http::Freshness};

/// The context of a load: the stored response and the priority.
#[derive(Clone)]
pub struct LoadContext {
    /// The stored response, for a conditional call.
    pub stored: Option<Stored>,
    /// The priority of the load. A quota limiter serves a load of higher priority first.
    pub priority: Priority,
    /// Absent while the cache is off.
    pub(crate) offer: Option<Offer>,
}

/// The function that stores an offered response.
pub(crate) type Offer = Arc<dyn Fn(Loaded) + Send + Sync>;

impl LoadContext {
    /// Stores a response that the load found before it called the upstream, for example in a cache
    /// that several processes share. The response may be stale: the cache serves it in the same
    /// cases as an entry of its own that has the same age, such as a failure of this load.
    ///
    /// An entry that is as young as the response stays.
    pub fn offer(&self, found: Loaded) {
        if let Some(offer) = &self.offer {
            offer(found);
        }
    }
}

impl fmt::Debug for LoadContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadContext")
            .field("stored", &self.stored)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// The priority of a load, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// No request waits. The cache has served the stale entry, or a task keeps the entry fresh.
    Refresh,
    /// A request waits. The cache has an entry to fall back on.
    WithFallback,
    /// A request waits. Without an entry to fall back on, it gets an error if the load fails.
    Miss,
}

/// The stored response, which a load can renew with `Loaded::new(stored.body, freshness)`.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The stored body, with its content type and tag.
    pub body: CachedBody,
    /// The [`Loaded::validator`] of the stored response.
    pub validator: Option<Box<[u8]>>,
    /// The time of the latest change that has outdated the response, or may have; see
    /// [`Effect::Expire`](crate::Effect::Expire).
    pub outdated_at: Option<Instant>,
}

/// The result of a load to which the upstream has responded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The body that the cache serves.
    pub body: CachedBody,
    /// The limits on its age.
    pub freshness: Freshness,
    /// Whether caches may store the response. If `false`, neither this cache nor a cache between it
    /// and the client stores it.
    pub storable: bool,
    /// The upstream's `ETag`, which the next load of this key gets. This field and the next one own
    /// their memory: a header value is a slice of a connection's buffer and would keep the whole
    /// buffer alive.
    pub validator: Option<Box<[u8]>>,
    /// The `Cache-Status` header of the upstream's response.
    pub cache_status: Option<Box<str>>,
    /// The shortest time to the next load that a change causes. A response that takes long to load and
    /// that changes all the time would otherwise be loaded without end. Until then the cache serves
    /// it stale.
    pub min_interval: Duration,
    /// The time of a change that the response may precede; see [`Stored::outdated_at`].
    pub outdated_at: Option<Instant>,
}

impl Loaded {
    /// Creates a storable result that comes directly from the origin.
    pub fn new(body: CachedBody, freshness: Freshness) -> Self {
        Self {
            body,
            freshness,
            storable: true,
            validator: None,
            cache_status: None,
            min_interval: Duration::ZERO,
            outdated_at: None,
        }
    }
}

/// An error of a load. All requests that wait for the load share it.
pub trait CacheableError: Clone + Send + Sync + 'static {
    /// Returns the effect of the error on the entry of its key.
    fn disposition(&self) -> Disposition;

    /// Returns the bytes that the error holds on the heap. Negative entries for made-up names store
    /// the error, so bytes that are missing here escape the cache's memory bound.
    fn heap_bytes(&self) -> usize;
}

/// The effect of an error on the entry of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The item does not exist. The cache drops the entry and stores a negative entry.
    Negative {
        /// The lifetime of the negative entry. If it is zero, nothing is stored.
        ttl: Duration,
    },
    /// The error is valid for this key: the entry is dropped.
    Definitive,
    /// The error says nothing about the item, or may pass: the entry stays.
    Transient,
}
