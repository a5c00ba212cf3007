//! Tests of `/inventory`: both lists at once, and the rest of the response when a part fails.

use std::time::Duration;

use e2e::{http::check_problem, proxy::Fault, refusals, stack::Stack};
use serde_json::json;
use tokio::time::Instant;

#[tokio::test]
async fn the_inventory_is_both_lists() {
    let stack = Stack::start().await;
    stack.aws.create_bucket("inventory-whole").await;
    stack.aws.put("/app/key", "hush").await;
    assert_eq!(
        stack.main.get("/inventory").await.ok(),
        json!({
            "main_version": "main-1", "aux_version": "aux-1",
            "buckets": ["inventory-whole"], "parameters": ["/app/key"], "errors": {},
        })
    );
}

#[tokio::test]
async fn both_lists_are_fetched_at_the_same_time() {
    let stack = Stack::start().await;
    let pause = Duration::from_secs(1);
    stack.between.fail_all(Fault::Delay(pause));
    let start = Instant::now();
    stack.main.get("/inventory").await.ok();
    assert!(start.elapsed() < 2 * pause, "one after the other: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_part_that_failed_is_null_and_says_why() {
    let stack = Stack::start().await;
    stack.aws.put("/app/key", "hush").await;
    stack.aws.proxy.fail("ListBuckets", refusals::s3_denied());
    let reply = stack.main.get("/inventory").await;
    let inventory = reply.ok();
    assert_eq!(inventory["parameters"], json!(["/app/key"]));
    assert_eq!(inventory["buckets"], json!(null));
    let problem = &inventory["errors"]["buckets"];
    check_problem(problem);
    assert_eq!((&problem["code"], &problem["status"]), (&json!("aws-access-denied"), &json!(403)));
    assert_eq!(problem["request_id"].as_str(), reply.header("x-request-id"));
    assert_eq!(inventory["errors"].as_object().unwrap().len(), 1, "{inventory}");
    assert_eq!(inventory["aux_version"], "aux-1");

    stack.aws.proxy.heal();
    stack.aws.proxy.fail("DescribeParameters", refusals::ssm_denied());
    let inventory = stack.main.get("/inventory").await.ok();
    assert_eq!((&inventory["buckets"], &inventory["parameters"]), (&json!([]), &json!(null)));
    assert_eq!(inventory["errors"]["parameters"]["code"], "aws-access-denied");
}

#[tokio::test]
async fn an_inventory_without_any_part_is_the_problem_with_the_highest_status() {
    let stack = Stack::start().await;
    stack.aws.proxy.fail("ListBuckets", refusals::s3_denied());
    stack.aws.proxy.fail("DescribeParameters", refusals::ssm_expired());
    stack.main.get("/inventory").await.problem(502, "aws-credentials");

    stack.aws.proxy.heal();
    stack.aws.proxy.fail("ListBuckets", refusals::s3_expired());
    stack.aws.proxy.fail("DescribeParameters", refusals::ssm_denied());
    stack.main.get("/inventory").await.problem(502, "aws-credentials");
}

#[tokio::test]
async fn an_inventory_without_aux_service_is_a_problem() {
    let stack = Stack::start().await;
    stack.between.fail_all(Fault::Reset);
    stack.main.get("/inventory").await.problem(502, "upstream-unavailable");
}
