//! The connections to aux-service: the calls that share one, and the cost of the end of one.

use std::{collections::BTreeSet, iter::repeat_n, sync::Arc, time::Duration};

use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    aux_double::{Act, Aux, JSON, Reply, Seen, body, bytes, healthy, problem, response},
    gateway::Gateway,
    process::{Metrics, Process},
};

/// The number of clients on which main-api sends its attempts in turn.
const CLIENTS: usize = 8;

/// A flag that makes a failed attempt a failed call.
const ONCE: &str = "--retry-max-attempts=1";

/// A flag that makes the first failure that the circuit counts open it.
const OPENS_AT_ONCE: &str = "--breaker-consecutive-failures=1";

/// Responds with a value that is the request's own path, so that a response shows its call.
fn echo(seen: &Seen) -> Reply {
    response(200, &[JSON], &echo_body(seen))
}

fn echo_body(seen: &Seen) -> String {
    format!(r#"{{"version":"1","value":"{}"}}"#, seen.path)
}

/// Waits for an effect in the background.
async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the connection of the latest request.
fn latest(aux: &Aux) -> usize {
    aux.seen().last().expect("a request").connection
}

async fn call(gateway: &Gateway) {
    let answer = gateway.get("/param/other").await;
    assert_eq!((answer.status, &answer.body["value"]), (200, &"/param/other".into()));
}

/// Gives each client an idle connection. The next attempts reuse them in turn.
async fn open_connections(gateway: &Gateway, aux: &Aux) {
    aux.behave(echo);
    let opened = aux.accepted();
    for _ in 0..CLIENTS {
        call(gateway).await;
    }
    assert!(aux.accepted() <= opened + CLIENTS);
}

/// Makes calls on every client until a connection is closed, and checks that none of them uses it.
async fn is_never_used_again(gateway: &Gateway, aux: &Aux, connection: usize) {
    aux.behave(echo);
    let mut calls = 0;
    eventually("the connection is closed", async || {
        call(gateway).await;
        assert_ne!(latest(aux), connection);
        calls += 1;
        calls > CLIENTS && !aux.is_open(connection)
    })
    .await;
}

fn counts(metrics: &Metrics) -> [f64; 3] {
    [
        "upstream_connections_opened_total",
        "upstream_connections_reused_total",
        "upstream_connection_resets_total",
    ]
    .map(|name| metrics.value(name, &[]).expect("it exists from the start"))
}

fn circuit_is_closed(metrics: &Metrics) -> bool {
    metrics.value("circuit_breaker_state", &[("route", "/param/{name}"), ("state", "closed")])
        == Some(1.0)
}

#[tokio::test]
async fn eight_calls_use_eight_connections_and_the_next_eight_reuse_them() {
    let aux = Aux::start(echo).await;
    let process = Process::start(&aux.url(), &["--cache=off"]).await;
    for _ in 0..2 * CLIENTS {
        assert_eq!(process.get("/param/a").await.0, 200);
    }
    let used: Vec<_> = aux.seen().iter().map(|seen| seen.connection).collect();
    let in_turn: Vec<_> = (0..CLIENTS).chain(0..CLIENTS).collect();
    assert_eq!(used, in_turn);
    assert_eq!(counts(&process.scrape().await), [8.0, 8.0, 0.0]);
}

#[tokio::test]
async fn a_retry_goes_over_another_connection() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[]).await;
    for new in [true, false] {
        let mut fault = Some(problem(503, "overloaded", true, &[]));
        aux.behave(move |seen| fault.take().unwrap_or_else(|| echo(seen)));
        call(&gateway).await;
        let seen = aux.seen();
        let [.., first, retry] = &seen[..] else { panic!("two requests: {seen:?}") };
        assert_ne!(first.connection, retry.connection, "new: {new}");
        open_connections(&gateway, &aux).await;
    }
}

