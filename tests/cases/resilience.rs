//! The parts that protect clients from failures: cache, quota limiter, retry, circuit breaker.

use std::time::Duration;

use e2e::{proxy::Fault, refusals, service::Setup, stack::Stack};
use tokio::time::{sleep, timeout};

fn remembering(setup: Setup) -> Setup {
    setup.with("CACHE", "on")
}

#[tokio::test]
async fn a_cached_response_costs_no_call_to_aws() {
    let stack = Stack::with(remembering, remembering).await;
    stack.aws.put("/app/key", "hush").await;
    let first = stack.main.get("/param/app/key").await;
    let second = stack.main.get("/param/app/key").await;
    assert_eq!(first.ok(), second.ok());
    assert_eq!((stack.aws.proxy.all_calls(), stack.between.calls("/param/app/key")), (1, 1));
    assert!(second.header("cache-status").unwrap().contains("hit"), "{second:?}");
    assert!(second.header("age").is_some(), "{second:?}");
}

#[tokio::test]
async fn concurrent_equal_requests_make_one_call() {
    let stack = Stack::with(remembering, remembering).await;
    stack.aws.put("/app/key", "hush").await;
    stack.aws.proxy.fail_all(Fault::Delay(Duration::from_millis(500)));
    let ask = async || stack.main.get("/param/app/key").await.ok();
    tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask());
    assert_eq!(stack.aws.proxy.all_calls(), 1);
}

#[tokio::test]
async fn a_stale_entry_is_served_while_aws_throttles() {
    let old_soon = |aux: Setup| {
        remembering(aux).with("CACHE_TTL", "100ms").with("CACHE_STALE_WHILE_REVALIDATE", "0s")
    };
    let stack = Stack::with(old_soon, |main| main).await;
    stack.aws.put("/app/key", "hush").await;
    stack.main.get("/param/app/key").await.ok();
    stack.aws.proxy.fail_all(refusals::ssm_throttled());
    // The cache uses the clock of the process, so the time to live must really pass.
    sleep(Duration::from_millis(150)).await;
    let stale = stack.main.get("/param/app/key").await;
    assert_eq!(stale.ok()["value"], "hush");
    assert!(stack.aws.proxy.all_calls() >= 2, "AWS was called before the stale response");
    // A definitive error of AWS for the parameter itself takes precedence over a stale entry.
    stack.aws.proxy.fail_all(refusals::ssm_denied());
    let denied = async {
        while stack.main.get("/param/app/key").await.status == 200 {
            sleep(Duration::from_millis(20)).await;
        }
        stack.main.get("/param/app/key").await.problem(403, "aws-access-denied");
    };
    timeout(Duration::from_secs(20), denied).await.expect("the denial replaces the entry");
}

#[tokio::test]
async fn a_used_up_quota_spares_aws() {
    let stack = Stack::with(|aux| aux.with("AWS_RATE_LIST", "1"), |main| main).await;
    stack.main.get("/params").await.ok();
    let problem = stack.main.get("/params").await.problem(503, "aws-throttled");
    assert_eq!(problem["retryable"], true);
    assert_eq!(stack.aws.proxy.all_calls(), 1);
}

#[tokio::test]
async fn a_brief_failure_of_aux_service_is_retried() {
    let stack = Stack::with(|aux| aux, |main| main.with("RETRY_MAX_ATTEMPTS", "3")).await;
    for fault in [Fault::Reset, Fault::Truncate] {
        let nth = stack.between.calls("/buckets") + 1;
        stack.between.fail_nth("/buckets", nth, fault);
        stack.main.get("/buckets").await.ok();
        assert_eq!(stack.between.calls("/buckets"), nth + 1);
    }
}

#[tokio::test]
async fn an_open_circuit_spares_aux_service_and_closes_again() {
    let stack = Stack::with(
        |aux| aux,
        |main| main.with("BREAKER_CONSECUTIVE_FAILURES", "2").with("BREAKER_OPEN_FOR", "1s"),
    )
    .await;
    stack.between.fail_all(Fault::Reset);
    for _ in 0..2 {
        stack.main.get("/buckets").await.problem(502, "upstream-unavailable");
    }
    let problem = stack.main.get("/buckets").await.problem(503, "circuit-open");
    assert_eq!(problem["retryable"], true);
    assert_eq!(stack.between.all_calls(), 2);
    stack.main.get("/params").await.problem(502, "upstream-unavailable");

    stack.between.heal();
    let closed = async {
        while stack.main.get("/buckets").await.status != 200 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), closed).await.expect("the circuit closes");
    stack.main.get("/params").await.ok();
}
