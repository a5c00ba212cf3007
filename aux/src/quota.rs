//! The quota limiter: refuses calls to AWS before AWS would throttle them.
//!
//! Parameter Store's quota belongs to the whole account and region, so calls beyond it would
//! throttle all other users of the account too
//! (<https://docs.aws.amazon.com/general/latest/gr/ssm.html>). Each group of operations that shares
//! a quota has a token bucket of one second's calls.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use cache::Priority;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

/// The pause of a group's calls after AWS throttled one. AWS does not report how long to wait; its
/// buckets refill within a second.
pub const THROTTLE_PAUSE: Duration = Duration::from_secs(1);

/// A group of operations that share a quota of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The operations `GetParameter`, `GetParameters` and `GetParametersByPath`.
    Reads,
    /// The operation `DescribeParameters`.
    ParameterLists,
    /// The operation `ListBuckets`. S3 has a quota of its own, but the limiter uses the same rate.
    BucketLists,
}

/// A token bucket for each group of operations.
#[derive(Debug)]
pub struct QuotaLimiter {
    reads: TokenBucket,
    parameter_lists: TokenBucket,
    bucket_lists: TokenBucket,
}

impl QuotaLimiter {
    /// Builds a limiter with full buckets. The rates are in calls a second; 0 means no limit.
    pub fn new(rate_get: f64, rate_list: f64) -> Self {
        Self {
            reads: TokenBucket::new(rate_get),
            parameter_lists: TokenBucket::new(rate_list),
            bucket_lists: TokenBucket::new(rate_list),
        }
    }

    /// Takes one call from the quota, or returns the time until one is available.
    pub fn try_acquire(&self, group: Group, priority: Priority) -> Result<(), Duration> {
        self.bucket_of(group).try_acquire(priority)
    }

    /// Waits until one call is available in the quota, and takes it. Use it for the later pages of
    /// a list: a refusal would waste the pages that have been read.
    ///
    /// The call waits at its own priority. Calls of higher priority could keep it waiting for ever,
    /// so after a while it has the next token of its bucket reserved.
    pub async fn acquire(&self, group: Group, priority: Priority) {
        self.bucket_of(group).acquire(priority).await;
    }

    /// Empties the bucket of a group that AWS throttled. Other processes use the same quota, so the
    /// tokens left in the bucket do not exist at AWS.
    pub fn drain(&self, group: Group) {
        self.bucket_of(group).drain();
    }

    /// Returns the calls left and the calls refused, by group, for `/status`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "reads": self.reads.status(),
            "parameter_lists": self.parameter_lists.status(),
            "bucket_lists": self.bucket_lists.status(),
        })
    }

    fn bucket_of(&self, group: Group) -> &TokenBucket {
        match group {
            Group::Reads => &self.reads,
            Group::ParameterLists => &self.parameter_lists,
            Group::BucketLists => &self.bucket_lists,
        }
    }
}

#[derive(Debug)]
struct TokenBucket {
    /// The rate in calls a second; 0 means no limit.
    rate: f64,
    level: Mutex<Level>,
    refused: AtomicU64,
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
#[derive(Clone, Copy, Debug)]
enum Claim {
    /// Lower priorities must leave part of the bucket for higher ones.
    Priority(Priority),
    /// The call has a reservation. It needs one token.
    Reserved,
}

/// A token that is reserved until the reservation is dropped.
struct Reservation<'a>(&'a TokenBucket);

impl<'a> Reservation<'a> {
    fn new(bucket: &'a TokenBucket) -> Self {
        bucket.level.lock().reserved += 1;
        Self(bucket)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.level.lock().reserved -= 1;
    }
}

impl TokenBucket {
    fn new(rate: f64) -> Self {
        let level = Level { tokens: Self::capacity(rate), at: Instant::now(), reserved: 0 };
        Self { rate, level: Mutex::new(level), refused: AtomicU64::new(0) }
    }

    /// The size of a bucket: one second's calls, but at least one call.
    fn capacity(rate: f64) -> f64 {
        rate.max(1.0)
    }

