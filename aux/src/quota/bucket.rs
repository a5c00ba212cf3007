//! A token bucket in the memory of this process.

use std::time::Duration;

use cache::Priority;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A token bucket of one second's calls.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// The rate in calls a second; 0 means no limit.
    rate: f64,
    level: Mutex<Level>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    tokens: f64,
    /// The time at which `tokens` was correct. It lies in the future while the bucket is drained.
    at: Instant,
    /// The tokens that are reserved for calls that have waited long.
    reserved: u32,
}

/// The claim of a call on its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Lower priorities must leave part of the bucket for higher ones.
    Priority(Priority),
    /// The call has a reservation. It needs one token.
    Reserved,
}

impl Claim {
    /// Returns the tokens that a bucket of this rate must hold for the call.
    pub(super) fn needed(self, rate: f64) -> f64 {
        let fraction = match self {
            Self::Reserved | Self::Priority(Priority::Miss) => 0.0,
            Self::Priority(Priority::WithFallback) => 0.25,
            Self::Priority(Priority::Refresh) => 0.5,
        };
        1.0 + fraction * (capacity(rate) - 1.0)
    }
}

/// Returns the size of a bucket: one second's calls, but at least one call.
pub(super) fn capacity(rate: f64) -> f64 {
    rate.max(1.0)
}

/// A token that is reserved until the reservation is dropped.
pub(super) struct Reservation<'a>(&'a TokenBucket);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.level.lock().reserved -= 1;
    }
}

impl TokenBucket {
    /// Creates a full bucket.
    pub(super) fn new(rate: f64) -> Self {
        let level = Level { tokens: capacity(rate), at: Instant::now(), reserved: 0 };
        Self { rate, level: Mutex::new(level) }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn reserve(&self) -> Reservation<'_> {
        self.level.lock().reserved += 1;
        Reservation(self)
    }

    fn refill(&self, level: &mut Level, now: Instant) {
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        level.tokens = (level.tokens + passed * self.rate).min(capacity(self.rate));
        level.at = level.at.max(now);
    }

    /// Takes one token, or returns the time until one is available.
    pub(super) fn take(&self, claim: Claim) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let now = Instant::now();
        let mut level = self.level.lock();
        self.refill(&mut level, now);
        let reserved = if claim == Claim::Reserved { 0.0 } else { f64::from(level.reserved) };
        let needed = claim.needed(self.rate) + reserved;
        if level.tokens >= needed {
            level.tokens -= 1.0;
            return Ok(());
        }
        let drained = level.at.saturating_duration_since(now);
        let missing = (needed - level.tokens) / self.rate;
        // The added millisecond covers rounding. Without it, a caller could retry too early and be
        // refused again.
        Err(drained + Duration::from_secs_f64(missing) + Duration::from_millis(1))
    }

    /// Empties the bucket, which refills after a pause.
    pub(super) fn drain(&self, pause: Duration) {
        let mut level = self.level.lock();
        level.tokens = 0.0;
        level.at = level.at.max(Instant::now() + pause);
    }

    /// Returns the whole tokens in the bucket.
    pub(super) fn available(&self) -> f64 {
        let mut level = *self.level.lock();
        self.refill(&mut level, Instant::now());
        level.tokens.floor()
    }
}
