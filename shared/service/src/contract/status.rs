//! The content of `/status`: the main samples of `/metrics` as one JSON object.
//!
//! The samples are parsed from the exposition itself, so `/status` and the dashboards cannot
//! disagree, and no request is counted twice.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    contract::routes::{RouteId, is_work},
    observe::metrics::{Exporter, WAITING_REQUESTS},
};

/// Builds `/status`. Its fields do not change while the process runs.
pub struct Reporter {
    service: &'static str,
    version: String,
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
    #[schema(example = "0.1.0")]
    pub version: String,
    pub uptime_seconds: u64,
    pub requests: Requests,
    pub waiting: Waiting,
    pub cache: CacheStatus,
    /// The dependencies of the service and their recent state, as in `/readyz`.
    #[schema(value_type = Object)]
    pub dependencies: Value,
}

/// Requests to the API and to unknown paths. Requests to pages, probes, `/status` and `/metrics`
/// are not counted.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Requests {
    pub total: u64,
    /// Requests with a 5xx response.
    pub failed: u64,
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

/// The cache outcomes that needed no upstream call of their own.
const WITHOUT_OWN_CALL: [&str; 5] = ["hit", "stale", "stale_error", "coalesced", "negative"];

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
            started: Instant::now(),
            cache_max_bytes,
            exporter: exporter.clone(),
        }
    }

    /// Builds the part of `/status` that both services share, and returns the samples for the rest.
    pub fn report(&self, dependencies: Value) -> (Status, MetricSamples) {
        let samples = MetricSamples::read(&self.exporter.render().1);
        let status = Status {
            service: self.service.to_owned(),
            version: self.version.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            requests: samples.requests(),
            waiting: samples.waiting(),
            cache: samples.cache(self.cache_max_bytes),
            dependencies,
        };
        (status, samples)
    }
}

/// The samples of an exposition.
pub struct MetricSamples(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl MetricSamples {
    fn read(exposition: &str) -> Self {
        let lines = exposition.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(Sample::read).collect())
    }

    /// Sums a metric by the values of one of its labels.
    pub fn sum_by(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for sample in self.named(name) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_default() += sample.count();
            }
        }
        sums
    }

    /// Sums a metric by the values of two of its labels, grouped by the first.
    pub fn sum_by_two(
        &self,
        name: &str,
        outer: &str,
        inner: &str,
    ) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut sums: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for sample in self.named(name) {
            if let (Some(o), Some(i)) = (sample.labels.get(outer), sample.labels.get(inner)) {
                *sums.entry(o.clone()).or_default().entry(i.clone()).or_default() += sample.count();
            }
        }
        sums
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    fn requests(&self) -> Requests {
        let mut requests = Requests::default();
        let work =
            |sample: &&Sample| sample.labels.get("endpoint").is_none_or(|label| is_work(label));
        for sample in self.named("axum_http_requests_total").filter(work) {
            let status = sample.labels.get("status").map_or("", String::as_str);
            requests.total += sample.count();
            requests.failed += if status.starts_with('5') { sample.count() } else { 0 };
            requests.abandoned += if status == "499" { sample.count() } else { 0 };
        }
        // A stream's response begins at once, so its duration would hide the latency of the others.
        let timed = |sample: &&Sample| {
            work(sample)
                && sample
                    .labels
                    .get("endpoint")
                    .is_none_or(|label| label != RouteId::Changes.label())
        };
        for sample in self.named("axum_http_requests_duration_seconds_bucket").filter(timed) {
            if let Some(bound) = sample.labels.get("le") {
                *requests.duration_seconds.entry(bound.clone()).or_default() += sample.count();
            }
        }
        requests
    }

    fn waiting(&self) -> Waiting {
        let by_kind = self.sum_by(WAITING_REQUESTS, "kind");
        let of = |kind| by_kind.get(kind).copied().unwrap_or_default();
        Waiting { wait: of("wait"), stream: of("stream") }
    }

    fn cache(&self, max_bytes: u64) -> CacheStatus {
        let requests = self.sum_by("cache_requests_total", "outcome");
        let total: u64 = requests.values().sum();
        let served: u64 =
            WITHOUT_OWN_CALL.iter().filter_map(|outcome| requests.get(*outcome)).sum();
        let sum = |name| self.named(name).map(Sample::count).sum();
        CacheStatus {
            hit_ratio: (total > 0).then(|| served as f64 / total as f64),
            entries: sum("cache_entries"),
            bytes: sum("cache_bytes"),
            max_bytes,
            requests,
        }
    }
}