#[tokio::test]
async fn concurrent_calls_have_a_connection_each() {
    const CALLS: usize = 20;
    let aux = Aux::start(echo).await;
    let gateway = Arc::new(Gateway::before(&aux, &[ONCE]).await);
    open_connections(&gateway, &aux).await;
    let barrier = Arc::new(Barrier::new(CALLS));
    aux.behave(move |seen| [vec![Act::Meet(Arc::clone(&barrier))], echo(seen)].concat());
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let gateway = Arc::clone(&gateway);
        calls.spawn(async move {
            let answer = gateway.get(&format!("/param/{call}")).await;
            assert_eq!(answer.body["value"], format!("/param/{call}"));
        });
    }
    calls.join_all().await;
    let seen = aux.seen();
    let connections: BTreeSet<_> = seen[CLIENTS..].iter().map(|seen| seen.connection).collect();
    assert_eq!(connections.len(), CALLS, "one call at a time on each connection");
}

#[tokio::test]
async fn a_whole_response_leaves_its_connection_for_another_call() {
    let (text, (name, value)) = (body("/buckets"), JSON);
    let whole = bytes(200, &[JSON], text.len(), text);
    let pause = Act::Wait(Duration::from_millis(5));
    let slowly = whole.chunks(40).flat_map(|part| [Act::Send(part.to_vec()), pause.clone()]);
    let large = format!(r#"{{"version":"1","buckets":["{}"]}}"#, "x".repeat(300_000));
    let chunks: String =
        text.chars().map(|c| format!("1\r\n{c}\r\n")).chain(["0\r\n\r\n".to_owned()]).collect();
    let chunked =
        format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let hinted =
        [b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n".to_vec(), whole.clone()].concat();
    for (what, status, reply) in [
        ("in parts", 200, slowly.collect()),
        ("large", 200, response(200, &[JSON], &large)),
        ("a problem", 404, problem(404, "parameter-not-found", false, &[])),
        ("chunked", 200, vec![Act::Send(chunked.into_bytes())]),
        ("after a 103", 200, vec![Act::Send(hinted)]),
    ] {
        let aux = Aux::start(move |_| reply.clone()).await;
        let gateway = Gateway::before(&aux, &[ONCE]).await;
        for _ in 0..2 * CLIENTS {
            assert_eq!(gateway.get("/buckets").await.status, status, "{what}");
        }
        assert_eq!(aux.calls(), 2 * CLIENTS, "{what}");
        assert_eq!(aux.accepted(), CLIENTS, "{what}: new connections and reused ones");
    }
}

#[tokio::test]
async fn a_validator_and_its_304_go_over_a_reused_connection() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &["--cache=on"]).await;
    let headers =
        [JSON, ("etag", "\"upstream\""), ("cache-control", "max-age=0, stale-while-revalidate=60")];
    aux.behave(move |seen| match seen.header("if-none-match") {
        Some("\"upstream\"") => response(304, &headers[1..], ""),
        _ => response(200, &headers, body(&seen.path)),
    });
    eventually("two validators go over one connection", async || {
        assert_eq!(gateway.get("/buckets").await.status, 200);
        let mut validated = BTreeSet::new();
        let conditional = |seen: &Seen| seen.header("if-none-match").is_some();
        !aux.seen().into_iter().filter(conditional).all(|seen| validated.insert(seen.connection))
    })
    .await;
    assert_eq!(aux.accepted(), CLIENTS);
}

/// Each connection is closed at some time, so the close of one is no failure of aux-service.
#[tokio::test]
async fn a_reset_of_a_reused_connection_is_retried_and_does_not_count_for_the_circuit() {
    for end in [Act::Close, Act::Reset] {
        let aux = Aux::start(echo).await;
        let process = Process::start(&aux.url(), &["--cache=off", OPENS_AT_ONCE]).await;
        for _ in 0..CLIENTS {
            process.get("/param/a").await;
        }
        let mut fault = Some(vec![end.clone()]);
        aux.behave(move |seen| fault.take().unwrap_or_else(|| echo(seen)));
        assert_eq!(process.get("/param/a").await.0, 200, "{end:?}");
        assert_eq!(aux.calls(), CLIENTS + 2, "{end:?}");
        let metrics = process.scrape().await;
        assert!(circuit_is_closed(&metrics), "{end:?}");
        assert_eq!(counts(&metrics), [8.0, 2.0, 1.0], "{end:?}");
        let attempts = |outcome| {
            let labels = [("route", "/param/{name}"), ("outcome", outcome)];
            metrics.value("upstream_requests_total", &labels)
        };
        assert_eq!(attempts("unreachable"), Some(1.0), "{end:?}");
        assert_eq!(attempts("ok"), Some(9.0), "{end:?}");
        let labels = [("route", "/param/{name}"), ("outcome", "success")];
        assert_eq!(metrics.value("upstream_retries_total", &labels), Some(1.0), "{end:?}");
    }
}

