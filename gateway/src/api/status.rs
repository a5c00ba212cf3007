//! The response of `/status`, which includes the status of aux-service.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, value::RawValue};
use service::{
    contract::{
        problem::Problem,
        routes::is_work,
        status::{self, Counts, MetricSamples, Reporter},
    },
    observe::context,
};
use utoipa::ToSchema;

use crate::upstream::{Upstream, circuit_history::Opening};

/// The status of main-api and of aux-service.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    #[serde(flatten)]
    pub common: status::Status,
    /// The state of the circuit that is furthest from closed: `closed` (calls flow), `half_open`
    /// (one probe may pass) or `open` (calls are refused).
    #[schema(example = "closed")]
    pub circuit_breaker: String,
    /// The state of each route's circuit, by the label of the route.
    #[schema(example = json!({ "/buckets": "closed", "/param/{name}": "closed" }))]
    pub circuits: BTreeMap<String, String>,
    /// The latest openings of the circuits, oldest first.
    pub circuit_openings: Vec<Opening>,
    pub upstream: Attempts,
    /// The counts of the last 15 minutes, oldest first: one sample every 15 seconds. Only with
    /// `?history=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Sample>>)]
    pub history: Option<Vec<Box<RawValue>>>,
    /// The response of aux-service's `/status`; `null` if aux-service does not respond.
    #[schema(value_type = Option<Object>)]
    pub aux_service: Option<Value>,
    /// The problem behind each member that is `null`, by the member's name.
    pub errors: BTreeMap<String, Problem>,
}

/// The counts of main-api at one time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StatusSample)]
pub struct Sample {
    #[serde(flatten)]
    pub counts: Counts,
    pub upstream: Attempts,
}

/// The attempts of calls to aux-service, without those of `/status`, which no client's work needs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Attempts {
    /// The number of attempts by outcome, including those that the circuit breaker refused.
    pub requests: BTreeMap<String, u64>,
    /// The number of retries by outcome.
    pub retries: BTreeMap<String, u64>,
    /// Attempts by duration in seconds: the cumulative buckets of a Prometheus histogram.
    pub duration_seconds: BTreeMap<String, u64>,
}

impl Sample {
    /// Takes a sample now.
    pub fn take(reporter: &Reporter) -> Self {
        let (counts, samples) = reporter.counts();
        Self { counts, upstream: Attempts::of(&samples) }
    }
}

impl Attempts {
    fn of(samples: &MetricSamples) -> Self {
        Self {
            requests: samples.sum_by_where("upstream_requests_total", "outcome", "route", is_work),
            retries: samples.sum_by_where("upstream_retries_total", "outcome", "route", is_work),
            duration_seconds: samples.buckets(
                "upstream_request_duration_seconds",
                "route",
                is_work,
            ),
        }
    }
}

impl Status {
    pub fn of(
        reporter: &Reporter,
        upstream: &Upstream,
        history: Option<Vec<Box<RawValue>>>,
        aux_service: Result<Value, Problem>,
    ) -> Self {
        let (common, samples) = reporter.report(upstream.health());
        let (aux_service, problem) = match aux_service {
            Ok(status) => (Some(status), None),
            Err(problem) => (None, Some(Problem { request_id: context::request_id(), ..problem })),
        };
        Self {
            common,
            circuit_breaker: upstream.worst_circuit_state().to_owned(),
            circuits: upstream
                .circuit_states()
                .into_iter()
                .map(|(route, state)| (route.to_owned(), state.to_owned()))
                .collect(),
            circuit_openings: upstream.openings(),
            upstream: Attempts::of(&samples),
            history,
            aux_service,
            errors: problem.into_iter().map(|p| ("aux_service".to_owned(), p)).collect(),
        }
    }
}
