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
use tokio::time::{Instant, sleep};

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

#[derive(Debug)]
pub struct Shield {
    reads: Bucket,
    parameter_lists: Bucket,
    bucket_lists: Bucket,
}

impl Shield {
    /// Builds a limiter with full buckets. The rates are in calls a second; 0 means no limit.
    pub fn new(rate_get: f64, rate_list: f64) -> Self {
        Self {
            reads: Bucket::new(rate_get),
            parameter_lists: Bucket::new(rate_list),
            bucket_lists: Bucket::new(rate_list),
        }
    }

    /// Takes one call from the quota, or returns the time until one is available.
    pub fn admit(&self, group: Group, priority: Priority) -> Result<(), Duration> {
        self.bucket(group).take(priority)
    }

    /// Waits for one call from the quota. Use it for the later pages of a list: a refusal would
    /// waste the pages that have been read.
    pub async fn admitted(&self, group: Group, priority: Priority) {
        while let Err(wait) = self.admit(group, priority) {
            sleep(wait).await;
        }
    }

    /// Empties the bucket of a group that AWS throttled. Other processes use the same quota, so the
    /// tokens left in the bucket do not exist at AWS.
    pub fn throttled(&self, group: Group) {
        self.bucket(group).drain();
    }

    /// Returns the calls left and the calls refused, by group, for `/status`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "reads": self.reads.status(),
            "parameter_lists": self.parameter_lists.status(),
            "bucket_lists": self.bucket_lists.status(),
        })
    }

    fn bucket(&self, group: Group) -> &Bucket {
        match group {
            Group::Reads => &self.reads,
            Group::ParameterLists => &self.parameter_lists,
            Group::BucketLists => &self.bucket_lists,
        }
    }
}

#[derive(Debug)]
struct Bucket {
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
}

impl Bucket {
    fn new(rate: f64) -> Self {
        let level = Level { tokens: Self::capacity(rate), at: Instant::now() };
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

    fn take(&self, priority: Priority) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        // Lower-priority calls must leave part of the bucket for higher-priority ones.
        let spared = match priority {
            Priority::Miss => 0.0,
            Priority::Revalidation => 0.25,
            Priority::Refresh => 0.5,
        };
        let needed = 1.0 + spared * (Self::capacity(self.rate) - 1.0);
        let now = Instant::now();
        let mut level = self.level.lock();
        self.refill(&mut level, now);
        if level.tokens >= needed {
            level.tokens -= 1.0;
            return Ok(());
        }
        self.refused.fetch_add(1, Relaxed);
        let drained = level.at.saturating_duration_since(now);
        let missing = (needed - level.tokens) / self.rate;
        // The added millisecond covers rounding. Without it, a caller could retry too early and be
        // refused again.
        Err(drained + Duration::from_secs_f64(missing) + Duration::from_millis(1))
    }

    fn drain(&self) {
        *self.level.lock() = Level { tokens: 0.0, at: Instant::now() + THROTTLE_PAUSE };
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

    fn taken(shield: &Shield, priority: Priority) -> usize {
        std::iter::from_fn(|| shield.admit(Group::Reads, priority).ok()).take(1000).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_allows_as_many_calls_as_the_rate_says() {
        let shield = Shield::new(40.0, 3.0);
        assert_eq!(taken(&shield, Priority::Miss), 40);
        advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&shield, Priority::Miss), 40);
        advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&shield, Priority::Miss), 40, "what is not used does not add up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_says_when_to_come_back() {
        let shield = Shield::new(2.0, 3.0);
        taken(&shield, Priority::Miss);
        let wait = shield.admit(Group::Reads, Priority::Miss).expect_err("empty");
        assert!(wait <= Duration::from_millis(502), "{wait:?}");
        advance(wait).await;
        assert_eq!(shield.admit(Group::Reads, Priority::Miss), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_done_without_leaves_a_part_of_the_bucket() {
        let shield = Shield::new(40.0, 3.0);
        assert_eq!(taken(&shield, Priority::Refresh), 20);
        assert_eq!(taken(&shield, Priority::Revalidation), 10);
        assert_eq!(taken(&shield, Priority::Miss), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_groups_do_not_take_from_each_other() {
        let shield = Shield::new(1.0, 3.0);
        taken(&shield, Priority::Miss);
        assert_eq!(shield.admit(Group::ParameterLists, Priority::Miss), Ok(()));
        assert_eq!(shield.admit(Group::BucketLists, Priority::Miss), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn when_aws_throttles_nothing_is_asked_for_a_moment() {
        let shield = Shield::new(40.0, 3.0);
        shield.throttled(Group::Reads);
        let wait = shield.admit(Group::Reads, Priority::Miss).expect_err("drained");
        assert!(wait >= THROTTLE_PAUSE, "{wait:?}");
        advance(THROTTLE_PAUSE + Duration::from_millis(500)).await;
        assert_eq!(taken(&shield, Priority::Miss), 20, "it fills again at its rate");
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_below_one_call_a_second_still_allows_one() {
        let shield = Shield::new(0.5, 0.5);
        assert_eq!(taken(&shield, Priority::Miss), 1);
        advance(Duration::from_millis(1900)).await;
        assert_eq!(taken(&shield, Priority::Miss), 0);
        advance(Duration::from_millis(200)).await;
        assert_eq!(taken(&shield, Priority::Miss), 1);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(taken(&Shield::new(0.0, 0.0), Priority::Refresh), 1000);
    }

    proptest! {
        /// In any sequence of calls, throttling and pauses, the limiter admits no more than a full
        /// bucket plus the calls that the elapsed time has refilled.
        #[test]
        fn the_rate_is_never_exceeded(
            rate in 0.2f64..50.0,
            steps in prop::collection::vec((0u64..2000, 0usize..60, any::<bool>()), 1..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().expect("a runtime");
            runtime.block_on(async {
                let shield = Shield::new(rate, rate);
                let start = Instant::now();
                let mut admitted = 0.0;
                for (pause, calls, throttled) in steps {
                    advance(Duration::from_millis(pause)).await;
                    for _ in 0..calls {
                        if shield.admit(Group::Reads, Priority::Miss).is_ok() {
                            admitted += 1.0;
                        }
                    }
                    if throttled {
                        shield.throttled(Group::Reads);
                    }
                    let allowed = rate.max(1.0) + start.elapsed().as_secs_f64() * rate + 1e-6;
                    prop_assert!(admitted <= allowed, "{admitted} of {allowed}");
                }
                Ok(())
            })?;
        }
    }
}
