//! The response of `/status`, which includes the status of aux-service.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use service::{
    contract::{
        problem::Problem,
        status::{self, Reporter},
    },
    observe::context,
};
use utoipa::ToSchema;

/// The status of main-api and of aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    #[serde(flatten)]
    pub common: status::Status,
    /// The state of the circuit: `closed` (calls flow), `open` (calls are refused) or `half_open`
    /// (one probe may pass).
    #[schema(example = "closed")]
    pub circuit_breaker: String,
    pub upstream: Upstream,
    /// The response of aux-service's `/status`; `null` if aux-service does not respond.
    #[schema(value_type = Option<Object>)]
    pub aux_service: Option<Value>,
    /// The problem behind each member that is `null`, by the member's name.
    pub errors: BTreeMap<String, Problem>,
}

/// The attempts of calls to aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Upstream {
    /// The number of attempts by outcome, including those that the circuit breaker refused.
    pub requests: BTreeMap<String, u64>,
    /// The number of retries by outcome.
    pub retries: BTreeMap<String, u64>,
}

impl Status {
    pub fn of(
        reporter: &Reporter,
        dependencies: Value,
        aux_service: Result<Value, Problem>,
    ) -> Self {
        let (common, samples) = reporter.report(dependencies);
        let states = samples.sum_by("circuit_breaker_state", "state");
        let current = states.into_iter().find_map(|(state, on)| (on == 1).then_some(state));
        let (aux_service, problem) = match aux_service {
            Ok(status) => (Some(status), None),
            Err(problem) => (None, Some(Problem { request_id: context::request_id(), ..problem })),
        };
        Self {
            common,
            circuit_breaker: current.unwrap_or_else(|| "closed".to_owned()),
            upstream: Upstream {
                requests: samples.sum_by("upstream_requests_total", "outcome"),
                retries: samples.sum_by("upstream_retries_total", "outcome"),
            },
            aux_service,
            errors: problem.into_iter().map(|p| ("aux_service".to_owned(), p)).collect(),
        }
    }
}
