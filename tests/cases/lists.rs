//! Lists of many pages, which load for longer than a request waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use e2e::{
    fake_aws::{Account, Call, Delivery, FakeAws, Reply},
    http::Reply as Response,
    refusals,
    service::{self, Service, Setup},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

/// The time limit for a list of these tests, on a machine that is busy with other work.
const LIMIT: Duration = Duration::from_secs(60);

/// The lists, and the member of the response that holds each.
const LISTS: [(&str, &str, &str); 3] = [
    ("/params", "DescribeParameters", "parameters"),
    ("/buckets", "ListBuckets", "buckets"),
    ("/values/app", "GetParametersByPath", "values"),
];

/// Settings of aux-service with a cache and a deadline of a second.
fn aux(aws: &FakeAws) -> Setup {
    service::aux_at(&aws.url)
        .with("CACHE", "on")
        .with("AWS_ATTEMPT_TIMEOUT", "700ms")
        .with("AWS_OPERATION_TIMEOUT", "900ms")
        .with("AWS_LIST_TIMEOUT", "950ms")
        .with("REQUEST_TIMEOUT", "1s")
}

/// Starts an AWS with this number of pages in each list, each of which takes a tenth of a second.
async fn slow_aws(pages: usize) -> FakeAws {
    let account = Account { page: 10, ..Account::of(10 * pages) };
    FakeAws::start(move |call| account.reply(call).after(Duration::from_millis(100))).await
}

