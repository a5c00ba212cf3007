//! Lists that load for longer than a request waits.

use std::time::Duration;

use e2e::{
    engine::Engine,
    fake_aws::{Account, FakeAws},
    fleet::{replica, start_replicas},
    service::{Service, Setup},
};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::stored;

/// The time limit for a list of these tests, on a machine that is busy with other work.
const LIMIT: Duration = Duration::from_secs(60);

const PAGES: usize = 60;

/// The lists, and the member of the response that holds each.
const LISTS: [(&str, &str, &str); 3] = [
    ("/params", "DescribeParameters", "parameters"),
    ("/buckets", "ListBuckets", "buckets"),
    ("/values/app", "GetParametersByPath", "values"),
];

/// Starts an AWS whose lists have sixty pages, each of which takes a tenth of a second.
async fn slow_aws() -> FakeAws {
    let account = Account { page: 10, ..Account::of(10 * PAGES) };
    FakeAws::start(move |call| account.reply(call).after(Duration::from_millis(100))).await
}

/// Settings with a deadline of a second.
fn setup(aws: &FakeAws, engine: &Engine) -> Setup {
    replica(&aws.url, &engine.url())
        .with("SHARED_CACHE_TIMEOUT", "500ms")
        .with("AWS_ATTEMPT_TIMEOUT", "700ms")
        .with("AWS_OPERATION_TIMEOUT", "900ms")
        .with("AWS_LIST_TIMEOUT", "950ms")
        .with("REQUEST_TIMEOUT", "1s")
}

/// Sends a request until its list has loaded, and returns the number of its items.
async fn loaded(service: &Service, path: &str, member: &str) -> usize {
    let poll = async {
        loop {
            let reply = service.get(path).await;
            if reply.status == 200 {
                return reply.ok()[member].clone();
            }
            // On a busy machine the first page may take longer than the deadline of a second.
            match reply.status {
                504 => reply.problem(504, "aws-timeout"),
                _ => reply.problem(503, "list-loading"),
            };
            sleep(Duration::from_millis(50)).await;
        }
    };
    match timeout(LIMIT, poll).await.expect("the list loads") {
        Value::Array(items) => items.len(),
        Value::Object(items) => items.len(),
        other => panic!("{other} is no list"),
    }
}

#[tokio::test]
async fn a_list_that_one_replica_loads_is_reported_by_the_others_and_loaded_by_none() {
    let (aws, engine) = tokio::join!(slow_aws(), Engine::start());
    let replicas = start_replicas(3, &setup(&aws, &engine)).await;
    let lists = LISTS.map(async |(path, operation, member)| {
        replicas[0].get(path).await.problem(503, "list-loading");
        for replica in &replicas[1..] {
            let problem = replica.get(path).await.problem(503, "list-loading");
            assert_eq!(problem["retryable"], true);
            assert!(problem["progress"]["pages"].as_u64() > Some(0), "{problem}");
        }
        for replica in &replicas {
            assert_eq!(loaded(replica, path, member).await, 10 * PAGES, "{path}");
        }
        assert_eq!(aws.calls(operation), PAGES, "{path}: one load for all replicas");
    });
    let [a, b, c] = lists;
    tokio::join!(a, b, c);
}

#[tokio::test]
async fn a_list_whose_replica_dies_is_loaded_by_another() {
    let (aws, engine) = tokio::join!(slow_aws(), Engine::start());
    let mut replicas = start_replicas(2, &setup(&aws, &engine)).await;
    replicas[0].get("/params").await.problem(503, "list-loading");
    replicas[1].get("/params").await.problem(503, "list-loading");
    // Dropping a service kills it.
    drop(replicas.remove(0));
    assert_eq!(loaded(&replicas[0], "/params", "parameters").await, 10 * PAGES);
}

#[tokio::test]
async fn the_descriptions_of_ten_thousand_parameters_are_loaded_once() {
    const NAMES: usize = 10_000;
    let account = Account::of(NAMES);
    let aws = FakeAws::start(move |call| account.reply(call)).await;
    let engine = Engine::start().await;
    let replicas = start_replicas(2, &setup(&aws, &engine)).await;
    for replica in &replicas {
        assert_eq!(loaded(replica, "/params", "parameters").await, NAMES);
        stored(&engine).await;
    }
    assert_eq!(aws.calls("DescribeParameters"), NAMES / 50, "one load for both replicas");
}
