//! What both services export, and how: axum-prometheus for requests, the `metrics` facade for the rest.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::http::{HeaderName, Method, header};
use axum_prometheus::{EndpointLabel, PrometheusMetricLayerBuilder, utils};
use metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

pub use axum_prometheus::PrometheusMetricLayer;

use crate::cache;

mod histogram;

use histogram::{Histograms, Recorder};

/// Seconds. The first ones tell a cached answer from a slow one, the last ones reach past every default deadline.
const BUCKETS: [f64; 17] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Requests that were refused because there were `MAX_IN_FLIGHT` already.
pub const REQUESTS_SHED: &str = "requests_shed_total";
const BUILD_INFO: &str = "build_info";

/// Of the sources that this was built from.
pub const REVISION: &str = match option_env!("GIT_SHA") {
    Some(revision) => revision,
    None => "unknown",
};

/// The label `endpoint` of a path that no route has.
const UNMATCHED: &str = "unmatched";

/// The template of a request's route, as metrics, logs and traces name it. Never the path: one
/// scanner would fill Prometheus.
pub fn endpoint(route: Option<&str>) -> String {
    named(route.unwrap_or(UNMATCHED))
}

/// axum marks a parameter that may hold slashes with a star, and nobody else does.
fn named(text: &str) -> String {
    text.replace("{*", "{")
}

/// Counts a request whose client left before the answer, as nginx does: with the status 499.
/// The layer of axum-prometheus counts answers, and there is none.
pub fn count_abandoned(method: &Method, route: Option<&str>, elapsed: Duration) {
    // The labels that the layer gives, the one of methods that HTTP does not know included.
    let known = matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::OPTIONS
            | Method::TRACE
            | Method::CONNECT
            | Method::PATCH
    );
    let method = if known { method.as_str() } else { "" };
    Answered::new(method, "499", route.unwrap_or(UNMATCHED)).count(elapsed);
}

/// What the layer counts for an answer: for those that do not come by it.
pub(crate) struct Answered {
    requests: Counter,
    duration: Histogram,
}

impl Answered {
    /// `endpoint` is the template as the router has it, or there would be two series of one name.
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

/// The gauge of requests under way, as the layer has it: for those that do not come by it.
pub(crate) fn pending(method: &str, endpoint: &str) -> Gauge {
    let labels = [("method", method.to_owned()), ("endpoint", endpoint.to_owned())];
    metrics::gauge!(utils::requests_pending_name(), &labels)
}

/// How often figures that change without an event are brought up to date when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The exporter of this process.
#[derive(Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    histograms: Arc<Histograms>,
    process: metrics_process::Collector,
    refreshers: Arc<Mutex<Vec<Refresher>>>,
}

type Refresher = Box<dyn Fn() + Send + Sync>;

/// The `metrics` facade has one recorder a process; tests start many services in one.
static EXPORTER: Mutex<Option<Exporter>> = Mutex::new(None);

impl Exporter {
    /// Installs the recorder, or returns the one that is installed.
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
        metrics::describe_counter!(REQUESTS_SHED, "Requests refused because too many were open");
        metrics::counter!(REQUESTS_SHED).absolute(0);
        metrics::describe_gauge!(BUILD_INFO, "Always 1; the labels say what is running");
        metrics::gauge!(BUILD_INFO, "service" => service, "version" => version.to_owned(), "revision" => REVISION).set(1.0);
        Ok(exporter)
    }

    /// Must run for as long as the process.
    pub async fn upkeep(self) {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            self.refresh();
        }
    }

    /// Brings figures up to date that change without an event, as time passes: before each scrape,
    /// and every few seconds when nobody scrapes. It must not block.
    pub fn before_scrape(&self, refresher: impl Fn() + Send + Sync + 'static) {
        self.refreshers.lock().push(Box::new(refresher));
    }

    fn refresh(&self) {
        self.refreshers.lock().iter().for_each(|refresher| refresher());
    }

    /// The Prometheus text exposition, version 0.0.4.
    pub fn render(&self) -> ([(HeaderName, &'static str); 1], String) {
        self.process.collect();
        self.refresh();
        // A gauge to the facade, since its counters have no fractions; to Prometheus what it is.
        let mut text = self.handle.render().replacen(
            "# TYPE process_cpu_seconds_total gauge",
            "# TYPE process_cpu_seconds_total counter",
            1,
        );
        self.histograms.render(&mut text);
        // Renamed here and not in the layer, which would pay for it with each request.
        let text = named(&text);
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
    }

    /// The layer that counts answers. A path that no route has gives no label, or one scanner
    /// would fill Prometheus.
    pub fn layer(&self) -> PrometheusMetricLayer<'static> {
        let handle = self.handle.clone();
        let unmatched: for<'a> fn(&'a str) -> String = |_| UNMATCHED.to_owned();
        let (layer, _) = PrometheusMetricLayerBuilder::new()
            .with_endpoint_label_type(EndpointLabel::MatchedPathWithFallbackFn(unmatched))
            .with_metrics_from_fn(|| handle)
            .build_pair();
        layer
    }
}

/// The upper bounds of a histogram's buckets.
fn buckets(name: &str) -> &'static [f64] {
    if name == cache::SERVED_AGE { &cache::SERVED_AGE_BUCKETS } else { &BUCKETS }
}
