//! The metrics that both services export. Dashboards and alerts use these names.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use e2e::{
    change_queue,
    credentials::{Provider, container, in_an_hour, without_credentials},
    engine::Engine,
    exposition::Exposition,
    moto::Aws,
    proxy::Fault,
    stack::Stack,
};
use reqwest::Method;
use tokio::time::{Instant, sleep};

const REQUEST: [&str; 3] = ["endpoint", "method", "status"];

/// The name, the type and the labels of a metric.
pub(crate) type Pinned = (&'static str, &'static str, &'static [&'static str]);

/// The metrics that both services export.
pub(crate) const OF_BOTH: [Pinned; 21] = [
    ("axum_http_requests_duration_seconds", "histogram", &REQUEST),
    ("axum_http_requests_pending", "gauge", &["endpoint", "method"]),
    ("axum_http_requests_total", "counter", &REQUEST),
    ("build_info", "gauge", &["revision", "service", "version"]),
    ("cache_bytes", "gauge", &["cache"]),
    ("cache_entries", "gauge", &["cache"]),
    ("cache_evictions_total", "counter", &["cache", "cause"]),
    ("cache_requests_total", "counter", &["cache", "outcome"]),
    ("cache_served_age_seconds", "histogram", &["cache"]),
    ("changes_total", "counter", &["source"]),
    ("http_connections_open", "gauge", &[]),
    ("process_cpu_seconds_total", "counter", &[]),
    ("process_max_fds", "gauge", &[]),
    ("process_open_fds", "gauge", &[]),
    ("process_resident_memory_bytes", "gauge", &[]),
    ("process_start_time_seconds", "gauge", &[]),
    ("process_threads", "gauge", &[]),
    ("process_virtual_memory_bytes", "gauge", &[]),
    ("process_virtual_memory_max_bytes", "gauge", &[]),
    ("requests_shed_total", "counter", &[]),
    ("waiting_requests", "gauge", &["kind"]),
];

/// The metrics that aux-service always exports.
pub(crate) const OF_AUX: [Pinned; 3] = [
    ("aws_rate_limit", "gauge", &["group", "scope"]),
    ("aws_request_duration_seconds", "histogram", &["operation", "outcome"]),
    ("aws_requests_total", "counter", &["operation", "outcome"]),
];

/// The metric of credentials that expire.
pub(crate) const OF_CREDENTIALS: [Pinned; 1] =
    [("aws_credentials_expiry_timestamp_seconds", "gauge", &[])];

/// The metrics of the shared cache.
pub(crate) const OF_SHARED_CACHE: [Pinned; 3] = [
    ("shared_cache_degraded_since_timestamp_seconds", "gauge", &[]),
    ("shared_cache_request_duration_seconds", "histogram", &["operation", "outcome"]),
    ("shared_cache_requests_total", "counter", &["operation", "outcome"]),
];

/// The metrics of the queue of changes.
pub(crate) const OF_CHANGE_QUEUE: [Pinned; 3] = [
    ("change_delay_seconds", "histogram", &[]),
    ("change_messages_total", "counter", &["outcome"]),
    ("change_queue_degraded_since_timestamp_seconds", "gauge", &[]),
];

/// The metrics that main-api exports.
pub(crate) const OF_MAIN: [Pinned; 8] = [
    ("circuit_breaker_state", "gauge", &["route", "state"]),
    ("circuit_breaker_transitions_total", "counter", &["route", "from", "to"]),
    ("upstream_connection_resets_total", "counter", &[]),
    ("upstream_connections_opened_total", "counter", &[]),
    ("upstream_connections_reused_total", "counter", &[]),
    ("upstream_request_duration_seconds", "histogram", &["outcome", "route"]),
    ("upstream_requests_total", "counter", &["outcome", "route"]),
    ("upstream_retries_total", "counter", &["outcome", "route"]),
];

