//! A long outage of aux-service: clients do not wait for it, and main-api makes few calls to it.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    aux_double::{Act, Aux, healthy, problem, response},
    gateway::Gateway,
};

/// Returns the reserve of the retry budget: 30 retries at the start, and three more a second.
fn reserve(elapsed: Duration) -> f64 {
    30.0 * ((elapsed.as_secs_f64() / 9.0).floor() + 1.0)
}

/// Flags with which the circuit never opens, so that the budget alone limits the attempts.
const NO_BREAKER: [&str; 2] =
    ["--breaker-consecutive-failures=1000000", "--breaker-min-calls=1000000"];

#[tokio::test]
async fn under_a_total_outage_the_budget_bounds_the_attempts() {
    let aux = Aux::start(|_| problem(503, "aws-unavailable", true, &[])).await;
    let gateway = Arc::new(
        Gateway::before(&aux, &[&NO_BREAKER[..], &["--retry-backoff=1ms"]].concat()).await,
    );
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move {
            for _ in 0..50 {
                gateway.get("/buckets").await.assert_problem(503, "aws-unavailable");
            }
        });
    }
    clients.join_all().await;

    let attempts = aux.calls() as f64;
    let most = 1000.0 * 1.2 + reserve(started.elapsed());
    eprintln!("1000 failing calls made {attempts} attempts; {most} were allowed");
    assert!(attempts <= most, "{attempts} attempts, {most} allowed");
    assert!(attempts >= 1200.0, "the budget is there to be used: {attempts}");
}

#[tokio::test]
async fn under_a_total_outage_the_circuit_opens_and_spares_the_upstream() {
    let aux = Aux::start(|_| vec![Act::Reset]).await;
    let gateway = Gateway::before(&aux, &[]).await;
    let mut open = 0;
    for _ in 0..1000 {
        let answer = gateway.get("/buckets").await;
        if answer.status == 503 {
            answer.assert_problem(503, "circuit-open");
            open += 1;
        } else {
            answer.assert_problem(502, "upstream-unavailable");
        }
    }
    eprintln!("1000 failing calls made {} attempts; {open} were refused", aux.calls());
    assert!(aux.calls() <= 7, "five in a row open the circuit: {}", aux.calls());
    assert!(open >= 995);
}

#[tokio::test]
async fn an_open_circuit_refuses_at_once_and_sends_retry_after() {
    let aux = Aux::start(|_| vec![Act::Stall]).await;
    let gateway =
        Gateway::before(&aux, &["--breaker-consecutive-failures=1", "--attempt-timeout=200ms"])
            .await;
    gateway.get("/buckets").await;
    let calls = aux.calls();

    let mut times = Vec::new();
    for _ in 0..100 {
        let answer = gateway.get("/buckets").await;
        answer.assert_problem(503, "circuit-open");
        assert_eq!(answer.body["retryable"], true);
        let seconds: u64 =
            answer.header("retry-after").expect("the header is set").parse().expect("seconds");
        assert!((1..=6).contains(&seconds), "{seconds}");
        times.push(answer.elapsed);
    }
    times.sort();
    eprintln!("an open circuit answers in {:?} (p50), {:?} (p99)", times[50], times[99]);
    assert_eq!(aux.calls(), calls, "an open circuit spares the upstream");
    assert!(times[50] < Duration::from_millis(20), "{times:?}");
}

#[tokio::test]
async fn readiness_reports_an_open_circuit_and_stays_true() {
    let aux = Aux::start(|_| vec![Act::Reset]).await;
    let flags = ["--breaker-consecutive-failures=1", "--breaker-open-for=1s"];
    let gateway = Gateway::before(&aux, &flags).await;
    assert_eq!(gateway.circuit().await, "closed");
    gateway.get("/buckets").await;
    assert_eq!(gateway.circuit().await, "open");
    let deadline = Instant::now() + Duration::from_secs(5);
    while gateway.circuit().await != "half_open" {
        assert!(Instant::now() < deadline, "the pause ends without a call");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    aux.behave(healthy);
    assert_eq!(gateway.get("/buckets").await.status, 200);
    assert_eq!(gateway.circuit().await, "closed");
}

#[tokio::test]
async fn traffic_flows_again_soon_after_aux_service_returns() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &["--breaker-open-for=500ms"]).await;
    assert_eq!(gateway.get("/buckets").await.status, 200);
    let addr = aux.stop().await;
    while gateway.get("/buckets").await.status != 503 {}

    let aux = Aux::start_on(addr, healthy).await;
    let returned = Instant::now();
    while gateway.get("/buckets").await.status != 200 {
        assert!(returned.elapsed() < Duration::from_secs(5), "it never comes back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!(
        "traffic flows {:?} after aux-service's return, of a pause of 500 ms",
        returned.elapsed()
    );
    assert!(returned.elapsed() <= Duration::from_secs(2));
    assert!(aux.calls() >= 1);
}

