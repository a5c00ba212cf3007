//! The token bucket of one second's calls, as `aux/src/quota/bucket.rs` has it. AWS's own quota is
//! simulated by one, too.

use crate::{Seconds, cache::Priority};

/// The part of the bucket that a load must leave for loads of higher priority.
const RESERVE_OF_REFRESH: f64 = 0.5;
const RESERVE_WITH_FALLBACK: f64 = 0.25;

/// A token bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// The rate in calls a second; 0 means no limit.
    rate: f64,
    tokens: f64,
    /// The time at which `tokens` was correct. It lies in the future while the bucket is drained.
    at: Seconds,
}

impl Bucket {
    /// Creates a full bucket.
    pub(crate) fn new(rate: f64) -> Self {
        Self { rate, tokens: rate.max(1.0), at: 0.0 }
    }

    /// Takes one token, or returns the time until one is available.
    pub(crate) fn take(&mut self, now: Seconds, priority: Priority) -> Result<(), Seconds> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let capacity = self.rate.max(1.0);
        let passed = (now - self.at).max(0.0);
        self.tokens = (self.tokens + passed * self.rate).min(capacity);
        self.at = self.at.max(now);
        let reserve = match priority {
            Priority::Miss => 0.0,
            Priority::WithFallback => RESERVE_WITH_FALLBACK,
            Priority::Refresh => RESERVE_OF_REFRESH,
        };
        let needed = 1.0 + reserve * (capacity - 1.0);
        if self.tokens >= needed {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err((self.at - now) + (needed - self.tokens) / self.rate)
    }

    /// Empties the bucket, which refills after a pause.
    pub(crate) fn drain(&mut self, now: Seconds, pause: Seconds) {
        self.tokens = 0.0;
        self.at = self.at.max(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now: Seconds, priority: Priority) -> usize {
        (0..1000).take_while(|_| bucket.take(now, priority).is_ok()).count()
    }

    #[test]
    fn a_refresh_leaves_half_and_a_load_with_a_fallback_a_quarter() {
        let mut bucket = Bucket::new(40.0);
        assert_eq!(taken(&mut bucket, 0.0, Priority::Refresh), 20);
        assert_eq!(taken(&mut bucket, 0.0, Priority::WithFallback), 10);
        assert_eq!(taken(&mut bucket, 0.0, Priority::Miss), 10);
    }

    #[test]
    fn a_bucket_refills_at_its_rate_and_holds_one_second_of_it() {
        let mut bucket = Bucket::new(40.0);
        assert_eq!(taken(&mut bucket, 0.0, Priority::Miss), 40);
        assert_eq!(bucket.take(0.0, Priority::Miss), Err(0.025));
        assert_eq!(taken(&mut bucket, 0.5, Priority::Miss), 20);
        assert_eq!(taken(&mut bucket, 60.0, Priority::Miss), 40);
    }

    #[test]
    fn a_drained_bucket_refills_after_the_pause() {
        let mut bucket = Bucket::new(40.0);
        bucket.drain(0.0, 1.0);
        assert_eq!(bucket.take(0.5, Priority::Miss), Err(0.525));
        assert_eq!(taken(&mut bucket, 1.5, Priority::Miss), 20);
    }

    #[test]
    fn a_rate_below_one_still_holds_one_call() {
        let mut bucket = Bucket::new(0.4);
        assert_eq!(taken(&mut bucket, 0.0, Priority::Refresh), 1);
        assert_eq!(taken(&mut bucket, 2.4, Priority::Refresh), 0);
        assert_eq!(taken(&mut bucket, 2.6, Priority::Refresh), 1);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        assert_eq!(taken(&mut Bucket::new(0.0), 0.0, Priority::Refresh), 1000);
    }
}
