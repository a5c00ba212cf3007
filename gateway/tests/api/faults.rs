//! One call to an aux-service that fails in every way: the response that the client gets, and the
//! number of attempts.

use std::time::Duration;

use crate::{
    aux_double::{Act, Aux, JSON, Reply, Seen, body, bytes, healthy, problem, response},
    gateway::Gateway,
};

const ATTEMPTS: usize = 3;

/// Responds with the fault once, then works.
fn once(fault: Reply) -> impl FnMut(&Seen) -> Reply {
    let mut fault = Some(fault);
    move |seen| fault.take().unwrap_or_else(|| healthy(seen))
}

fn always(fault: Reply) -> impl FnMut(&Seen) -> Reply {
    move |_| fault.clone()
}

/// Sends the first half of a good response.
fn half() -> Act {
    let body = body("/buckets");
    Act::Send(bytes(200, &[JSON], body.len(), &body[..body.len() / 2]))
}

fn slow_headers() -> Reply {
    vec![Act::Stall]
}

fn slow_body() -> Reply {
    vec![half(), Act::Stall]
}

/// Builds a body that never pauses for long and never ends. Only a limit on the whole attempt ends
/// it.
fn dripping_body() -> Reply {
    let mut reply = vec![Act::Send(bytes(200, &[JSON], 1000, "{"))];
    for _ in 0..100 {
        reply.extend([Act::Wait(Duration::from_millis(20)), Act::Send(vec![b' '])]);
    }
    reply
}

fn reset() -> Reply {
    vec![Act::Reset]
}

fn reset_in_the_body() -> Reply {
    vec![half(), Act::Wait(Duration::from_millis(20)), Act::Reset]
}

fn closed_without_a_response() -> Reply {
    vec![Act::Close]
}

fn truncated() -> Reply {
    vec![half(), Act::Close]
}

fn garbage() -> Reply {
    vec![Act::Send(b"\x16\x03\x01 this is no HTTP\r\n\r\n".to_vec()), Act::Close]
}

/// Builds a response without an announced length.
fn chunked(body: &str) -> Reply {
    let (name, value) = JSON;
    let head = format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\ntransfer-encoding: chunked\r\n\r\n");
    vec![Act::Send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes())]
}

