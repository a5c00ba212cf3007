//! The content of `/status`: the main samples of `/metrics` as one JSON object.
//!
//! The samples are parsed from the exposition itself, so `/status` and the dashboards cannot
//! disagree, and no request is counted twice.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::observe::metrics::Exporter;

mod samples;
mod history;

pub use self::{
    history::{
        History, QUERY as HISTORY_QUERY, as_json as sample_as_json, is_wanted as wants_history,
    },
    samples::MetricSamples,
};

/// Builds `/status`. Its fields do not change while the process runs.
pub struct Reporter {
    service: &'static str,
    version: String,
    /// A random name of this process.
    instance: String,
    started: Instant,
    cache_max_bytes: u64,
    exporter: Exporter,
}

/// The status of a service. Counts begin at the start of the process.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ServiceStatus)]
pub struct Status {
    #[schema(example = "aux-service")]
    pub service: String,
    #[schema(example = "0.2.0")]
    pub version: String,
    /// A random name of the process. Counts of two processes must not be compared.
    #[schema(example = "5b0f3c9a")]
    pub instance: String,
    pub uptime_seconds: u64,
    #[serde(flatten)]
    pub counts: Counts,
    /// The dependencies of the service and their recent state, as in `/readyz`.
    #[schema(value_type = Object)]
    pub dependencies: Value,
}

/// The counts of a service at one time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ServiceCounts)]
pub struct Counts {
    /// The time of the counts, as in RFC 3339.
    #[schema(example = "2026-11-25T12:00:00.000Z")]
    pub taken_at: String,
    pub requests: Requests,
    pub waiting: Waiting,
    pub cache: CacheStatus,
}

/// Requests to the API and to unknown paths. Requests to pages, probes, `/status` and `/metrics`
/// are not counted.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Requests {
    pub total: u64,
    /// Requests with a 5xx response.
    pub failed: u64,
    /// Requests with a 4xx response, without the abandoned ones.
    pub client_errors: u64,
    /// Requests without a response, because the client disconnected.
    pub abandoned: u64,
    /// Requests by duration in seconds, without streams of changes: the cumulative buckets of a
    /// Prometheus histogram.
    pub duration_seconds: BTreeMap<String, u64>,
}

/// The requests that wait for changes at this moment. The members are the kinds of the metric
/// `waiting_requests`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Waiting {
    /// Requests with `Prefer: wait`.
    pub wait: u64,
    /// Streams of `/changes`.
    pub stream: u64,
}

/// The state of the cache. The members have the names of its metrics.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct CacheStatus {
    /// The fraction of requests that needed no upstream call of their own. It is `null` before the
    /// first request.
    pub hit_ratio: Option<f64>,
    pub entries: u64,
    pub bytes: u64,
    /// Upper bound in bytes; 0 when the cache is off.
    pub max_bytes: u64,
    /// Requests by outcome.
    #[schema(example = json!({ "hit": 940, "stale": 12, "coalesced": 8, "miss": 40 }))]
    pub requests: BTreeMap<String, u64>,
}

impl Reporter {
    /// `cache_max_bytes` is the upper bound of the cache, 0 when the cache is off.
    pub fn new(
        service: &'static str,
        version: &str,
        cache_max_bytes: u64,
        exporter: &Exporter,
    ) -> Self {
        Self {
            service,
            version: version.to_owned(),
            instance: format!("{:08x}", fastrand::u32(..)),
            started: Instant::now(),
            cache_max_bytes,
            exporter: exporter.clone(),
        }
    }

    /// Builds the part of `/status` that both services share, and returns the samples for the rest.
    pub fn report(&self, dependencies: Value) -> (Status, MetricSamples) {
        let (counts, samples) = self.counts();
        let status = Status {
            service: self.service.to_owned(),
            version: self.version.clone(),
            instance: self.instance.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            counts,
            dependencies,
        };
        (status, samples)
    }

    /// Returns the counts that both services have, and the samples for the rest.
    pub fn counts(&self) -> (Counts, MetricSamples) {
        let samples = MetricSamples::read(&self.exporter.render().1);
        let counts = Counts {
            taken_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            requests: samples.requests(),
            waiting: samples.waiting(),
            cache: samples.cache(self.cache_max_bytes),
        };
        (counts, samples)
    }
}

/// Returns the example of `/status` for the OpenAPI document.
pub fn example(service: &str, dependencies: &Value) -> Status {
    Status {
        service: service.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: "5b0f3c9a".to_owned(),
        uptime_seconds: 3600,
        counts: example_counts(),
        dependencies: dependencies.clone(),
    }
}

/// Returns an example of the counts that both services have.
pub fn example_counts() -> Counts {
    Counts {
        taken_at: "2026-11-25T12:00:00.000Z".to_owned(),
        requests: Requests {
            total: 1000,
            failed: 2,
            client_errors: 12,
            abandoned: 1,
            duration_seconds: example_buckets(),
        },
        waiting: Waiting { wait: 12, stream: 3 },
        cache: CacheStatus {
            hit_ratio: Some(0.96),
            entries: 41,
            bytes: 27_340,
            max_bytes: 64 << 20,
            requests: [("hit", 940), ("stale", 12), ("coalesced", 8), ("miss", 40)]
                .map(|(outcome, count)| (outcome.to_owned(), count))
                .into(),
        },
    }
}

/// Returns an example of the buckets of durations.
pub fn example_buckets() -> BTreeMap<String, u64> {
    [("0.001", 940), ("0.025", 960), ("0.1", 998), ("+Inf", 1000)]
        .map(|(bound, count)| (bound.to_owned(), count))
        .into()
}
