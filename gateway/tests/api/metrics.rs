//! The metrics of main-api's calls to aux-service: names, labels and values.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    aux_double::{Act, Aux, Seen, healthy, problem, response},
    process::{Metrics, Process},
};

const STATES: [&str; 3] = ["closed", "open", "half_open"];

fn states(metrics: &Metrics) -> [f64; 3] {
    STATES.map(|state| {
        metrics
            .value("circuit_breaker_state", &[("route", "/buckets"), ("state", state)])
            .expect("every state has its series")
    })
}

#[tokio::test]
async fn every_series_of_the_circuit_of_retries_and_of_connections_exists_from_the_start() {
    let process = Process::start("http://127.0.0.1:1", &[]).await;
    let metrics = process.scrape().await;
    assert_eq!(states(&metrics), [1.0, 0.0, 0.0]);
    for (from, to) in
        [("closed", "open"), ("open", "half_open"), ("half_open", "closed"), ("half_open", "open")]
    {
        let labels = [("route", "/values/{path}"), ("from", from), ("to", to)];
        assert_eq!(metrics.value("circuit_breaker_transitions_total", &labels), Some(0.0));
    }
    assert_eq!(metrics.series("circuit_breaker_transitions_total").len(), 4 * 10);
    for route in [
        "/buckets",
        "/params",
        "/param/{name}",
        "/values/{path}",
        "/status",
        "AmazonSSM.GetParameter",
    ] {
        for outcome in ["success", "failure", "budget_exhausted"] {
            let labels = [("route", route), ("outcome", outcome)];
            assert_eq!(metrics.value("upstream_retries_total", &labels), Some(0.0), "{labels:?}");
        }
    }
    for name in [
        "upstream_connections_opened_total",
        "upstream_connections_reused_total",
        "upstream_connection_resets_total",
    ] {
        assert_eq!(metrics.value(name, &[]), Some(0.0), "{name}");
    }
}

/// Dashboards and alerts use these names, so a change would break them.
#[tokio::test]
async fn the_names_are_those_of_the_contract() {
    let aux = Aux::start(healthy).await;
    let process = Process::start(&aux.url(), &[]).await;
    process.get("/buckets").await;
    let metrics = process.scrape().await;
    assert_eq!(
        metrics.names("upstream_"),
        [
            "upstream_connection_resets_total",
            "upstream_connections_opened_total",
            "upstream_connections_reused_total",
            "upstream_request_duration_seconds",
            "upstream_requests_total",
            "upstream_retries_total"
        ]
    );
    assert_eq!(
        metrics.names("circuit_breaker_"),
        ["circuit_breaker_state", "circuit_breaker_transitions_total"]
    );
}

#[tokio::test]
async fn each_attempt_is_counted_by_its_route_and_outcome() {
    let aux = Aux::start(healthy).await;
    let flags = ["--cache=off", "--attempt-timeout=300ms", "--breaker-consecutive-failures=6"];
    let process = Process::start(&aux.url(), &flags).await;
    type Behaviour = fn(&Seen) -> Vec<Act>;
    let faults: [(&str, Behaviour, f64); 7] = [
        ("ok", healthy, 1.0),
        ("client_error", |_| problem(404, "parameter-not-found", false, &[]), 1.0),
        ("throttled", |_| problem(503, "aws-throttled", true, &[("retry-after", "60")]), 1.0),
        ("server_error", |_| problem(502, "aws-credentials", false, &[]), 1.0),
        ("invalid", |_| response(200, &[], "hello"), 1.0),
        // The three connections are new: a reset of a reused one would not count for the circuit.
        ("unreachable", |_| vec![Act::Reset], 3.0),
        // There are only two attempts, since six failures in a row open the circuit.
        ("timeout", |_| vec![Act::Stall], 2.0),
    ];
    for (outcome, behaviour, _) in faults {
        aux.behave(behaviour);
        process.get("/param/secret-name").await;
        assert!(!process.scrape().await.names("upstream_").is_empty(), "{outcome}");
    }

    let metrics = process.scrape().await;
    for (outcome, _, attempts) in faults {
        let labels = [("route", "/param/{name}"), ("outcome", outcome)];
        assert_eq!(metrics.value("upstream_requests_total", &labels), Some(attempts), "{outcome}");
        let count = metrics.value("upstream_request_duration_seconds_count", &labels);
        assert_eq!(count, Some(attempts), "{outcome}");
    }
    let refused = [("route", "/param/{name}"), ("outcome", "circuit_open")];
    assert_eq!(metrics.value("upstream_requests_total", &refused), Some(1.0));
    assert_eq!(metrics.value("upstream_request_duration_seconds_count", &refused), None);
    let attempts: f64 = faults.iter().map(|(_, _, attempts)| attempts).sum();
    assert_eq!(attempts, aux.calls() as f64, "what is counted is what aux-service saw");
    let retries = |outcome| {
        metrics.value("upstream_retries_total", &[("route", "/param/{name}"), ("outcome", outcome)])
    };
    assert_eq!(retries("failure"), Some(4.0));
    assert_eq!(retries("success"), Some(0.0));
}

#[tokio::test]
async fn the_state_is_one_hot_and_current_at_every_scrape() {
    let aux = Aux::start(|_| vec![Act::Reset]).await;
    let flags = ["--cache=off", "--breaker-open-for=1s", "--breaker-consecutive-failures=1"];
    let process = Process::start(&aux.url(), &flags).await;
    process.get("/buckets").await;
    assert_eq!(states(&process.scrape().await), [0.0, 1.0, 0.0]);

    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let states = states(&process.scrape().await);
        assert_eq!(states.iter().sum::<f64>(), 1.0, "one-hot: {states:?}");
        if states == [0.0, 0.0, 1.0] {
            break;
        }
        assert!(Instant::now() < deadline, "the pause ends without a call");
        sleep(Duration::from_millis(20)).await;
    }
    aux.behave(healthy);
    process.get("/buckets").await;
    assert_eq!(states(&process.scrape().await), [1.0, 0.0, 0.0]);
}