#[tokio::test]
async fn resets_of_reused_connections_are_retried_within_the_limit_of_attempts() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[OPENS_AT_ONCE]).await;
    open_connections(&gateway, &aux).await;
    aux.behave(|_| vec![Act::Reset]);
    gateway.get("/param/a").await.assert_problem(502, "upstream-unavailable");
    assert_eq!(aux.calls(), CLIENTS + 3);
    assert_eq!(gateway.circuit().await, "closed");
}

#[tokio::test]
async fn a_reset_of_a_new_connection_opens_the_circuit() {
    for end in [Act::Close, Act::Reset] {
        let fault = end.clone();
        let aux = Aux::start(move |_| vec![fault.clone()]).await;
        let process = Process::start(&aux.url(), &["--cache=off", OPENS_AT_ONCE]).await;
        assert_eq!(process.get("/param/a").await.0, 503, "{end:?}");
        assert_eq!(aux.calls(), 1, "{end:?}: the circuit refuses the retry");
        let metrics = process.scrape().await;
        assert!(!circuit_is_closed(&metrics), "{end:?}");
        assert_eq!(counts(&metrics), [1.0, 0.0, 0.0], "{end:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_counts_as_neither_opened_nor_reused() {
    let aux = Aux::start(echo).await;
    let url = aux.url();
    aux.stop().await;
    let process = Process::start(&url, &["--cache=off"]).await;
    assert_eq!(process.get("/param/a").await.0, 502);
    assert_eq!(counts(&process.scrape().await), [0.0; 3]);
}

#[tokio::test]
async fn idle_connections_that_were_closed_cost_the_caller_nothing() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[OPENS_AT_ONCE]).await;
    for _ in 0..10 {
        open_connections(&gateway, &aux).await;
        aux.hang_up();
        for _ in 0..CLIENTS {
            call(&gateway).await;
        }
        assert_eq!(gateway.circuit().await, "closed");
    }
}

#[tokio::test]
async fn a_connection_that_aux_service_wants_closed_is_not_reused() {
    let aux =
        Aux::start(|seen| response(200, &[JSON, ("connection", "close")], &echo_body(seen))).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    for _ in 0..2 * CLIENTS {
        call(&gateway).await;
    }
    assert_eq!(aux.accepted(), 2 * CLIENTS);
    eventually("main-api closes them", async || aux.open() == 0).await;
}

/// A late response that reached another call would show a secret to a caller that requested
/// something else.
#[tokio::test]
async fn the_response_to_a_call_that_timed_out_reaches_no_other_call() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[ONCE, "--attempt-timeout=100ms"]).await;
    for early in [vec![], vec![Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec())]] {
        open_connections(&gateway, &aux).await;
        aux.behave(move |seen| {
            let late = bytes(200, &[JSON], echo_body(seen).len(), &echo_body(seen));
            let pause = Act::Wait(Duration::from_millis(150));
            [early.clone(), vec![pause, Act::Send(late)]].concat()
        });
        gateway.get("/param/late").await.assert_problem(504, "upstream-timeout");
        is_never_used_again(&gateway, &aux, latest(&aux)).await;
    }
}

#[tokio::test]
async fn the_response_to_a_call_whose_caller_left_reaches_no_other_call() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    open_connections(&gateway, &aux).await;
    aux.behave(|seen| [vec![Act::Wait(Duration::from_millis(150))], echo(seen)].concat());
    let calls = aux.calls();
    let arrives = eventually("the request arrives", async || aux.calls() > calls);
    tokio::select! {
        _ = gateway.get("/param/late") => panic!("the caller leaves first"),
        () = arrives => {}
    }
    is_never_used_again(&gateway, &aux, latest(&aux)).await;
}

