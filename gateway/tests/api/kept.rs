//! The connections to aux-service that are kept: which calls they carry, and that nobody notices
//! but by how long it takes.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    aux_double::{Act, Aux, JSON, Reply, Seen, body, bytes, healthy, response},
    gateway::Gateway,
};

/// So that a failed attempt is a failed call.
const ONCE: &str = "--retry-max-attempts=1";

/// Its own path is the value, so that an answer tells which call it belongs to.
fn echo(seen: &Seen) -> Reply {
    response(200, &[JSON], &format!(r#"{{"version":"1","value":"{}"}}"#, seen.path))
}

/// Waits for what happens in the background.
async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Asks until a call goes over a connection that is kept, and tells which one that is. The first
/// calls never do; reqwest has one connection only, since it has one call at a time to make.
async fn warm_up(gateway: &Gateway, aux: &Aux) -> usize {
    aux.behave(|_| {
        vec![Act::Wait(Duration::from_millis(50)), healthy(&Seen::of("/buckets")).remove(0)]
    });
    eventually("a connection is kept", async || {
        assert_eq!(gateway.get("/buckets").await.status, 200);
        aux.behave(healthy);
        latest(aux) != 0
    })
    .await;
    latest(aux)
}

fn latest(aux: &Aux) -> usize {
    aux.seen().last().expect("a request").connection
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[]).await;
    let kept = warm_up(&gateway, &aux).await;
    let accepted = aux.accepted();
    for _ in 0..20 {
        assert_eq!(gateway.get("/buckets").await.status, 200);
        assert_eq!(latest(&aux), kept);
    }
    assert_eq!(aux.accepted(), accepted, "and no other is opened");
}

#[tokio::test]
async fn a_plain_answer_however_it_comes_leaves_the_connection_fit_for_the_next_call() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    let kept = warm_up(&gateway, &aux).await;
    let large = format!(r#"{{"version":"1","buckets":["{}"]}}"#, "x".repeat(300_000));
    let pause = Act::Wait(Duration::from_millis(5));
    let whole = bytes(200, &[JSON], body("/buckets").len(), body("/buckets"));
    let slowly = whole.chunks(40).flat_map(|part| [Act::Send(part.to_vec()), pause.clone()]);
    for (what, status, reply) in [
        ("an answer that comes in parts", 200, slowly.collect()),
        ("a large one", 200, response(200, &[JSON], &large)),
        ("a problem", 404, crate::aux_double::problem(404, "parameter-not-found", false, &[])),
    ] {
        let mut reply = Some(reply);
        aux.behave(move |seen| reply.take().unwrap_or_else(|| healthy(seen)));
        let answer = gateway.get("/buckets").await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(latest(&aux), kept, "{what}");
        assert_eq!(gateway.get("/buckets").await.status, 200, "{what}");
        assert_eq!(latest(&aux), kept, "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_plain_is_read_by_reqwest() {
    let (text, (name, value)) = (body("/buckets"), JSON);
    let chunks: String =
        text.chars().map(|c| format!("1\r\n{c}\r\n")).chain(["0\r\n\r\n".to_owned()]).collect();
    let chunked =
        format!("HTTP/1.1 200 OK\r\n{name}: {value}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    let whole = bytes(200, &[JSON], text.len(), text);
    let hinted = [b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n".to_vec(), whole].concat();
    for reply in [chunked.into_bytes(), hinted] {
        let aux = Aux::start(healthy).await;
        let gateway = Gateway::before(&aux, &[ONCE]).await;
        let kept = warm_up(&gateway, &aux).await;
        let calls = aux.calls();
        aux.behave(move |_| vec![Act::Send(reply.clone())]);
        for more in [2, 3, 4] {
            assert_eq!(gateway.get("/buckets").await.status, 200);
            assert_eq!(aux.calls(), calls + more, "once over the kept one, then never for a while");
            assert_ne!(latest(&aux), kept);
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_its_caller_nothing() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    for _ in 0..10 {
        let kept = warm_up(&gateway, &aux).await;
        let calls = aux.calls();
        aux.hang_up();
        assert_eq!(gateway.get("/buckets").await.status, 200);
        assert_eq!(aux.calls(), calls + 1);
        assert_ne!(latest(&aux), kept);
    }
}

#[tokio::test]
async fn a_close_that_meets_a_request_costs_its_caller_nothing() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    let kept = warm_up(&gateway, &aux).await;
    aux.behave(move |seen| if seen.connection == kept { vec![Act::Close] } else { healthy(seen) });
    let calls = aux.calls();
    assert_eq!(gateway.get("/buckets").await.status, 200);
    assert_eq!(aux.calls(), calls + 2);
}

#[tokio::test]
async fn a_connection_that_never_brought_an_answer_is_no_excuse() {
    let aux = Aux::start(|_| vec![Act::Wait(Duration::from_millis(50)), Act::Close]).await;
    let gateway = Gateway::before(&aux, &[ONCE, "--breaker-consecutive-failures=1000"]).await;
    for calls in 1..=10 {
        gateway.get("/buckets").await.assert_problem(502, "upstream-unavailable");
        assert_eq!(aux.calls(), calls);
    }
}

#[tokio::test]
async fn a_connection_that_aux_service_wants_closed_carries_no_other_call() {
    let aux = Aux::start(|seen| {
        let close = [JSON, ("connection", "close")];
        vec![
            Act::Wait(Duration::from_millis(20)),
            Act::Send(bytes(200, &close, body(&seen.path).len(), body(&seen.path))),
        ]
    })
    .await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/buckets").await.status, 200);
    }
    let mut connections: Vec<_> = aux.seen().iter().map(|seen| seen.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), 10, "{connections:?}");
    eventually("they are closed by us", async || aux.open() <= 1).await;
}

/// Asks for something else until the late answer must have come to the kept connection.
async fn is_never_answered_to_others(gateway: &Gateway, aux: &Aux, kept: usize) {
    assert_eq!(latest(aux), kept, "it went over the kept one");
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until {
        let answer = gateway.get("/param/other").await;
        assert_eq!(answer.body["value"], "/param/other");
        assert_ne!(latest(aux), kept);
    }
}

/// Late answers are what they are: one that is taken for that of the next call would show a secret
/// to whoever asked for another.
#[tokio::test]
async fn the_answer_to_a_call_that_timed_out_is_nobody_elses() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ONCE, "--attempt-timeout=100ms"]).await;
    for late in [vec![], vec![Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec())]] {
        let kept = warm_up(&gateway, &aux).await;
        aux.behave(move |seen| match &*seen.path {
            "/param/late" => {
                [late.clone(), vec![Act::Wait(Duration::from_millis(150))], echo(seen)].concat()
            }
            _ => echo(seen),
        });
        gateway.get("/param/late").await.assert_problem(504, "upstream-timeout");
        is_never_answered_to_others(&gateway, &aux, kept).await;
    }
}