/// The values that each label may have; those of `endpoint` are below.
const VALUES: [(&str, &[&str]); 18] = [
    ("cache", &["answers", "variants"]),
    ("cause", &["expired", "invalidated", "size"]),
    ("from", &["closed", "half_open", "open"]),
    ("group", &["reads", "parameter_lists", "bucket_lists"]),
    ("kind", &["stream", "wait"]),
    (
        "method",
        &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", ""],
    ),
    (
        "operation",
        &[
            "DescribeParameters",
            "GetParameter",
            "GetParameters",
            "GetParametersByPath",
            "ListBuckets",
        ],
    ),
    (
        "outcome",
        &[
            // Outcomes of cache lookups.
            "hit",
            "stale",
            "stale_error",
            "coalesced",
            "miss",
            "negative",
            "bypass",
            "error",
            // Outcomes of calls to AWS.
            "ok",
            "not_found",
            "denied",
            "throttled",
            "shielded",
            "timeout",
            "credentials",
            // Outcomes of attempts to call aux-service.
            "circuit_open",
            "unreachable",
            "invalid",
            "client_error",
            "server_error",
            "abandoned",
            // Outcomes of retries.
            "success",
            "failure",
            "budget_exhausted",
        ],
    ),
    ("revision", &["unknown"]),
    (
        "route",
        &[
            "/buckets",
            "/params",
            "/param/{name}",
            "/parameter/{name}",
            "/values/{path}",
            "/status",
            "AmazonSSM.GetParameter",
            "AmazonSSM.GetParameters",
            "AmazonSSM.GetParametersByPath",
            "AmazonSSM.DescribeParameters",
        ],
    ),
    ("scope", &["replica", "fleet"]),
    ("service", &["aux-service", "main-api"]),
    ("source", &["queue", "refresh", "fleet"]),
    ("state", &["closed", "half_open", "open"]),
    ("status", &["200", "304", "400", "401", "403", "404", "405", "499", "502", "503", "504"]),
    ("to", &["closed", "half_open", "open"]),
    ("version", &["aux-1", "main-1"]),
    (
        "endpoint",
        &[
            "/",
            "/buckets",
            "/changes",
            "/params",
            "/param/{name}",
            "/values/{path}",
            "/inventory",
            "/status",
            "/docs",
            "/openapi.json",
            "AmazonSSM.GetParameter",
            "AmazonSSM.GetParameters",
            "AmazonSSM.GetParametersByPath",
            "AmazonSSM.DescribeParameters",
            "AmazonSSM.other",
            "unmatched",
        ],
    ),
];

pub(crate) fn shapes_of<'a>(
    pinned: impl IntoIterator<Item = &'a Pinned>,
) -> BTreeSet<(String, String, BTreeSet<String>)> {
    let owned = |(name, kind, labels): &Pinned| {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        ((*name).to_owned(), (*kind).to_owned(), labels)
    };
    pinned.into_iter().map(owned).collect()
}

async fn with_caches() -> Stack {
    let stack = Stack::with(|aux| aux.with("CACHE", "on"), |main| main.with("CACHE", "on")).await;
    stack.aws.put("/app/key", "hush").await;
    stack
}

/// Sends a request of each kind.
async fn ask(stack: &Stack) {
    for path in
        ["/buckets", "/params", "/param/app/key", "/values/app", "/param/not/there", "/nowhere"]
    {
        stack.aux.get(path).await;
        stack.main.get(path).await;
        stack.main.get(path).await;
    }
    for path in ["/inventory", "/status", "/", "/docs", "/openapi.json"] {
        stack.main.get(path).await;
    }
}

#[tokio::test]
async fn each_metric_has_the_name_the_type_and_the_labels_that_dashboards_rely_on() {
    let stack = with_caches().await;
    ask(&stack).await;
    for (service, own) in [(&stack.aux, &OF_AUX[..]), (&stack.main, &OF_MAIN)] {
        let pinned = shapes_of(OF_BOTH.iter().chain(own));
        let exported = Exposition::of(service).await.shapes();
        let missing: Vec<_> = pinned.difference(&exported).collect();
        let unknown: Vec<_> = exported.difference(&pinned).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "{}: missing {missing:?}, unknown {unknown:?}",
            service.name
        );
    }
}

/// The keys of the other tests never expire, and such keys have no series.
#[tokio::test]
async fn the_expiry_of_credentials_is_a_gauge_without_labels() {
    let (aws, provider) = (Aws::start().await, Provider::start().await);
    provider.serve("/role", Duration::ZERO, container("ASIACONTAINER", in_an_hour()));
    let aux = without_credentials(&aws)
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/role", provider.proxy.url))
        .start()
        .await;
    aux.log_line(|line| line["message"] == "AWS credentials loaded").await;
    let exported = Exposition::of(&aux).await;
    assert!(exported.shapes().is_superset(&shapes_of(&OF_CREDENTIALS)));
    assert!(exported.value(OF_CREDENTIALS[0].0, &[]) > 1.7e9);
}