#[tokio::test]
async fn a_fault_that_passes_is_hidden_from_the_client() {
    let faults = [
        ("slow headers", slow_headers()),
        ("a slow body", slow_body()),
        ("a dripping body", dripping_body()),
        ("a reset", reset()),
        ("a reset in the body", reset_in_the_body()),
        ("a close", closed_without_a_response()),
        ("a truncated body", truncated()),
        ("garbage", garbage()),
        ("a retryable 502", problem(502, "aws-unavailable", true, &[])),
        ("a retryable 504", problem(504, "aws-timeout", true, &[])),
        (
            "a 503 of a mesh",
            response(503, &[("content-type", "text/plain")], "no healthy upstream"),
        ),
    ];
    for (name, fault) in faults {
        let aux = Aux::start(once(fault)).await;
        let gateway = Gateway::before(&aux, &["--attempt-timeout=500ms"]).await;
        let answer = gateway.get("/buckets").await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(answer.body["buckets"], serde_json::json!(["logs", "backups"]), "{name}");
        assert_eq!(aux.calls(), 2, "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_is_a_504_within_the_deadline() {
    for (name, fault) in
        [("headers", slow_headers()), ("body", slow_body()), ("dripping", dripping_body())]
    {
        let aux = Aux::start(always(fault)).await;
        let gateway = Gateway::before(&aux, &["--attempt-timeout=200ms"]).await;
        let answer = gateway.get("/buckets").await;
        answer.assert_problem(504, "upstream-timeout");
        assert_eq!(aux.calls(), ATTEMPTS, "{name}");
        let attempts = Duration::from_millis(200) * ATTEMPTS as u32;
        assert!((attempts..Duration::from_secs(5)).contains(&answer.elapsed), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn the_deadline_cuts_an_attempt_that_would_outlast_it() {
    let aux = Aux::start(always(slow_headers())).await;
    let gateway =
        Gateway::before(&aux, &["--attempt-timeout=400ms", "--request-timeout=500ms"]).await;
    let answer = gateway.get("/buckets").await;
    answer.assert_problem(504, "upstream-timeout");
    assert!(answer.elapsed >= Duration::from_millis(490), "{answer:?}");
    assert!(answer.elapsed < Duration::from_millis(1500), "{answer:?}");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_a_502() {
    for (name, fault) in [
        ("a reset", reset()),
        ("a reset in the body", reset_in_the_body()),
        ("a close", closed_without_a_response()),
        ("a truncated body", truncated()),
        ("garbage", garbage()),
    ] {
        let aux = Aux::start(always(fault)).await;
        let gateway = Gateway::before(&aux, &[]).await;
        let answer = gateway.get("/buckets").await;
        answer.assert_problem(502, "upstream-unavailable");
        assert_eq!(answer.body["retryable"], true);
        assert_eq!(aux.calls(), ATTEMPTS, "{name}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_a_502() {
    let aux = Aux::start(healthy).await;
    let url = aux.url();
    aux.stop().await;
    let gateway = Gateway::start(&url, &[]).await;
    gateway.get("/buckets").await.assert_problem(502, "upstream-unavailable");
}

#[tokio::test]
async fn an_invalid_response_is_a_502_and_is_not_retried() {
    let text = ("content-type", "text/html");
    let good = body("/buckets");
    for (name, fault) in [
        ("no JSON", response(200, &[JSON], "{\"version\":")),
        ("an empty body", response(200, &[JSON], "")),
        ("another type", response(200, &[text], good)),
        ("no type", response(200, &[], good)),
        ("another route's body", response(200, &[JSON], body("/params"))),
        ("a body without a version", response(200, &[JSON], "{\"buckets\":[]}")),
        ("a 404 of something else", response(404, &[text], "<h1>Not Found</h1>")),
        ("a problem of another status", {
            let mut reply = problem(503, "aws-throttled", true, &[]);
            let Act::Send(bytes) = &mut reply[0] else { unreachable!("a response is sent") };
            bytes.splice(9..12, *b"500");
            reply
        }),
        (
            "a problem without a code",
            response(500, &[("content-type", "application/problem+json")], "{}"),
        ),
        ("a redirect", response(302, &[("location", "/params")], "")),
        ("no content", response(204, &[], "")),
        ("304 to an unconditional request", response(304, &[], "")),
        ("a token that aux-service refuses", problem(401, "unauthorized", false, &[])),
    ] {
        let aux = Aux::start(always(fault)).await;
        let gateway = Gateway::before(&aux, &[]).await;
        let answer = gateway.get("/buckets").await;
        assert_eq!((answer.status, name), (502, name), "{answer:?}");
        answer.assert_problem(502, "upstream-unavailable");
        assert_eq!(aux.calls(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_response_that_is_too_large_is_a_final_error_and_does_not_open_the_circuit() {
    let huge = format!("{{\"version\":\"1\",\"buckets\":[\"{}\"]}}", "x".repeat(16 << 20));
    for (name, fault) in [
        ("announced", vec![Act::Send(bytes(200, &[JSON], 1 << 40, "{"))]),
        ("unannounced", chunked(&huge)),
    ] {
        let aux = Aux::start(always(fault)).await;
        let gateway = Gateway::before(&aux, &[]).await;
        for _ in 0..6 {
            let answer = gateway.get("/buckets").await;
            answer.assert_problem(502, "answer-too-large");
            assert_eq!(answer.body["retryable"], false);
        }
        assert_eq!(aux.calls(), 6, "{name}");
        assert_eq!(gateway.circuit().await, "closed", "{name}");
    }
}

/// A mesh or an ingress between the services limits the rate in this way.
#[tokio::test]
async fn a_proxy_that_demands_a_wait_is_obeyed_and_does_not_open_the_circuit() {
    let html = ("content-type", "text/html");
    for (sent, pause, fault) in [
        ("429", "1", response(429, &[html], "<h1>Too Many Requests</h1>")),
        ("429 with a pause", "7", response(429, &[html, ("retry-after", "7")], "")),
        ("503 with a pause", "7", response(503, &[html, ("retry-after", "7")], "")),
        ("overloaded", "7", problem(503, "overloaded", true, &[("retry-after", "7")])),
    ] {
        let aux = Aux::start(always(fault)).await;
        let flags = ["--retry-max-attempts=1", "--cache=off", "--request-timeout=5s"];
        let gateway = Gateway::before(&aux, &flags).await;
        for _ in 0..40 {
            let answer = gateway.get("/buckets").await;
            answer.assert_problem(503, "overloaded");
            assert_eq!(answer.header("retry-after"), Some(pause), "{sent}");
        }
        assert_eq!((aux.calls(), gateway.circuit().await.as_str()), (40, "closed"), "{sent}");
    }
}

#[tokio::test]
async fn a_call_is_retried_after_the_wait_that_a_proxy_demands() {
    let aux = Aux::start(once(response(429, &[("retry-after", "1")], ""))).await;
    let gateway = Gateway::before(&aux, &[]).await;
    let answer = gateway.get("/buckets").await;
    assert_eq!((answer.status, aux.calls()), (200, 2));
    assert!(answer.elapsed >= std::time::Duration::from_secs(1), "{:?}", answer.elapsed);
}

#[tokio::test]
async fn a_problem_keeps_its_status_and_its_code() {
    for (status, code) in [
        (400, "invalid-parameter-name"),
        (403, "aws-access-denied"),
        (404, "parameter-not-found"),
        (502, "aws-credentials"),
    ] {
        let aux = Aux::start(always(problem(status, code, false, &[]))).await;
        let gateway = Gateway::before(&aux, &[]).await;
        let answer = gateway.get("/param/a").await;
        answer.assert_problem(status, code);
        assert_ne!(answer.body["request_id"], "upstream");
        assert_eq!(aux.calls(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_retry_waits_for_retry_after_within_the_deadline() {
    let aux = Aux::start(once(problem(503, "overloaded", true, &[("retry-after", "1")]))).await;
    let gateway = Gateway::before(&aux, &[]).await;
    let answer = gateway.get("/buckets").await;
    assert_eq!(answer.status, 200);
    let seen = aux.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].at - seen[0].at >= Duration::from_millis(990));
}

#[tokio::test]
async fn a_longer_retry_after_is_passed_to_the_client_at_once() {
    let aux =
        Aux::start(always(problem(503, "aws-throttled", true, &[("retry-after", "60")]))).await;
    let gateway = Gateway::before(&aux, &[]).await;
    let answer = gateway.get("/buckets").await;
    answer.assert_problem(503, "aws-throttled");
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(aux.calls(), 1);
    assert!(answer.elapsed < Duration::from_secs(5), "{answer:?}");
}