/// Sends a request until its list has loaded.
async fn loaded(service: &Service, path: &str) -> Response {
    let poll = async {
        loop {
            let reply = service.get(path).await;
            if reply.status == 200 {
                return reply;
            }
            reply.problem(503, "list-loading");
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, poll).await.expect("the list loads")
}

/// Sends a request and checks that its response is the progress of a list.
async fn progress(service: &Service, path: &str) -> Value {
    let problem = service.get(path).await.problem(503, "list-loading");
    assert_eq!(problem["retryable"], true);
    let progress = problem["progress"].clone();
    let pages = progress["pages"].as_u64().unwrap();
    assert!(pages > 0 && progress["names"] == 10 * pages, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(&format!("{pages} of its pages")));
    progress
}

#[tokio::test]
async fn a_list_arrives_although_aws_throttles_one_call_in_ten() {
    const NAMES: usize = 2_300;
    let account = Account::of(NAMES);
    let expected = account.parameters.clone();
    let aws = FakeAws::start(move |call| {
        if call.nth % 10 == 0 { refusals::ssm_throttled().into() } else { account.reply(call) }
    })
    .await;
    let aux = aux(&aws).with("AWS_RATE_LIST", "40").start().await;
    let main = service::main_api(&aux.url).start().await;
    assert_eq!(loaded(&main, "/params").await.ok()["parameters"], json!(expected));
    let calls = aws.calls("DescribeParameters");
    assert!(calls <= NAMES / 50 * 12 / 10, "1.2 calls a page: {calls}");
    let metrics = aux.get("/metrics").await.body;
    for (outcome, count) in [("ok", 46), ("throttled", calls - 46), ("shielded", 0)] {
        let line = format!(
            "aws_requests_total{{operation=\"DescribeParameters\",outcome=\"{outcome}\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn pages_that_fail_in_any_passing_way_are_read_again() {
    let account = Account { page: 10, ..Account::of(120) };
    let expected = account.parameters.clone();
    let aws = FakeAws::start(move |call: &Call| {
        let reply = account.reply(call);
        // The SDK makes a second attempt by itself, so each failure happens twice.
        match call.nth {
            2 | 3 => refusals::ssm(500, "InternalServerError", "").into(),
            5 | 6 => reply.delivered(Delivery::Cut),
            8 | 9 => reply.delivered(Delivery::Reset),
            11 | 12 => reply.delivered(Delivery::Garbled),
            14 | 15 => reply.delivered(Delivery::Hang),
            17 => refusals::ssm(400, "InvalidNextToken", "").into(),
            _ => reply,
        }
    })
    .await;
    let aux = aux(&aws).with("AWS_LIST_TIMEOUT", "60s").start().await;
    assert_eq!(loaded(&aux, "/params").await.ok()["parameters"], json!(expected));
}

#[tokio::test]
async fn a_request_that_a_list_outlasts_is_told_its_progress_by_both_services() {
    let aws = slow_aws(60).await;
    let aux = aux(&aws).start().await;
    let main = service::main_api(&aux.url)
        .with("BREAKER_CONSECUTIVE_FAILURES", "2")
        .with("BREAKER_MIN_CALLS", "2")
        .start()
        .await;
    let lists = LISTS.map(async |(path, operation, member)| {
        let first = progress(&aux, path).await;
        for _ in 0..2 {
            let later = progress(&main, path).await;
            assert!(later["pages"].as_u64() > first["pages"].as_u64(), "{later} after {first}");
        }
        main.get("/param/app/00007").await.ok();
        let list = loaded(&main, path).await.ok()[member].clone();
        let size = list.as_array().map(Vec::len).or(list.as_object().map(serde_json::Map::len));
        assert_eq!(size, Some(600), "{path}");
        assert_eq!(aws.calls(operation), 60, "{path}: one load for all requests");
    });
    let [a, b, c] = lists;
    tokio::join!(a, b, c);
    let circuits = main.get("/status").await.ok()["circuits"].clone();
    assert!(circuits.as_object().unwrap().values().all(|state| state == "closed"), "{circuits}");
}

#[tokio::test]
async fn the_previous_list_is_served_while_the_next_one_loads() {
    let (slow, account) = (Arc::new(AtomicBool::new(false)), Account::of(100));
    let grown = Account { page: 4, ..Account::of(120) };
    let is_slow = Arc::clone(&slow);
    let aws = FakeAws::start(move |call| {
        if is_slow.load(SeqCst) {
            grown.reply(call).after(Duration::from_millis(100))
        } else {
            account.reply(call)
        }
    })
    .await;
    let aux = aux(&aws)
        .with("CACHE_TTL", "100ms")
        .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
        .start()
        .await;
    let before = aux.get("/params").await.ok();
    slow.store(true, SeqCst);
    sleep(Duration::from_millis(200)).await;
    // The first request waits for the new list until its deadline. Later ones do not.
    let first = aux.get("/params").await;
    let started = Instant::now();
    let second = aux.get("/params").await;
    assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
    for stale in [first, second] {
        assert_eq!(stale.ok(), before);
        let status = stale.header("cache-status").unwrap();
        assert!(status.ends_with("detail=stale-if-error"), "{status}");
    }
    let arrives = async {
        while aux.get("/params").await.ok()["parameters"].as_array().unwrap().len() != 120 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, arrives).await.expect("the new list replaces the old one");
}

#[tokio::test]
async fn a_list_completes_without_any_client() {
    let aws = slow_aws(15).await;
    let aux = aux(&aws).start().await;
    let leaving = timeout(Duration::from_millis(300), aux.get("/params")).await;
    assert!(leaving.is_err(), "the client leaves before the list arrives");
    let completes = async {
        while aws.calls("DescribeParameters") < 15 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, completes).await.expect("the load continues");
    loaded(&aux, "/params").await.ok();
    assert_eq!(aws.calls("DescribeParameters"), 15);
}

#[tokio::test]
async fn a_list_that_loads_does_not_delay_the_end_of_the_service() {
    let aws = slow_aws(600).await;
    let mut aux = aux(&aws).start().await;
    progress(&aux, "/params").await;
    let started = Instant::now();
    assert!(aux.terminate().await.success());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let calls = aws.calls("DescribeParameters");
    assert!(calls < 600, "the load ends with the process: {calls}");
}

#[tokio::test]
async fn a_repeated_page_token_and_a_final_error_end_a_list() {
    let aws = FakeAws::start(|call| match (&*call.operation, call.nth) {
        ("ListBuckets", 1) => Account { page: 1, ..Account::of(3) }.reply(call),
        ("ListBuckets", _) => refusals::s3_denied().into(),
        _ => Reply::json(&json!({ "Parameters": [], "NextToken": (call.nth % 2).to_string() })),
    })
    .await;
    let aux = aux(&aws).start().await;
    aux.get("/params").await.problem(502, "aws-unavailable");
    assert_eq!(aws.calls("DescribeParameters"), 3);
    aux.get("/buckets").await.problem(403, "aws-access-denied");
    assert_eq!(aws.calls("ListBuckets"), 2);
}