#[tokio::test]
async fn the_answer_to_a_call_whose_caller_left_is_nobody_elses() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    let kept = warm_up(&gateway, &aux).await;
    aux.behave(|seen| match &*seen.path {
        "/param/late" => [vec![Act::Wait(Duration::from_millis(100))], echo(seen)].concat(),
        _ => echo(seen),
    });
    let left = timeout(Duration::from_millis(50), gateway.get("/param/late")).await;
    assert!(left.is_err(), "the caller leaves first");
    is_never_answered_to_others(&gateway, &aux, kept).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure_and_the_end_of_its_connection() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    let half = Act::Send(bytes(200, &[JSON], 1000, "{"));
    for (what, fault) in [
        ("a body that ends too soon", vec![half.clone(), Act::Close]),
        ("a reset", vec![Act::Reset]),
        ("a reset in the body", vec![half, Act::Wait(Duration::from_millis(20)), Act::Reset]),
        ("no HTTP", vec![Act::Send(b"\x16\x03\x01 hello\r\n\r\n".to_vec()), Act::Close]),
    ] {
        let kept = warm_up(&gateway, &aux).await;
        let calls = aux.calls();
        aux.behave(move |_| fault.clone());
        gateway.get("/buckets").await.assert_problem(502, "upstream-unavailable");
        assert_eq!((latest(&aux), aux.calls()), (kept, calls + 1), "{what}");
        aux.behave(healthy);
        assert_eq!(gateway.get("/buckets").await.status, 200, "{what}");
        assert_ne!(latest(&aux), kept, "{what}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_its_connection_closed() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ONCE]).await;
    let kept = warm_up(&gateway, &aux).await;
    aux.behave(|_| vec![Act::Send(bytes(200, &[JSON], 1 << 40, "{")), Act::Stall]);
    gateway.get("/buckets").await.assert_problem(502, "upstream-unavailable");
    assert_eq!(latest(&aux), kept);
    aux.behave(healthy);
    assert_eq!(gateway.get("/buckets").await.status, 200);
    assert_ne!(latest(&aux), kept);
}

#[tokio::test]
async fn calls_that_find_no_kept_connection_go_out_all_the_same() {
    const CALLS: usize = 20;
    let aux = Aux::start(healthy).await;
    let gateway = Arc::new(Gateway::before(&aux, &[ONCE]).await);
    warm_up(&gateway, &aux).await;
    aux.behave(|seen| [vec![Act::Wait(Duration::from_millis(200))], echo(seen)].concat());
    let earlier = aux.calls();
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let gateway = Arc::clone(&gateway);
        calls.spawn(async move {
            let answer = gateway.get(&format!("/param/{call}")).await;
            assert_eq!(answer.body["value"], format!("/param/{call}"));
        });
    }
    while let Some(call) = calls.join_next().await {
        call.expect("each call has its own answer");
    }
    let seen = aux.seen();
    let mut connections: Vec<_> = seen[earlier..].iter().map(|seen| seen.connection).collect();
    connections.sort();
    connections.dedup();
    assert_eq!(connections.len(), CALLS, "one at a time on each connection");
    let most = 2 * CALLS + 3;
    assert!(
        aux.accepted() <= most,
        "one is opened for each call that found none: {}",
        aux.accepted()
    );
}

