//! The response of `/status`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use service::contract::status::{self, Reporter};
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
}

/// The cache that all replicas share.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SharedCache {
    /// `ok`, or `degraded` while this replica continues alone.
    #[schema(example = "ok")]
    pub state: &'static str,
    /// The time since which it has not worked, as in RFC 3339; `null` while it works.
    pub degraded_since: Option<String>,
    /// The number of requests by operation and outcome.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
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
}

impl Status {
    pub fn of(
        reporter: &Reporter,
        dependencies: Value,
        quota: Value,
        fleet: Option<&Fleet>,
    ) -> Self {
        let (common, samples) = reporter.report(dependencies);
        let requests = samples.sum_by_two("aws_requests_total", "operation", "outcome");
        let shared_cache = fleet.map(|fleet| SharedCache {
            state: fleet.state(),
            degraded_since: fleet.degraded_since(),
            requests: samples.sum_by_two("shared_cache_requests_total", "operation", "outcome"),
        });
        Self { common, aws: Aws { requests, quota }, shared_cache }
    }
}