#[tokio::test]
async fn a_shared_cache_and_a_queue_of_changes_add_metrics_of_their_own() {
    let (aws, engine) = (Aws::start().await, Engine::start().await);
    change_queue::create(&aws, 30).await;
    let aux = change_queue::reader(&aws).with("SHARED_CACHE_URL", &engine.url()).start().await;
    change_queue::send(&aws, &[change_queue::change("/app/key", "Update")]).await;
    aux.get("/param/app/key").await;
    let added = shapes_of(OF_SHARED_CACHE.iter().chain(&OF_CHANGE_QUEUE));
    let always = shapes_of(OF_BOTH.iter().chain(&OF_AUX));
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        // Histograms appear with their first sample.
        let exported = Exposition::of(&aux).await.shapes();
        let own: BTreeSet<_> = exported.difference(&always).cloned().collect();
        if own == added {
            return;
        }
        assert!(Instant::now() < limit, "exported: {own:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn each_label_has_a_value_of_a_closed_set() {
    let stack = with_caches().await;
    ask(&stack).await;
    let values = BTreeMap::from(VALUES);
    for service in [&stack.aux, &stack.main] {
        for (name, labels, _) in Exposition::of(service).await.samples {
            for (label, value) in labels.into_iter().filter(|(label, _)| label != "le") {
                let allowed = values.get(label.as_str());
                assert!(
                    allowed.is_some_and(|allowed| allowed.contains(&value.as_str())),
                    "{}: {name} has {label}={value}",
                    service.name
                );
            }
        }
    }
}

#[tokio::test]
async fn a_scanner_adds_no_series() {
    let stack = with_caches().await;
    ask(&stack).await;
    let scan = async |seed: &str| {
        for service in [&stack.aux, &stack.main] {
            for path in ["", "param/", "values/", "buckets/", "inventory/", "metrics/"] {
                service.get(&format!("/{path}{seed}")).await;
                service.get(&format!("/{path}{seed}/../../%2e%2e/{seed}?{seed}={seed}")).await;
            }
            for method in ["POST", "PROPFIND", seed] {
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                service.send(method.clone(), &format!("/{seed}"), &[]).await;
                service.send(method, "/buckets", &[("user-agent", seed)]).await;
            }
            let target = format!("AmazonSSM.{seed}");
            service.send(Method::POST, "/", &[("x-amz-target", &target)]).await;
        }
    };
    let mut series = Vec::new();
    for seed in ["SCAN", "ADMIN", "WPLOGIN", "ENV"] {
        scan(seed).await;
        let (aux, main) = (Exposition::of(&stack.aux).await, Exposition::of(&stack.main).await);
        series.push((aux.samples.len(), main.samples.len()));
    }
    assert!(series.iter().all(|seen| *seen == series[0]), "series grow with each scan: {series:?}");
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_counted_as_499() {
    let stack = with_caches().await;
    stack.aws.proxy.fail_all(Fault::Delay(Duration::from_secs(1)));
    let impatient = reqwest::Client::builder().timeout(Duration::from_millis(200)).build().unwrap();
    let left = impatient.get(format!("{}/param/app/key", stack.main.url)).send().await;
    assert!(left.is_err_and(|error| error.is_timeout()));

    let labels = [("endpoint", "/param/{name}"), ("method", "GET"), ("status", "499")];
    for _ in 0..200 {
        let exposition = Exposition::of(&stack.main).await;
        if exposition.value("axum_http_requests_total", &labels) > 0.0 {
            assert_eq!(exposition.value("axum_http_requests_total", &labels), 1.0);
            assert_eq!(exposition.value("axum_http_requests_duration_seconds_count", &labels), 1.0);
            assert_eq!(exposition.value("axum_http_requests_pending", &[]), 0.0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody counted the request");
}

#[tokio::test]
async fn a_request_beyond_max_in_flight_is_counted() {
    let stack = Stack::with(|aux| aux, |main| main.with("MAX_IN_FLIGHT", "1")).await;
    stack.between.fail_all(Fault::Delay(Duration::from_secs(3)));
    let (_, refused) = tokio::join!(stack.main.get("/buckets"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stack.main.get("/buckets").await
    });
    refused.problem(503, "overloaded");
    let exposition = Exposition::of(&stack.main).await;
    assert_eq!(exposition.value("requests_shed_total", &[]), 1.0);
    assert_eq!(exposition.value("axum_http_requests_total", &[("status", "503")]), 1.0);
}

#[tokio::test]
async fn credentials_that_fail_have_an_outcome_of_their_own_and_are_an_outage() {
    let stack = Stack::start().await;
    stack.aws.proxy.fail_all(e2e::refusals::ssm_expired());
    stack.aux.get("/param/app/key").await.problem(502, "aws-credentials");
    let labels = [("operation", "GetParameter"), ("outcome", "credentials")];
    assert_eq!(Exposition::of(&stack.aux).await.value("aws_requests_total", &labels), 1.0);
    assert_eq!(stack.aux.get("/readyz").await.ok()["dependencies"]["ssm"], "degraded");
}

#[tokio::test]
async fn the_time_of_the_processor_has_fractions() {
    let stack = Stack::start().await;
    ask(&stack).await;
    // Neither process has used a second of CPU time yet, so the metric would be 0 without
    // fractions.
    for service in [&stack.aux, &stack.main] {
        let seconds = Exposition::of(service).await.value("process_cpu_seconds_total", &[]);
        assert!(seconds > 0.0, "{}", service.name);
    }
}
