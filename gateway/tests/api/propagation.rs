//! The headers and names that main-api sends to aux-service.

use crate::{
    aux_double::{Act, Aux, healthy},
    gateway::Gateway,
};

fn milliseconds(seen: &crate::aux_double::Seen) -> u64 {
    seen.header("x-envoy-expected-rq-timeout-ms")
        .expect("it always travels")
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn an_attempt_sends_its_timeout_less_a_tenth_for_the_way_back() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &["--attempt-timeout=700ms"]).await;
    assert_eq!(gateway.get("/buckets").await.status, 200);
    assert_eq!(milliseconds(&aux.seen()[0]), 630);
}

#[tokio::test]
async fn a_deadline_of_the_caller_shortens_the_timeout_of_an_attempt() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &["--attempt-timeout=3s"]).await;
    for (timeout, bounds) in [("1500", 900..=1350), ("60000", 2800..=2800), ("soon", 2800..=2800)] {
        gateway.get_with("/buckets", &[("x-envoy-expected-rq-timeout-ms", timeout)]).await;
        let heard = milliseconds(aux.seen().last().unwrap());
        assert!(bounds.contains(&heard), "{timeout}: {heard}");
    }
}

#[tokio::test]
async fn each_attempt_sends_the_remaining_time() {
    let aux = Aux::start(|_| vec![Act::Stall]).await;
    let flags = ["--attempt-timeout=300ms", "--request-timeout=500ms", "--retry-backoff=1ms"];
    let gateway = Gateway::before(&aux, &flags).await;
    gateway.get("/buckets").await.assert_problem(504, "upstream-timeout");
    let budgets: Vec<u64> = aux.seen().iter().map(milliseconds).collect();
    assert_eq!(budgets.len(), 2, "{budgets:?}");
    assert_eq!(budgets[0], 270);
    assert!((1..=180).contains(&budgets[1]), "{budgets:?}");
}

#[tokio::test]
async fn callers_in_a_hurry_do_not_open_the_circuit() {
    let aux = Aux::start(|_| vec![Act::Stall]).await;
    let flags = ["--breaker-consecutive-failures=2"];
    let gateway = Gateway::before(&aux, &flags).await;
    for _ in 0..10 {
        let answer =
            gateway.get_with("/buckets", &[("x-envoy-expected-rq-timeout-ms", "30")]).await;
        answer.assert_problem(504, "upstream-timeout");
    }
    assert_eq!(gateway.circuit().await, "closed");
}

#[tokio::test]
async fn callers_in_a_hurry_open_the_circuit_to_an_upstream_that_hangs() {
    let aux = Aux::start(|_| vec![Act::Stall]).await;
    let flags = ["--attempt-timeout=400ms", "--breaker-consecutive-failures=2"];
    let gateway = Gateway::before(&aux, &flags).await;
    for _ in 0..2 {
        gateway.get_with("/buckets", &[("x-envoy-expected-rq-timeout-ms", "200")]).await;
    }
    assert_eq!(gateway.circuit().await, "open");
}

#[tokio::test]
async fn the_ids_of_a_request_are_sent_with_its_call() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[]).await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("x-request-id", "order-17"), ("traceparent", traceparent)];
    gateway.get_with("/buckets", &headers).await;
    let seen = aux.seen();
    assert_eq!(seen[0].header("x-request-id"), Some("order-17"));
    let sent = seen[0].header("traceparent").expect("it travels");
    assert!(sent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{sent}");
    assert_ne!(sent, traceparent, "the span is a new one");
}

#[tokio::test]
async fn a_name_stays_within_its_route() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[]).await;
    for (requested, sent) in [
        ("/param/a", "/param/a"),
        ("/param/challenge/kantox-1_2.3", "/param/challenge/kantox-1_2.3"),
        ("/param/%2Fchallenge%2fkantox", "/param/challenge/kantox"),
        ("/param//a", "/param/a"),
        ("/param/a//b", "/param/%2Fa%2F%2Fb"),
        ("/param/a/", "/param/%2Fa%2F"),
        ("/param/", "/param/%2F"),
        ("/param/a%2f%2e%2e%2fmetrics", "/param/%2Fa%2F%2E%2E%2Fmetrics"),
        ("/param/a%2f%2e%2fmetrics", "/param/%2Fa%2F%2E%2Fmetrics"),
        ("/param/a...b/.c", "/param/a...b/.c"),
        ("/param/a%09b", "/param/%2Fa%09b"),
        ("/param/%2e%2e%2f%2e%2e%2fmetrics", "/param/%2F%2E%2E%2F%2E%2E%2Fmetrics"),
        ("/param/a%3Fb%23c", "/param/%2Fa%3Fb%23c"),
        ("/values/a/b", "/values/a/b"),
        ("/values/a~b", "/values/%2Fa%7Eb"),
    ] {
        gateway.get(requested).await;
        assert_eq!(aux.seen().last().unwrap().path, sent, "{requested}");
    }
}
