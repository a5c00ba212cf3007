//! One answer that is kept, and what is known of its age.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    load::{Loaded, Previous},
    store::Held,
};
use crate::http_cache::{Freshness, Head, State};

/// The pause after a first failed refresh; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No longer than this, or a source that is back would stay unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What an entry takes besides its key and body, moka's bookkeeping and the allocator's rounding
/// included: measured by a test.
pub(super) const OVERHEAD: usize = 720;

pub(super) struct Entry {
    key: Arc<str>,
    loaded: Loaded,
    loaded_at: Instant,
    rest: Mutex<Rest>,
}

/// How long the source is left in peace after refreshes that failed.
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

    /// Counted from the origin's answer, across all hops.
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

    /// Whether a refresh failed so recently that the next one waits.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rest.lock().until.is_some_and(|until| now < until)
    }

    /// Notes a failed refresh. The pause is jittered, so that what failed together is not
    /// tried again together.
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