    fn refill(&self, level: &mut Level, now: Instant) {
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        level.tokens = (level.tokens + passed * self.rate).min(Self::capacity(self.rate));
        level.at = level.at.max(now);
    }

    fn try_acquire(&self, priority: Priority) -> Result<(), Duration> {
        self.take(Claim::Priority(priority)).inspect_err(|_| {
            self.refused.fetch_add(1, Relaxed);
        })
    }

    async fn acquire(&self, priority: Priority) {
        let reserve_at = Instant::now() + self.longest_wait();
        let at_own_priority = async {
            while let Err(wait) = self.take(Claim::Priority(priority)) {
                sleep(wait).await;
            }
        };
        if timeout_at(reserve_at, at_own_priority).await.is_err() {
            let _reservation = Reservation::new(self);
            while let Err(wait) = self.take(Claim::Reserved) {
                sleep(wait).await;
            }
        }
    }

    /// The wait after which a call gets a reservation: twice the time in which a bucket without
    /// other calls fills up.
    fn longest_wait(&self) -> Duration {
        let fills_in = if self.rate == 0.0 { 0.0 } else { Self::capacity(self.rate) / self.rate };
        Duration::from_secs_f64(2.0 * fills_in)
    }

    /// Takes one token, or returns the time until one is available.
    fn take(&self, claim: Claim) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let now = Instant::now();
        let mut level = self.level.lock();
        self.refill(&mut level, now);
        let capacity_above_one = Self::capacity(self.rate) - 1.0;
        let needed = match claim {
            Claim::Reserved => 1.0,
            Claim::Priority(priority) => {
                let fraction = match priority {
                    Priority::Miss => 0.0,
                    Priority::WithFallback => 0.25,
                    Priority::Refresh => 0.5,
                };
                1.0 + fraction * capacity_above_one + f64::from(level.reserved)
            }
        };
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

    fn drain(&self) {
        let mut level = self.level.lock();
        level.tokens = 0.0;
        level.at = Instant::now() + THROTTLE_PAUSE;
    }

