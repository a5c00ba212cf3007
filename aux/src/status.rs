//! What `/status` tells of this service.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use shared::status::{self, Reporter};
use utoipa::ToSchema;

/// The figures of aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    #[serde(flatten)]
    pub common: status::Status,
    pub aws: Aws,
}

/// Calls to AWS.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Aws {
    /// By operation and outcome.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// By group of operations: what is left of the quota of calls. `null` where there is none.
    #[schema(value_type = Option<Object>)]
    pub quota: Value,
}

impl Status {
    pub fn of(reporter: &Reporter, dependencies: Value, quota: Value) -> Self {
        let (common, figures) = reporter.report(dependencies);
        let requests = figures.by_two("aws_requests_total", "operation", "outcome");
        Self { common, aws: Aws { requests, quota } }
    }
}
