//! No client waits beyond its deadline, even if a part of the system hangs.

use std::time::Duration;

use e2e::{
    http::Reply,
    proxy::Fault,
    service::{Service, Setup},
    stack::{Stack, each_route},
};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

/// The time that a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(2);

/// Settings of aux-service with short timeouts: 200 ms for an attempt, 500 ms for a call to AWS,
/// one second for a request.
fn impatient(aux: Setup) -> Setup {
    aux.with("AWS_ATTEMPT_TIMEOUT", "200ms")
        .with("AWS_OPERATION_TIMEOUT", "500ms")
        .with("REQUEST_TIMEOUT", "1s")
}

/// Sends a request, and returns the response and its duration.
async fn timed(service: &Service, path: &str, headers: &[(&str, &str)]) -> (Reply, Duration) {
    let start = Instant::now();
    let reply = service.send(Method::GET, path, headers).await;
    (reply, start.elapsed())
}

#[tokio::test]
async fn an_aws_that_hangs_is_given_up() {
    let stack = Stack::with(impatient, |main| main).await;
    stack.aws.create_bucket("deadlines-stall").await;
    stack.aws.put("/app/key", "hush: this is the value").await;
    for fault in [Fault::Hang, Fault::Stall] {
        stack.aws.proxy.fail_all(fault.clone());
        each_route(async |path, _| {
            for service in [&stack.aux, &stack.main] {
                let (reply, took) = timed(service, path, &[]).await;
                let problem = reply.problem(504, "aws-timeout");
                assert_eq!(problem["retryable"], true);
                assert!(took < Duration::from_secs(1) + SLACK, "{fault:?} {path}: {took:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn one_attempt_that_hangs_is_invisible_to_the_client() {
    let stack = Stack::with(|aux| aux.with("AWS_ATTEMPT_TIMEOUT", "1s"), |main| main).await;
    stack.aws.put("/app/key", "hush").await;
    each_route(async |path, operation| {
        stack.aws.proxy.fail_nth(operation, 1, Fault::Hang);
        stack.main.get(path).await.ok();
        assert_eq!(stack.aws.proxy.calls(operation), 2, "{operation}");
    })
    .await;
}

#[tokio::test]
async fn many_pages_that_are_each_in_time_do_not_outlast_the_request() {
    let stack = Stack::with(
        |aux| {
            aux.with("AWS_ATTEMPT_TIMEOUT", "800ms")
                .with("AWS_OPERATION_TIMEOUT", "900ms")
                .with("REQUEST_TIMEOUT", "1s")
        },
        |main| main,
    )
    .await;
    for number in 0..130 {
        stack.aws.put(&format!("/app/{number}"), "hush").await;
    }
    // Thirteen pages take four seconds.
    stack.aws.proxy.fail_all(Fault::Delay(Duration::from_millis(300)));
    for path in ["/params", "/values/app"] {
        // A caller that sends a deadline of an hour does not change that.
        let (reply, took) = timed(&stack.aux, path, &[(DEADLINE, "3600000")]).await;
        reply.problem(504, "aws-timeout");
        assert!(took < Duration::from_secs(1) + SLACK, "{path}: {took:?}");
    }
}

#[tokio::test]
async fn an_aux_service_that_hangs_is_given_up() {
    let stack = Stack::with(
        |aux| aux,
        |main| main.with("ATTEMPT_TIMEOUT", "300ms").with("REQUEST_TIMEOUT", "900ms"),
    )
    .await;
    stack.aws.put("/app/key", "hush").await;
    for fault in [Fault::Hang, Fault::Stall] {
        stack.between.fail_all(fault.clone());
        let given_up = async |path| {
            let (reply, took) = timed(&stack.main, path, &[]).await;
            let problem = reply.problem(504, "upstream-timeout");
            assert_eq!(problem["retryable"], true);
            assert!(took < Duration::from_millis(900) + SLACK, "{fault:?} {path}: {took:?}");
        };
        tokio::join!(given_up("/inventory"), each_route(async |path, _| given_up(path).await));
    }
}

#[tokio::test]
async fn a_part_of_the_inventory_that_hangs_does_not_take_the_other_with_it() {
    let stack = Stack::with(
        |aux| aux,
        |main| main.with("ATTEMPT_TIMEOUT", "1s").with("REQUEST_TIMEOUT", "3s"),
    )
    .await;
    stack.between.fail("/params", Fault::Hang);
    // In the first round the attempt times out, in the second the whole request does.
    for headers in [&[][..], &[(DEADLINE, "700")]] {
        let (reply, took) = timed(&stack.main, "/inventory", headers).await;
        let inventory = reply.ok();
        assert_eq!(inventory["buckets"], json!([]));
        assert_eq!(inventory["parameters"], json!(null));
        assert_eq!(inventory["errors"]["parameters"]["code"], "upstream-timeout");
        assert!(took < Duration::from_secs(3) + SLACK, "{took:?}");
    }
}

#[tokio::test]
async fn a_caller_shortens_the_deadline() {
    let stack = Stack::start().await;
    stack.aws.proxy.fail_all(Fault::Hang);
    for (service, code) in [(&stack.aux, "aws-timeout"), (&stack.main, "upstream-timeout")] {
        let (reply, took) = timed(service, "/buckets", &[(DEADLINE, "200")]).await;
        assert_eq!(reply.status, 504, "{reply:?}");
        // aux-service times out at the same moment, so the problem may come from either service.
        let received = reply.json()["code"].clone();
        assert!(received == code || received == "aws-timeout", "{reply:?}");
        assert!(took < Duration::from_millis(200) + SLACK, "{}: {took:?}", service.name);
    }
}

#[tokio::test]
async fn main_api_sends_its_remaining_time_to_aux_service() {
    let stack = Stack::with(
        |aux| aux,
        |main| main.with("ATTEMPT_TIMEOUT", "4s").with("REQUEST_TIMEOUT", "5s"),
    )
    .await;
    stack.main.get("/buckets").await.ok();
    stack.main.send(Method::GET, "/buckets", &[(DEADLINE, "700")]).await.ok();
    stack.main.send(Method::GET, "/buckets", &[(DEADLINE, "soon")]).await.ok();
    let budgets: Vec<u64> = stack
        .between
        .requests("/buckets")
        .iter()
        .map(|request| request.header(DEADLINE).unwrap().parse().unwrap())
        .collect();
    assert!((3000..=5000).contains(&budgets[0]), "{budgets:?}");
    assert!((1..=700).contains(&budgets[1]), "{budgets:?}");
    assert!((3000..=5000).contains(&budgets[2]), "nonsense is no deadline: {budgets:?}");
}

const DEADLINE: &str = "x-envoy-expected-rq-timeout-ms";
