//! The logs of the services, and the IDs that identify a request in them.

use e2e::{refusals, stack::Stack};
use reqwest::Method;
use serde_json::Value;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn telling_all() -> Stack {
    Stack::with(|aux| aux.with("ACCESS_LOG", "all"), |main| main.with("ACCESS_LOG", "all")).await
}

#[tokio::test]
async fn the_ids_of_a_caller_reach_every_service_and_its_log() {
    let stack = telling_all().await;
    let ids = [("x-request-id", "order-17/a"), ("traceparent", CALLER), ("tracestate", "vendor=1")];
    let reply = stack.main.send(Method::GET, "/buckets", &ids).await;
    assert_eq!(reply.header("x-request-id"), Some("order-17/a"));

    let passed_on = &stack.between.requests("/buckets")[0];
    assert_eq!(passed_on.header("x-request-id"), Some("order-17/a"));
    assert_eq!(passed_on.header("tracestate"), Some("vendor=1"));
    let [version, trace, span, flags] = parts(passed_on.header("traceparent").unwrap());
    assert_eq!((&*version, &*trace, &*flags), ("00", TRACE, "01"));
    assert_ne!(span, "b7ad6b7169203331", "main-api's own step is a step of its own");

    for service in [&stack.main, &stack.aux] {
        let line = service.log_line(|line| line["route"] == "/buckets").await;
        assert_eq!(line["request_id"], "order-17/a", "{}: {line}", service.name);
        assert_eq!(line["trace_id"], TRACE, "{}: {line}", service.name);
    }
}

#[tokio::test]
async fn ids_are_made_for_a_caller_that_has_none_or_bad_ones() {
    let stack = telling_all().await;
    let bad_id = "x".repeat(4000);
    let bad = [
        [("x-request-id", &*bad_id), ("traceparent", "nonsense")],
        [("x-request-id", "a b"), ("traceparent", &CALLER.replace(TRACE, &"0".repeat(32)))],
    ];
    let mut seen = Vec::new();
    for headers in [&[][..], &[], &bad[0], &bad[1]] {
        let reply = stack.main.send(Method::GET, "/buckets", headers).await;
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert!((8..=128).contains(&id.len()), "{id}");
        let passed_on = stack.between.requests("/buckets").pop().unwrap();
        assert_eq!(passed_on.header("x-request-id"), Some(&*id));
        let [version, trace, span, _] = parts(passed_on.header("traceparent").unwrap());
        assert_eq!((&*version, trace.len(), span.len()), ("00", 32, 16));
        assert_ne!(trace, "0".repeat(32));
        let line = stack.aux.log_line(|line| line["request_id"] == *id).await;
        assert_eq!(line["trace_id"], *trace);
        seen.extend([id, trace]);
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "ids are used twice: {seen:?}");
}

#[tokio::test]
async fn a_failure_is_logged_once_with_its_cause_by_the_service_that_met_it() {
    let stack = Stack::start().await;
    stack.aws.proxy.fail("ListBuckets", refusals::s3_expired());
    let reply = stack.main.get("/buckets").await;
    reply.problem(502, "aws-credentials");
    let id = reply.header("x-request-id").unwrap();
    for service in [&stack.aux, &stack.main] {
        let line = service.log_line(|line| line["request_id"] == id && line["status"] == 502).await;
        assert_eq!(line["code"], "aws-credentials", "{line}");
        assert_eq!(line["route"], "/buckets", "{line}");
        assert_eq!(line["method"], "GET", "{line}");
        assert!(line["duration_ms"].is_number(), "{line}");
        let about: Vec<Value> =
            lines(&service.log()).filter(|line| line["request_id"] == id).collect();
        assert_eq!(about.len(), 1, "{}: {about:#?}", service.name);
    }
    let line = stack.aux.log_line(|line| line["request_id"] == id).await;
    let cause = line["cause"].as_str().unwrap_or_default();
    assert!(cause.contains("ExpiredToken"), "an operator sees what AWS said: {line}");
}

#[tokio::test]
async fn by_default_only_failures_are_logged() {
    let stack = Stack::start().await;
    stack.main.get("/buckets").await.ok();
    stack.main.get("/param/app/none").await.problem(404, "parameter-not-found");
    stack.aws.proxy.fail("ListBuckets", refusals::s3_expired());
    let failed = stack.main.get("/buckets").await;
    // The log is in order, so the last request's line comes after those of all earlier requests.
    for service in [&stack.aux, &stack.main] {
        let id = failed.header("x-request-id").unwrap();
        service.log_line(|line| line["request_id"] == id).await;
        let logged: Vec<Value> =
            lines(&service.log()).filter(|line| !line["status"].is_null()).collect();
        assert_eq!(logged.len(), 1, "{}: {logged:#?}", service.name);
    }
}

#[tokio::test]
async fn no_request_is_logged_when_the_access_log_is_off() {
    let mut stack =
        Stack::with(|aux| aux.with("ACCESS_LOG", "off"), |main| main.with("ACCESS_LOG", "off"))
            .await;
    stack.aws.proxy.fail("ListBuckets", refusals::s3_expired());
    stack.main.get("/buckets").await.problem(502, "aws-credentials");
    for service in [&mut stack.main, &mut stack.aux] {
        service.terminate().await;
        let logged = lines(&service.log()).filter(|line| !line["status"].is_null()).count();
        assert_eq!(logged, 0, "{}: {}", service.name, service.log());
    }
}

#[tokio::test]
async fn every_line_of_a_log_is_json() {
    let mut stack = telling_all().await;
    stack.aws.put("/app/key", "hush").await;
    for path in ["/buckets", "/param/app/key", "/param/%0Ainjected", "/%0A%7B%22level%22%3A1%7D"] {
        stack.main.get(path).await;
    }
    for service in [&mut stack.main, &mut stack.aux] {
        service.terminate().await;
        // Parsing checks the lines: it panics at a line that is no JSON.
        for line in lines(&service.log()) {
            for member in ["timestamp", "level", "message"] {
                assert!(line[member].is_string(), "{}: {line}", service.name);
            }
        }
        let logged = lines(&service.log()).filter(|line| !line["status"].is_null()).count();
        assert!(logged >= 3, "{}: {}", service.name, service.log());
    }
}

fn lines(log: &str) -> impl Iterator<Item = Value> {
    log.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
    })
}

fn parts(traceparent: &str) -> [String; 4] {
    let parts: Vec<_> = traceparent.split('-').map(str::to_owned).collect();
    parts.try_into().unwrap_or_else(|_| panic!("no traceparent: {traceparent}"))
}
