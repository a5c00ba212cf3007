//! The response of `/status`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use service::contract::status::{self, Reporter};
use utoipa::ToSchema;

/// The status of aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    #[serde(flatten)]
    pub common: status::Status,
    pub aws: Aws,
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
    pub fn of(reporter: &Reporter, dependencies: Value, quota: Value) -> Self {
        let (common, samples) = reporter.report(dependencies);
        let requests = samples.sum_by_two("aws_requests_total", "operation", "outcome");
        Self { common, aws: Aws { requests, quota } }
    }
}
