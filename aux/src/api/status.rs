//! The response of `/status`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use service::contract::status::{self, Counts, MetricSamples, Reporter};
use utoipa::ToSchema;

use crate::fleet::Fleet;

/// The status of aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    #[serde(flatten)]
    pub common: status::Status,
    pub aws: Aws,
    /// The shared cache; `null` if this replica is on its own.
    pub shared_cache: Option<SharedCache>,
    /// The counts of the last 15 minutes, oldest first: one sample every 15 seconds. Only with
    /// `?history=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Sample>>)]
    pub history: Option<Vec<Box<RawValue>>>,
}

/// The counts of aux-service at one time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StatusSample)]
pub struct Sample {
    #[serde(flatten)]
    pub counts: Counts,
    pub aws: Aws,
    /// The shared cache; `null` if this replica is on its own.
    pub shared_cache: Option<SharedCache>,
}

/// The cache that all replicas share.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SharedCache {
    /// `ok`, or `degraded` while this replica continues alone.
    #[schema(example = "ok")]
    pub state: &'static str,
    /// The time since which it has not worked, as in RFC 3339; `null` while it works.
    pub degraded_since: Option<String>,
    /// The number of requests by operation and outcome. A sample of the history has the lookups only.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// Lookups by duration in seconds: the cumulative buckets of a Prometheus histogram.
    pub lookup_duration_seconds: BTreeMap<String, u64>,
}

/// The calls to AWS.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Aws {
    /// The number of calls by operation and outcome.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// The calls that the quota has left, by group of operations; `null` for a backend without a
    /// quota.
    #[schema(value_type = Option<Object>)]
    pub quota: Value,
    /// Calls by duration in seconds: the cumulative buckets of a Prometheus histogram.
    pub duration_seconds: BTreeMap<String, u64>,
}

/// The operation of the shared cache that a request waits for.
const LOOKUP: &str = "lookup";

impl Status {
    pub fn of(
        reporter: &Reporter,
        dependencies: Value,
        quota: Value,
        fleet: Option<&Fleet>,
        history: Option<Vec<Box<RawValue>>>,
    ) -> Self {
        let (common, samples) = reporter.report(dependencies);
        let aws = Aws::of(&samples, quota);
        Self { common, aws, shared_cache: SharedCache::of(&samples, fleet), history }
    }
}

impl Sample {
    /// Takes a sample now.
    pub fn take(reporter: &Reporter, quota: Value, fleet: Option<&Fleet>) -> Self {
        let (counts, samples) = reporter.counts();
        let mut shared_cache = SharedCache::of(&samples, fleet);
        if let Some(shared_cache) = &mut shared_cache {
            shared_cache.requests.retain(|operation, _| operation == LOOKUP);
        }
        Self { counts, aws: Aws::of(&samples, quota), shared_cache }
    }
}

impl Aws {
    fn of(samples: &MetricSamples, quota: Value) -> Self {
        Self {
            requests: samples.sum_by_two("aws_requests_total", "operation", "outcome"),
            quota,
            duration_seconds: samples
                .buckets("aws_request_duration_seconds", "operation", |_| true),
        }
    }
}

impl SharedCache {
    fn of(samples: &MetricSamples, fleet: Option<&Fleet>) -> Option<Self> {
        let fleet = fleet?;
        Some(Self {
            state: fleet.state(),
            degraded_since: fleet.degraded_since(),
            requests: samples.sum_by_two("shared_cache_requests_total", "operation", "outcome"),
            lookup_duration_seconds: samples.buckets(
                "shared_cache_request_duration_seconds",
                "operation",
                |operation| operation == LOOKUP,
            ),
        })
    }
}