impl Sample {
    /// Parses `name{label="value",…} number`. Our labels contain no quotes, so escapes are not
    /// handled.
    fn read(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?.split("\",").filter_map(|pair| {
            let (label, value) = pair.split_once("=\"")?;
            Some((label.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        Some(Self { name: name.to_owned(), labels: labels.collect(), value: value.parse().ok()? })
    }

    fn count(&self) -> u64 {
        self.value as u64
    }
}

/// Returns the example of `/status` for the OpenAPI document.
pub fn example(service: &str, dependencies: &Value) -> Status {
    let buckets = [("0.001", 940), ("0.025", 960), ("0.1", 998), ("+Inf", 1000)];
    Status {
        service: service.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: 3600,
        requests: Requests {
            total: 1000,
            failed: 2,
            abandoned: 1,
            duration_seconds: buckets.map(|(bound, count)| (bound.to_owned(), count)).into(),
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
        dependencies: dependencies.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPOSITION: &str = r#"# TYPE axum_http_requests_total counter
axum_http_requests_total{method="GET",status="200",endpoint="/param/{name}"} 7
axum_http_requests_total{method="GET",status="504",endpoint="/param/{name}"} 2
axum_http_requests_total{method="GET",status="499",endpoint="/buckets"} 1
axum_http_requests_total{method="GET",status="200",endpoint="/status"} 90
axum_http_requests_total{method="GET",status="503",endpoint="/changes"} 1
axum_http_requests_total{method="GET",status="200",endpoint="wait"} 50

axum_http_requests_duration_seconds_bucket{method="GET",status="200",endpoint="/param/{name}",le="0.1"} 6
axum_http_requests_duration_seconds_bucket{method="GET",status="200",endpoint="/param/{name}",le="+Inf"} 7
axum_http_requests_duration_seconds_bucket{method="GET",status="504",endpoint="/param/{name}",le="+Inf"} 2
axum_http_requests_duration_seconds_bucket{method="GET",status="503",endpoint="/changes",le="0.1"} 1
axum_http_requests_duration_seconds_bucket{method="GET",status="200",endpoint="wait",le="+Inf"} 50
cache_requests_total{cache="aux",outcome="hit"} 6
cache_requests_total{cache="aux",outcome="coalesced"} 3
cache_requests_total{cache="aux",outcome="miss"} 1
cache_entries{cache="aux"} 4
waiting_requests{kind="wait"} 12
waiting_requests{kind="stream"} 3
process_cpu_seconds_total 0.25
"#;

    #[test]
    fn requests_are_added_up_over_routes_without_those_about_the_service_itself_and_waits() {
        let requests = MetricSamples::read(EXPOSITION).requests();
        assert_eq!((requests.total, requests.failed, requests.abandoned), (11, 3, 1));
        assert_eq!(requests.duration_seconds["0.1"], 6);
        assert_eq!(requests.duration_seconds["+Inf"], 9);
    }

    #[test]
    fn waiting_requests_are_counted_by_kind() {
        let waiting = |exposition| MetricSamples::read(exposition).waiting();
        assert_eq!(waiting(EXPOSITION), Waiting { wait: 12, stream: 3 });
        assert_eq!(waiting(""), Waiting::default());
    }

    #[test]
    fn the_hit_ratio_counts_every_response_from_the_cache() {
        let samples = MetricSamples::read(EXPOSITION);
        let cache = samples.cache(1 << 20);
        assert_eq!(cache.hit_ratio, Some(0.9));
        assert_eq!((cache.entries, cache.requests["miss"]), (4, 1));
        assert_eq!(MetricSamples::read("").cache(0).hit_ratio, None);
    }
}
