//! The metrics that both services export: axum-prometheus for requests, the `metrics` facade for
//! the rest.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use axum::http::{HeaderName, Method, header};
use axum_prometheus::{EndpointLabel, PrometheusMetricLayerBuilder, utils};
use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

pub use axum_prometheus::PrometheusMetricLayer;

pub use super::histogram::CHANGE_DELAY;
use super::histogram::{Histograms, Recorder};

/// Requests that were rejected because `MAX_IN_FLIGHT` requests were already in progress.
pub const REQUESTS_SHED: &str = "requests_shed_total";
const BUILD_INFO: &str = "build_info";

/// The Git revision of this build.
pub const REVISION: &str = match option_env!("GIT_SHA") {
    Some(revision) => revision,
    None => "unknown",
};

/// Open connections from clients.
pub(crate) const CONNECTIONS_OPEN: &str = "http_connections_open";

/// Requests that wait for a change, and open streams of changes.
pub(crate) const WAITING_REQUESTS: &str = "waiting_requests";

/// Counts a request whose client disconnected before the response. The status is 499, as in nginx.
/// axum-prometheus counts only responses, so it misses these requests.
pub(crate) fn count_abandoned(method: &str, endpoint: &str, elapsed: Duration) {
    RequestSeries::new(method, "499", endpoint).count(elapsed);
}

/// Returns the label `method` as axum-prometheus writes it. It is empty for a method that HTTP does
/// not define.
pub(crate) fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or_default()
}

/// Sets a gauge to the time since which something has not worked; 0 while it works.
pub fn record_degraded_since(gauge: &'static str, since: Option<SystemTime>) {
    let since_epoch = since.and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok());
    metrics::gauge!(gauge).set(since_epoch.map_or(0.0, |since| since.as_secs_f64()));
}

/// The axum-prometheus series for one kind of response.
pub(crate) struct RequestSeries {
    requests: Counter,
    duration: Histogram,
}

impl RequestSeries {
    pub(crate) fn new(method: &str, status: &str, endpoint: &str) -> Self {
        let labels = [
            ("method", method.to_owned()),
            ("status", status.to_owned()),
            ("endpoint", endpoint.to_owned()),
        ];
        Self {
            requests: metrics::counter!(utils::requests_total_name(), &labels),
            duration: metrics::histogram!(utils::requests_duration_name(), &labels),
        }
    }

    pub(crate) fn count(&self, elapsed: Duration) {
        self.requests.increment(1);
        self.duration.record(elapsed);
    }
}

/// Returns the axum-prometheus gauge of requests in progress.
pub(crate) fn pending(method: &str, endpoint: &str) -> Gauge {
    let labels = [("method", method.to_owned()), ("endpoint", endpoint.to_owned())];
    metrics::gauge!(utils::requests_pending_name(), &labels)
}

/// Interval between updates of metrics that change without an event, in addition to those at each
/// scrape.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics exporter of this process.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    histograms: Arc<Histograms>,
    process: metrics_process::Collector,
    refreshers: Arc<Mutex<Vec<Refresher>>>,
}

type Refresher = Box<dyn Fn() + Send + Sync>;

/// The installed exporter. The `metrics` facade has one recorder per process, and tests start many
/// services in one process.
static EXPORTER: Mutex<Option<Exporter>> = Mutex::new(None);

impl Exporter {
    /// Installs the recorder, or returns the installed one.
    pub fn install(service: &'static str, version: &str) -> anyhow::Result<Self> {
        let mut installed = EXPORTER.lock();
        if let Some(exporter) = installed.as_ref() {
            return Ok(exporter.clone());
        }
        let process = metrics_process::Collector::default();
        let others = PrometheusBuilder::new().build_recorder();
        let exporter = Self {
            handle: others.handle(),
            histograms: Arc::default(),
            process: process.clone(),
            refreshers: Arc::default(),
        };
        let recorder = Recorder { others, histograms: Arc::clone(&exporter.histograms) };
        metrics::set_global_recorder(recorder).context("another metrics recorder is installed")?;
        *installed = Some(exporter.clone());
        process.describe();
        metrics::describe_counter!(
            REQUESTS_SHED,
            "Requests refused because too many were in progress"
        );
        metrics::counter!(REQUESTS_SHED).absolute(0);
        metrics::describe_gauge!(CONNECTIONS_OPEN, "Connections of clients that are open");
        metrics::describe_gauge!(
            WAITING_REQUESTS,
            "Requests that wait for a change, and open streams of changes"
        );
        metrics::describe_gauge!(BUILD_INFO, "Always 1; the labels say what is running");
        metrics::gauge!(BUILD_INFO, "service" => service, "version" => version.to_owned(), "revision" => REVISION).set(1.0);
        Ok(exporter)
    }

    /// Updates metrics that change without an event. It must run as long as the process.
    pub async fn upkeep(self) {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            self.refresh();
        }
    }

    /// Registers a function that updates metrics that change without an event. It runs before each
    /// scrape and every few seconds, and it must not block.
    pub fn before_scrape(&self, refresher: impl Fn() + Send + Sync + 'static) {
        self.refreshers.lock().push(Box::new(refresher));
    }

    fn refresh(&self) {
        self.refreshers.lock().iter().for_each(|refresher| refresher());
    }

    /// Renders the Prometheus text exposition, version 0.0.4.
    pub fn render(&self) -> ([(HeaderName, &'static str); 1], String) {
        self.process.collect();
        self.refresh();
        // The facade's counters have no fractions, so this counter is registered as a gauge.
        // Prometheus must see it as a counter.
        let mut text = self.handle.render().replacen(
            "# TYPE process_cpu_seconds_total gauge",
            "# TYPE process_cpu_seconds_total counter",
            1,
        );
        self.histograms.render(&mut text);
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
    }

    /// Returns the layer that counts responses. `endpoint` returns the label of a path.
    pub(crate) fn layer(&self, endpoint: fn(&str) -> String) -> PrometheusMetricLayer<'static> {
        let handle = self.handle.clone();
        let (layer, _) = PrometheusMetricLayerBuilder::new()
            .with_endpoint_label_type(EndpointLabel::MatchedPathWithFallbackFn(endpoint))
            .with_metrics_from_fn(|| handle)
            .build_pair();
        layer
    }
}