    fn status(&self) -> serde_json::Value {
        if self.rate == 0.0 {
            return serde_json::json!({ "limit_per_second": null });
        }
        let mut level = *self.level.lock();
        self.refill(&mut level, Instant::now());
        serde_json::json!({
            "limit_per_second": self.rate,
            "available": level.tokens.floor(),
            "refused": self.refused.load(Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    /// Takes calls until the limiter refuses one, but at most 1000. Returns their number.
    fn acquired(limiter: &QuotaLimiter, priority: Priority) -> usize {
        std::iter::from_fn(|| limiter.try_acquire(Group::Reads, priority).ok()).take(1000).count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_second_allows_one_full_bucket_of_calls() {
        let limiter = QuotaLimiter::new(40.0, 3.0);
        assert_eq!(acquired(&limiter, Priority::Miss), 40);
        advance(Duration::from_secs(1)).await;
        assert_eq!(acquired(&limiter, Priority::Miss), 40);
        advance(Duration::from_secs(60)).await;
        assert_eq!(acquired(&limiter, Priority::Miss), 40, "unused calls do not accumulate");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_returns_the_time_until_the_next_call() {
        let limiter = QuotaLimiter::new(2.0, 3.0);
        acquired(&limiter, Priority::Miss);
        let wait = limiter.try_acquire(Group::Reads, Priority::Miss).expect_err("empty");
        assert!(wait <= Duration::from_millis(502), "{wait:?}");
        advance(wait).await;
        assert_eq!(limiter.try_acquire(Group::Reads, Priority::Miss), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn lower_priorities_leave_part_of_the_bucket() {
        let limiter = QuotaLimiter::new(40.0, 3.0);
        assert_eq!(acquired(&limiter, Priority::Refresh), 20);
        assert_eq!(acquired(&limiter, Priority::WithFallback), 10);
        assert_eq!(acquired(&limiter, Priority::Miss), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn each_group_has_a_bucket_of_its_own() {
        let limiter = QuotaLimiter::new(1.0, 3.0);
        acquired(&limiter, Priority::Miss);
        assert_eq!(limiter.try_acquire(Group::ParameterLists, Priority::Miss), Ok(()));
        assert_eq!(limiter.try_acquire(Group::BucketLists, Priority::Miss), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_pause_after_aws_has_throttled() {
        let limiter = QuotaLimiter::new(40.0, 3.0);
        limiter.drain(Group::Reads);
        let wait = limiter.try_acquire(Group::Reads, Priority::Miss).expect_err("drained");
        assert!(wait >= THROTTLE_PAUSE, "{wait:?}");
        advance(THROTTLE_PAUSE + Duration::from_millis(500)).await;
        assert_eq!(acquired(&limiter, Priority::Miss), 20, "the bucket refills at its rate");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_one_call_a_second_still_allows_one_call() {
        let limiter = QuotaLimiter::new(0.5, 0.5);
        assert_eq!(acquired(&limiter, Priority::Miss), 1);
        advance(Duration::from_millis(1900)).await;
        assert_eq!(acquired(&limiter, Priority::Miss), 0);
        advance(Duration::from_millis(200)).await;
        assert_eq!(acquired(&limiter, Priority::Miss), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_not_counted_as_a_refusal() {
        let limiter = QuotaLimiter::new(2.0, 3.0);
        acquired(&limiter, Priority::Miss);
        let refused = limiter.status()["reads"]["refused"].clone();
        limiter.acquire(Group::Reads, Priority::Refresh).await;
        assert_eq!(limiter.status()["reads"]["refused"], refused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_call_of_low_priority_is_not_kept_waiting_for_ever() {
        for rate in [0.75, 3.0, 40.0] {
            let limiter = QuotaLimiter::new(rate, rate);
            acquired(&limiter, Priority::Miss);
            let waiting = async {
                for _ in 0..3 {
                    limiter.acquire(Group::Reads, Priority::Refresh).await;
                }
            };
            // The other calls take each token as soon as there is one.
            let others = async {
                loop {
                    acquired(&limiter, Priority::Miss);
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let limit = 3.0 * (2.0 * rate.max(1.0) / rate + 2.0 / rate);
            tokio::select! {
                () = waiting => (),
                () = others => (),
                () = sleep(Duration::from_secs_f64(limit)) => panic!("{rate}: it starves"),
            }
            assert!(limiter.try_acquire(Group::Reads, Priority::Miss).is_err());
            advance(Duration::from_secs_f64(1.1 / rate)).await;
            assert_eq!(limiter.try_acquire(Group::Reads, Priority::Miss), Ok(()), "none is left");
        }
    }

    #[test]
    fn a_rate_of_zero_sets_no_limit() {
        assert_eq!(acquired(&QuotaLimiter::new(0.0, 0.0), Priority::Refresh), 1000);
    }

    proptest! {
        /// In any sequence of calls, throttling and pauses, the limiter allows no more than a full
        /// bucket plus the calls that the elapsed time has refilled.
        #[test]
        fn the_rate_is_never_exceeded(
            rate in 0.2f64..50.0,
            steps in prop::collection::vec((0u64..2000, 0usize..60, any::<bool>()), 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().expect("a runtime");
            runtime.block_on(async {
                let limiter = QuotaLimiter::new(rate, rate);
                let start = Instant::now();
                let mut acquired = 0.0;
                for (pause, calls, throttled) in steps {
                    advance(Duration::from_millis(pause)).await;
                    for _ in 0..calls {
                        if limiter.try_acquire(Group::Reads, Priority::Miss).is_ok() {
                            acquired += 1.0;
                        }
                    }
                    if throttled {
                        limiter.drain(Group::Reads);
                    }
                    let allowed = rate.max(1.0) + start.elapsed().as_secs_f64() * rate + 1e-6;
                    prop_assert!(acquired <= allowed, "{acquired} of {allowed}");
                }
                Ok(())
            })?;
        }
    }
}