/// Such bytes belong to no request. If the next call took them for its response, it would get the
/// response of another caller.
#[tokio::test]
async fn a_connection_with_bytes_beyond_the_response_is_not_reused() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    let smuggled = |seen: &Seen| {
        let forged = Seen::of("/param/forged");
        [seen, &forged].map(|seen| bytes(200, &[JSON], echo_body(seen).len(), &echo_body(seen)))
    };
    let together: fn([Vec<u8>; 2]) -> Reply = |both| vec![Act::Send(both.concat())];
    let later: fn([Vec<u8>; 2]) -> Reply = |[first, second]| {
        vec![Act::Send(first), Act::Wait(Duration::from_millis(20)), Act::Send(second)]
    };
    for reply in [together, later] {
        open_connections(&gateway, &aux).await;
        aux.behave(move |seen| reply(smuggled(seen)));
        call(&gateway).await;
        let connection = latest(&aux);
        aux.behave(echo);
        eventually("main-api closes it", async || !aux.is_open(connection)).await;
        is_never_used_again(&gateway, &aux, connection).await;
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_a_failure_and_its_connection_is_not_reused() {
    let half = Act::Send(bytes(200, &[JSON], 1000, "{"));
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    for (what, fault) in [
        ("a close in the body", vec![half.clone(), Act::Close]),
        ("a reset in the body", vec![half, Act::Wait(Duration::from_millis(20)), Act::Reset]),
        ("a reset", vec![Act::Reset]),
        ("a close", vec![Act::Close]),
        ("no HTTP", vec![Act::Send(b"\x16\x03\x01 hello\r\n\r\n".to_vec()), Act::Close]),
    ] {
        open_connections(&gateway, &aux).await;
        let calls = aux.calls();
        aux.behave(move |_| fault.clone());
        gateway.get("/param/a").await.assert_problem(502, "upstream-unavailable");
        assert_eq!(aux.calls(), calls + 1, "{what}");
        is_never_used_again(&gateway, &aux, latest(&aux)).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_on_a_reused_connection_counts_for_the_circuit() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[ONCE, OPENS_AT_ONCE]).await;
    open_connections(&gateway, &aux).await;
    aux.behave(|_| vec![Act::Send(bytes(200, &[JSON], 1000, "{")), Act::Close]);
    gateway.get("/param/a").await.assert_problem(502, "upstream-unavailable");
    assert_eq!(gateway.circuit().await, "open");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_its_connection_is_closed() {
    let aux = Aux::start(echo).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    open_connections(&gateway, &aux).await;
    aux.behave(|_| vec![Act::Send(bytes(200, &[JSON], 1 << 40, "{"))]);
    gateway.get("/param/a").await.assert_problem(502, "answer-too-large");
    is_never_used_again(&gateway, &aux, latest(&aux)).await;
}

#[tokio::test]
async fn a_new_connection_and_a_reused_one_carry_the_same_request() {
    let tokens = format!("{}/connections.tokens", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&tokens, "a-token-of-enough-length\n").unwrap();
    let aux = Aux::start(healthy).await;
    let flags = [format!("--auth-token-file={tokens}"), format!("--aux-token-file={tokens}")];
    let gateway = Gateway::before(&aux, &[&flags[0], &flags[1]]).await;
    let headers = [
        ("authorization", "Bearer a-token-of-enough-length"),
        ("cache-control", "no-cache"),
        ("x-request-id", "order-17"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=1"),
        ("x-envoy-expected-rq-timeout-ms", "100000"),
    ];
    for path in repeat_n("/param/a%20b", CLIENTS + 1) {
        assert_eq!(gateway.get_with(path, &headers).await.status, 200);
    }
    let seen = aux.seen();
    let (new, reused) = (&seen[0], &seen[CLIENTS]);
    assert_eq!(new.connection, reused.connection);
    assert_eq!(new.path, reused.path);
    let sent = |seen: &Seen| {
        let mut headers = seen.headers.clone();
        for (name, value) in &mut headers {
            // Each request has a span of its own.
            if name == "traceparent" {
                value.replace_range(36..52, "");
            }
        }
        headers
    };
    assert_eq!(sent(new), sent(reused));
    let names: Vec<_> = reused.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "cache-control",
            "x-envoy-expected-rq-timeout-ms",
            "authorization",
            "x-request-id",
            "traceparent",
            "tracestate",
            "accept",
            "host"
        ]
    );
}