#[tokio::test]
async fn a_request_is_the_same_whichever_way_it_goes() {
    let tokens = format!("{}/both-ways.tokens", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&tokens, "a-token-of-enough-length\n").unwrap();
    let aux = Aux::start(healthy).await;
    let shown = [format!("--auth-token-file={tokens}"), format!("--aux-token-file={tokens}")];
    let gateway = Gateway::before(&aux, &[&shown[0], &shown[1]]).await;
    let headers = [
        ("authorization", "Bearer a-token-of-enough-length"),
        ("cache-control", "no-cache"),
        ("x-request-id", "order-17"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=1"),
        ("x-envoy-expected-rq-timeout-ms", "100000"),
    ];
    aux.behave(|seen| [vec![Act::Wait(Duration::from_millis(50))], healthy(seen)].concat());
    eventually("a call goes over a kept connection", async || {
        assert_eq!(gateway.get_with("/param/a%20b", &headers).await.status, 200);
        latest(&aux) != 0
    })
    .await;
    let seen = aux.seen();
    let (by_reqwest, over_kept) = (&seen[0], &seen[seen.len() - 1]);
    assert_eq!(by_reqwest.path, over_kept.path);
    let told = |seen: &Seen| {
        let mut headers = seen.headers.clone();
        for (name, value) in &mut headers {
            // The span is another one.
            if name == "traceparent" {
                value.replace_range(36..52, "");
            }
        }
        headers
    };
    assert_eq!(told(by_reqwest), told(over_kept));
    let names: Vec<_> = over_kept.headers.iter().map(|(name, _)| name.as_str()).collect();
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

#[tokio::test]
async fn a_validator_and_its_304_go_over_a_kept_connection() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &["--cache=on"]).await;
    let tag = ("etag", "\"theirs\"");
    let stale = ("cache-control", "max-age=0, stale-while-revalidate=60");
    let answer = move |seen: &Seen| match seen.header("if-none-match") {
        Some("\"theirs\"") => response(304, &[tag, stale], ""),
        _ => response(200, &[JSON, tag, stale], body(&seen.path)),
    };
    aux.behave(move |seen| [vec![Act::Wait(Duration::from_millis(50))], answer(seen)].concat());
    eventually("two validators go over one connection", async || {
        assert_eq!(gateway.get("/buckets").await.status, 200);
        let kept: Vec<_> = aux.seen().into_iter().filter(|seen| seen.connection == 1).collect();
        kept.iter().filter(|seen| seen.header("if-none-match").is_some()).count() == 2
    })
    .await;
}
