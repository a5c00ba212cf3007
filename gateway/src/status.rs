//! What `/status` tells of this service, and of aux-service in the same object.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use shared::{
    problem::Problem,
    status::{self, Reporter},
    telemetry,
};
use utoipa::ToSchema;

/// The figures of main-api, with those of aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    #[serde(flatten)]
    pub common: status::Status,
    /// `closed` (requests flow), `open` (they are refused) or `half_open` (one is let through).
    #[schema(example = "closed")]
    pub circuit_breaker: String,
    pub upstream: Upstream,
    /// What `/status` of aux-service says, `null` when it does not answer.
    #[schema(value_type = Option<Object>)]
    pub aux_service: Option<Value>,
    /// Why it does not, by the member that is `null`.
    pub errors: BTreeMap<String, Problem>,
}

/// Attempts to ask aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Upstream {
    /// By outcome; the ones that the circuit breaker refused are among them.
    pub requests: BTreeMap<String, u64>,
    /// Retries by outcome.
    pub retries: BTreeMap<String, u64>,
}

impl Status {
    pub fn of(
        reporter: &Reporter,
        dependencies: Value,
        aux_service: Result<Value, Problem>,
    ) -> Self {
        let (common, figures) = reporter.report(dependencies);
        let states = figures.by("circuit_breaker_state", "state");
        let current = states.into_iter().find_map(|(state, on)| (on == 1).then_some(state));
        let (aux_service, problem) = match aux_service {
            Ok(status) => (Some(status), None),
            Err(problem) => {
                (None, Some(Problem { request_id: telemetry::request_id(), ..problem }))
            }
        };
        Self {
            common,
            circuit_breaker: current.unwrap_or_else(|| "closed".to_owned()),
            upstream: Upstream {
                requests: figures.by("upstream_requests_total", "outcome"),
                retries: figures.by("upstream_retries_total", "outcome"),
            },
            aux_service,
            errors: problem.into_iter().map(|p| ("aux_service".to_owned(), p)).collect(),
        }
    }
}
