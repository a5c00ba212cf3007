//! A cache entry: a stored response, its age and its load backoff.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    body::CachedBody,
    http::{Freshness, ResponseHead, State},
    load::{Loaded, Stored},
    store::CacheValue,
};

/// Pause after the first failed load. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Upper bound of the pause. A longer pause would delay the first load from a recovered
/// upstream.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bytes that an entry takes besides its key and body. They include moka's bookkeeping and the
/// allocator's rounding; `tests/memory.rs` measures them.
pub(crate) const OVERHEAD: usize = 720;

/// Bytes that one more allocation takes, with the counters of its `Arc`.
const ALLOCATION: usize = 32;

pub(crate) struct Entry {
    key: Arc<str>,
    loaded: Loaded,
    loaded_at: Instant,
    backoff: Mutex<LoadBackoff>,
}

/// The pause of loads after failures, so that a failing upstream is not called by every request, or by
/// every change.
#[derive(Default)]
struct LoadBackoff {
    failures: u32,
    until: Option<Instant>,
}

impl Entry {
    pub(crate) fn new(key: Arc<str>, loaded: Loaded, loaded_at: Instant) -> Self {
        Self { key, loaded, loaded_at, backoff: Mutex::default() }
    }

    /// Returns the entry after a change that may concern it. Its next load does not back off after
    /// failures.
    pub(crate) fn stale(&self, now: Instant) -> Self {
        let freshness = self.freshness().stale_from(self.age(now));
        self.with(freshness, self.loaded.outdated_at, now)
    }

    /// Returns the entry after a change that concerns it, like [`stale`](Self::stale).
    pub(crate) fn outdated(&self, now: Instant) -> Self {
        self.with(self.freshness().only_if_error(), Some(now), now)
    }

    fn with(&self, freshness: Freshness, outdated_at: Option<Instant>, now: Instant) -> Self {
        let freshness = Freshness { age_at_load: self.age(now), ..freshness };
        let resident = now.saturating_duration_since(self.loaded_at);
        let min_interval = self.loaded.min_interval.saturating_sub(resident);
        let loaded = Loaded { freshness, min_interval, outdated_at, ..self.loaded.clone() };
        let backoff = LoadBackoff { failures: 0, until: now.checked_add(min_interval) };
        Self { backoff: Mutex::new(backoff), ..Self::new(Arc::clone(&self.key), loaded, now) }
    }

    pub(crate) fn body(&self) -> &CachedBody {
        &self.loaded.body
    }

    /// Returns the headers of a response with this body: the entry's own, or another
    /// representation.
    pub(crate) fn head<'a>(&'a self, body: &'a CachedBody) -> ResponseHead<'a> {
        let shared = self.is_shareable() && !body.is_confidential();
        ResponseHead {
            content_type: body.content_type(),
            freshness: shared.then_some(self.freshness()),
            etag: body.etag(),
            upstream: self.loaded.cache_status.as_deref(),
        }
    }

    pub(crate) fn freshness(&self) -> &Freshness {
        &self.loaded.freshness
    }

    /// Returns the age since the origin's response, across all hops.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let resident = now.saturating_duration_since(self.loaded_at);
        self.freshness().age_at_load.saturating_add(resident)
    }

    pub(crate) fn state(&self, now: Instant) -> State {
        self.freshness().state(self.age(now))
    }

    /// Whether caches between this one and the client may store the response.
    pub(crate) fn is_shareable(&self) -> bool {
        self.loaded.storable
    }

    pub(crate) fn is_storable(&self) -> bool {
        self.is_shareable() && !self.time_to_live().is_zero()
    }

    pub(crate) fn as_stored(&self) -> Stored {
        let Loaded { body, validator, outdated_at, .. } = &self.loaded;
        Stored { body: body.clone(), validator: validator.clone(), outdated_at: *outdated_at }
    }

    /// Returns whether a load failed so recently that the next one must wait, or whether the entry has
    /// changed soon after its last load.
    pub(crate) fn is_backing_off(&self, now: Instant) -> bool {
        self.backoff.lock().until.is_some_and(|until| now < until)
    }

    /// Records a failed load. The pause is jittered, so that entries whose loads failed together
    /// are not loaded again together.
    pub(crate) fn record_failed_load(&self, now: Instant) {
        let mut backoff = self.backoff.lock();
        let pause = FIRST_PAUSE.saturating_mul(1 << backoff.failures.min(8)).min(LONGEST_PAUSE);
        backoff.failures = backoff.failures.saturating_add(1);
        backoff.until = Some(now + pause.mul_f64(0.5 + 0.5 * fastrand::f64()));
    }
}

impl CacheValue for Entry {
    fn key(&self) -> &str {
        &self.key
    }

    fn weight(&self) -> usize {
        OVERHEAD
            + self.key.len()
            + self.body().bytes().len()
            + self.body().annotation().map_or(0, |annotation| annotation.len() + ALLOCATION)
            + self.loaded.validator.as_deref().map_or(0, <[u8]>::len)
            + self.loaded.cache_status.as_deref().map_or(0, str::len)
    }

    fn time_to_live(&self) -> Duration {
        self.freshness().bound().saturating_sub(self.freshness().age_at_load)
    }
}
