//! A cache entry: a stored response, its age and its refresh backoff.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    load::{Loaded, Previous},
    store::Held,
};
use crate::http_cache::{Freshness, Head, State};

/// Pause after the first failed refresh. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Upper bound of the pause. A longer pause would delay the first refresh from a recovered
/// upstream.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bytes that an entry takes besides its key and body. They include moka's bookkeeping and the
/// allocator's rounding; `tests/memory.rs` measures them.
pub(super) const OVERHEAD: usize = 720;

pub(super) struct Entry {
    key: Arc<str>,
    loaded: Loaded,
    loaded_at: Instant,
    rest: Mutex<Rest>,
}

/// The pause of refreshes after failures, so that a failing upstream is not called by every
/// request.
#[derive(Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Entry {
    pub(super) fn new(key: Arc<str>, loaded: Loaded, loaded_at: Instant) -> Self {
        Self { key, loaded, loaded_at, rest: Mutex::default() }
    }

    pub(super) fn answer(&self) -> &super::Answer {
        &self.loaded.answer
    }

    pub(super) fn head(&self) -> Head<'_> {
        let told = self.loaded.storable && !self.answer().is_secret();
        Head {
            content_type: self.answer().content_type(),
            freshness: told.then_some(self.freshness()),
            etag: self.answer().etag(),
            upstream: self.loaded.cache_status.as_deref(),
        }
    }

    pub(super) fn freshness(&self) -> &Freshness {
        &self.loaded.freshness
    }

    /// Returns the age since the origin's response, across all hops.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let resident = now.saturating_duration_since(self.loaded_at);
        self.freshness().age_at_load.saturating_add(resident)
    }

    pub(super) fn state(&self, now: Instant) -> State {
        self.freshness().state(self.age(now))
    }

    pub(super) fn is_storable(&self) -> bool {
        self.loaded.storable && !self.kept_for().is_zero()
    }

    pub(super) fn as_previous(&self) -> Previous {
        Previous { answer: self.loaded.answer.clone(), validator: self.loaded.validator.clone() }
    }

    /// Returns whether a refresh failed so recently that the next one must wait.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rest.lock().until.is_some_and(|until| now < until)
    }

    /// Records a failed refresh. The pause is jittered, so that entries that failed together are
    /// not refreshed again together.
    pub(super) fn refresh_failed(&self, now: Instant) {
        let mut rest = self.rest.lock();
        let pause = FIRST_PAUSE.saturating_mul(1 << rest.failures.min(8)).min(LONGEST_PAUSE);
        rest.failures = rest.failures.saturating_add(1);
        rest.until = Some(now + pause.mul_f64(0.5 + 0.5 * fastrand::f64()));
    }
}

impl Held for Entry {
    fn key(&self) -> &str {
        &self.key
    }

    fn held_bytes(&self) -> usize {
        OVERHEAD
            + self.key.len()
            + self.answer().body().len()
            + self.loaded.validator.as_deref().map_or(0, <[u8]>::len)
            + self.loaded.cache_status.as_deref().map_or(0, str::len)
    }

    fn kept_for(&self) -> Duration {
        self.freshness().bound().saturating_sub(self.freshness().age_at_load)
    }
}
