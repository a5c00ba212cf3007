//! `/inventory`: two lists, each with its own outcome, under one deadline.

use std::time::Duration;

use serde_json::json;

use crate::{
    aux_double::{Act, Aux, Reply, healthy, problem},
    gateway::Gateway,
};

/// Starts an aux-service with one outcome for each list; `None` is a healthy response.
async fn aux(buckets: Option<Reply>, params: Option<Reply>) -> Aux {
    Aux::start(move |seen| {
        let fault = if seen.path == "/buckets" { &buckets } else { &params };
        fault.clone().unwrap_or_else(|| healthy(seen))
    })
    .await
}

fn throttled() -> Reply {
    problem(503, "aws-throttled", true, &[("retry-after", "60")])
}

fn denied() -> Reply {
    problem(403, "aws-access-denied", false, &[])
}

#[tokio::test]
async fn both_lists_come_in_one_response() {
    let aux = aux(None, None).await;
    let gateway = Gateway::before(&aux, &["--main-version=9.9.9"]).await;
    let answer = gateway.get("/inventory").await;
    assert_eq!(answer.status, 200);
    let whole = json!({
        "main_version": "9.9.9",
        "aux_version": "1.2.3",
        "buckets": ["logs", "backups"],
        "parameters": ["/a", "/b"],
        "errors": {},
    });
    assert_eq!(answer.body, whole);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn both_lists_are_loaded_at_the_same_time() {
    let slow = |path| {
        let mut reply = healthy(&crate::aux_double::Seen::of(path));
        reply.insert(0, Act::Wait(Duration::from_millis(800)));
        Some(reply)
    };
    let aux = aux(slow("/buckets"), slow("/params")).await;
    let gateway = Gateway::before(&aux, &[]).await;
    assert_eq!(gateway.get("/inventory").await.status, 200);
    let seen = aux.seen();
    assert!(seen[1].at - seen[0].at < Duration::from_millis(700), "one waited for the other");
}

#[tokio::test]
async fn a_part_that_fails_is_null_and_has_its_problem() {
    for (buckets, params, part, other, code) in [
        (Some(denied()), None, "buckets", "parameters", "aws-access-denied"),
        (None, Some(throttled()), "parameters", "buckets", "aws-throttled"),
        (None, Some(vec![Act::Close]), "parameters", "buckets", "upstream-unavailable"),
    ] {
        let aux = aux(buckets, params).await;
        let gateway = Gateway::before(&aux, &["--breaker-consecutive-failures=100"]).await;
        let answer = gateway.get("/inventory").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body[part], json!(null));
        assert_eq!(answer.body[other].as_array().map(Vec::len), Some(2));
        assert_eq!(answer.body["errors"].as_object().map(|errors| errors.len()), Some(1));
        assert_eq!(answer.body["errors"][part]["code"], code);
        let id = answer.header("x-request-id");
        assert_eq!(answer.body["errors"][part]["request_id"].as_str(), id);
        assert_eq!(answer.body["aux_version"], "1.2.3");
    }
}

#[tokio::test]
async fn a_part_that_hangs_does_not_take_the_other_with_it() {
    let aux = aux(None, Some(vec![Act::Stall])).await;
    let flags = ["--attempt-timeout=900ms", "--request-timeout=1s"];
    let gateway = Gateway::before(&aux, &flags).await;
    for _ in 0..3 {
        let answer = gateway.get("/inventory").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["buckets"], json!(["logs", "backups"]));
        assert_eq!(answer.body["errors"]["parameters"]["code"], "upstream-timeout");
    }
}

#[tokio::test]
async fn the_problem_with_the_highest_status_is_sent_when_both_lists_fail() {
    let aux = aux(Some(denied()), Some(throttled())).await;
    let gateway = Gateway::before(&aux, &[]).await;
    gateway.get("/inventory").await.assert_problem(503, "aws-throttled");
    assert_eq!(gateway.get("/inventory").await.header("retry-after"), Some("60"));
}
