//! The quota limiter: refuses calls to AWS before AWS would throttle them.
//!
//! Parameter Store's quota belongs to the whole account and region, so calls beyond it would
//! throttle all other users of the account too
//! (<https://docs.aws.amazon.com/general/latest/gr/ssm.html>). Each group of operations that shares
//! a quota has a token bucket of one second's calls: one that all replicas share while they reach a
//! shared cache, or else one of this process.

use std::time::Duration;

use cache::Priority;
use metrics::{describe_gauge, gauge};

mod bucket;
mod group_quota;

use self::group_quota::GroupQuota;
use crate::fleet::Fleet;

/// The pause of a group's calls after AWS throttled one. AWS does not report how long to wait; its
/// buckets refill within a second.
pub const THROTTLE_PAUSE: Duration = Duration::from_secs(1);

const RATE_LIMIT: &str = "aws_rate_limit";

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

impl Group {
    const ALL: [Self; 3] = [Self::Reads, Self::ParameterLists, Self::BucketLists];

    /// The name in `/status`, in metrics, and in the key of a shared bucket.
    const fn label(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::ParameterLists => "parameter_lists",
            Self::BucketLists => "bucket_lists",
        }
    }
}

/// The rates of reads and of lists, in calls a second; 0 means no limit.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub get: f64,
    pub list: f64,
}

impl Rates {
    fn of(self, group: Group) -> f64 {
        match group {
            Group::Reads => self.get,
            Group::ParameterLists | Group::BucketLists => self.list,
        }
    }
}

/// A token bucket for each group of operations.
pub struct QuotaLimiter([GroupQuota; 3]);

impl QuotaLimiter {
    /// Builds a limiter of this process, with full buckets.
    pub fn new(rates: Rates) -> Self {
        Self(Group::ALL.map(|group| GroupQuota::new(rates.of(group), None)))
    }

    /// Builds a limiter that takes its calls from the buckets of all replicas. `own` are the rates
    /// of this process while the engine does not work.
    pub fn shared(own: Rates, fleet: &Fleet, region: &str, all_replicas: Rates) -> Self {
        Self(Group::ALL.map(|group| {
            let rate = all_replicas.of(group);
            let shared = (rate > 0.0).then(|| fleet.bucket(region, group.label(), rate));
            if shared.is_some() {
                record_rate(group, "fleet", rate);
            }
            GroupQuota::new(own.of(group), shared)
        }))
    }

    /// Exports the rates of this process.
    pub fn describe(rates: Rates) {
        describe_gauge!(
            RATE_LIMIT,
            "The limit of calls to AWS a second, of one replica and of all"
        );
        for group in Group::ALL {
            record_rate(group, "replica", rates.of(group));
        }
    }

    /// Takes one call from the quota, or returns the time until one is available.
    pub async fn try_acquire(&self, group: Group, priority: Priority) -> Result<(), Duration> {
        self.quota_of(group).try_acquire(priority).await
    }

    /// Waits until one call is available in the quota, and takes it. Use it for the later pages of
    /// a list: a refusal would waste the pages that have been read.
    ///
    /// The call waits at its own priority. Calls of higher priority could keep it waiting for ever,
    /// so after a while it has the next token of its bucket reserved.
    pub async fn acquire(&self, group: Group, priority: Priority) {
        self.quota_of(group).acquire(priority).await;
    }

    /// Empties the bucket of a group that AWS throttled. Other processes use the same quota, so the
    /// tokens left in the bucket do not exist at AWS.
    pub fn drain(&self, group: Group) {
        self.quota_of(group).drain(THROTTLE_PAUSE);
    }

    /// Returns the calls left and the calls refused, by group, for `/status`.
    pub fn status(&self) -> serde_json::Value {
        Group::ALL.map(|group| (group.label(), self.quota_of(group).status())).into_iter().collect()
    }

    fn quota_of(&self, group: Group) -> &GroupQuota {
        &self.0[group as usize]
    }
}

fn record_rate(group: Group, scope: &'static str, rate: f64) {
    gauge!(RATE_LIMIT, "group" => group.label(), "scope" => scope).set(rate);
}

#[cfg(test)]
mod tests;