/// A 4xx is a success of aux-service. A client that requests wrong names must not open the circuit
/// for all others.
#[tokio::test]
async fn client_errors_do_not_open_the_circuit() {
    let aux = Aux::start(|_| problem(404, "parameter-not-found", false, &[])).await;
    let gateway = Gateway::before(&aux, &[]).await;
    for _ in 0..50 {
        gateway.get("/param/nothing").await.assert_problem(404, "parameter-not-found");
    }
    assert_eq!(gateway.circuit().await, "closed");
    assert_eq!(aux.calls(), 50);
}

#[tokio::test]
async fn an_open_circuit_of_one_route_refuses_no_other() {
    let aux = Aux::start(|seen| match seen.path.as_str() {
        "/params" => vec![Act::Reset],
        _ => healthy(seen),
    })
    .await;
    let gateway = Gateway::before(&aux, &["--retry-max-attempts=1", "--cache=off"]).await;
    for _ in 0..5 {
        gateway.get("/params").await.assert_problem(502, "upstream-unavailable");
    }
    gateway.get("/params").await.assert_problem(503, "circuit-open");
    assert_eq!(gateway.get("/param/a").await.status, 200);
    let ready = gateway.get("/readyz").await;
    let dependencies = &ready.body["dependencies"];
    assert_eq!(dependencies["circuit_breaker"], "open");
    assert_eq!(dependencies["circuits"]["/params"], "open");
    assert_eq!(dependencies["circuits"]["/param/{name}"], "closed");
}

/// Six requests for a value that is final do not keep other values of the route from their clients.
#[tokio::test]
async fn a_final_error_does_not_open_the_circuit() {
    for (status, code) in
        [(502, "aws-refused"), (422, "parameter-unreadable"), (502, "answer-too-large")]
    {
        let aux = Aux::start(move |_| problem(status, code, false, &[])).await;
        let gateway = Gateway::before(&aux, &["--cache=off"]).await;
        for _ in 0..30 {
            gateway.get("/param/a").await.assert_problem(status, code);
        }
        assert_eq!((aux.calls(), gateway.circuit().await.as_str()), (30, "closed"), "{code}");
    }
}

#[tokio::test]
async fn throttling_opens_the_circuit_by_its_rate_and_not_in_a_row() {
    let aux = Aux::start(|_| problem(503, "aws-throttled", true, &[("retry-after", "60")])).await;
    let gateway = Gateway::before(&aux, &[]).await;
    for _ in 0..19 {
        gateway.get("/buckets").await.assert_problem(503, "aws-throttled");
    }
    assert_eq!(gateway.circuit().await, "closed");
    gateway.get("/buckets").await.assert_problem(503, "aws-throttled");
    assert_eq!(gateway.circuit().await, "open");
}

#[tokio::test]
async fn a_failure_of_aws_does_not_open_the_circuit() {
    let shielded = r#"{"type":"urn:problem:aws-throttled","title":"AWS throttles","status":503,
        "detail":"-","code":"aws-throttled","retryable":true,"request_id":"-","error":"-","shielded":true}"#;
    let shielded = response(503, &[("content-type", "application/problem+json")], shielded);
    for wrong in [problem(502, "aws-unavailable", true, &[]), shielded] {
        let aux = Aux::start(move |_| wrong.clone()).await;
        let gateway = Gateway::before(&aux, &["--retry-max-attempts=1", "--cache=off"]).await;
        for _ in 0..40 {
            gateway.get("/buckets").await;
        }
        assert_eq!((aux.calls(), gateway.circuit().await.as_str()), (40, "closed"));
    }
}
