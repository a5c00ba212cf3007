//! The samples of an exposition, summed for `/status`.

use std::collections::BTreeMap;

use super::{CacheStatus, Requests, Waiting};
use crate::{
    contract::routes::{RouteId, is_work},
    observe::metrics::WAITING_REQUESTS,
};

/// The cache outcomes that needed no upstream call of their own.
const WITHOUT_OWN_CALL: [&str; 5] = ["hit", "stale", "stale_error", "coalesced", "negative"];

/// The samples of an exposition.
pub struct MetricSamples(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl MetricSamples {
    pub(super) fn read(exposition: &str) -> Self {
        let lines = exposition.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(Sample::read).collect())
    }

    /// Sums a metric by the values of one of its labels.
    pub(super) fn sum_by(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        sum_by(self.named(name), label)
    }

    /// Sums a metric by the values of the label `by`: the series whose label `label` has a value that
    /// `counts` accepts.
    pub fn sum_by_where(
        &self,
        name: &str,
        by: &str,
        label: &str,
        counts: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, u64> {
        let is_counted = |sample: &&Sample| sample.labels.get(label).is_some_and(|it| counts(it));
        sum_by(self.named(name).filter(is_counted), by)
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

    /// Returns the cumulative buckets of a histogram by their upper bound, like
    /// [`sum_by_where`](Self::sum_by_where).
    pub fn buckets(
        &self,
        histogram: &str,
        label: &str,
        counts: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, u64> {
        self.sum_by_where(&format!("{histogram}_bucket"), "le", label, counts)
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    pub(super) fn requests(&self) -> Requests {
        let mut requests = Requests::default();
        let work =
            |sample: &&Sample| sample.labels.get("endpoint").is_none_or(|label| is_work(label));
        for sample in self.named("axum_http_requests_total").filter(work) {
            let status = sample.labels.get("status").map_or("", String::as_str);
            requests.total += sample.count();
            requests.failed += if status.starts_with('5') { sample.count() } else { 0 };
            if status == "499" {
                requests.abandoned += sample.count();
            } else if status.starts_with('4') {
                requests.client_errors += sample.count();
            }
        }
        // A stream's response begins at once, so its duration would hide the latency of the others.
        let is_timed = |endpoint: &str| is_work(endpoint) && endpoint != RouteId::Changes.label();
        requests.duration_seconds =
            self.buckets("axum_http_requests_duration_seconds", "endpoint", is_timed);
        requests
    }

    pub(super) fn waiting(&self) -> Waiting {
        let by_kind = self.sum_by(WAITING_REQUESTS, "kind");
        let of = |kind| by_kind.get(kind).copied().unwrap_or_default();
        Waiting { wait: of("wait"), stream: of("stream") }
    }

    pub(super) fn cache(&self, max_bytes: u64) -> CacheStatus {
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

fn sum_by<'a>(samples: impl Iterator<Item = &'a Sample>, label: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for sample in samples {
        if let Some(value) = sample.labels.get(label) {
            *sums.entry(value.clone()).or_default() += sample.count();
        }
    }
    sums
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

#[cfg(test)]
mod tests {
    use super::*;

    const EXPOSITION: &str = r#"# TYPE axum_http_requests_total counter
axum_http_requests_total{method="GET",status="200",endpoint="/param/{name}"} 7
axum_http_requests_total{method="GET",status="504",endpoint="/param/{name}"} 2
axum_http_requests_total{method="GET",status="499",endpoint="/buckets"} 1
axum_http_requests_total{method="GET",status="200",endpoint="/status"} 90
axum_http_requests_total{method="GET",status="503",endpoint="/changes"} 1
axum_http_requests_total{method="GET",status="404",endpoint="/param/{name}"} 4
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
        assert_eq!((requests.total, requests.failed, requests.abandoned), (15, 3, 1));
        assert_eq!(requests.client_errors, 4);
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
