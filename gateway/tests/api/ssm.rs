//! AWS's own protocol on main-api: the calls of aux-service, the entries, and the errors that an SDK
//! gets.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    aux_double::{Act, Aux, Reply, Seen, healthy, problem, problem_with, response},
    gateway::{Answer, Gateway},
    process::Process,
};

const ON: &str = "--cache=on";

const AWS_JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");

/// The spelling differs from that of this project's writer, and one member is unknown to it.
const FOUND: &str =
    r#"{ "Parameter" : {"Name":"/a","New":1.50,"Value":"caf\u00e9\/é","Version":3} }"#;

const ONE: &str = r#"{"Name":"/a"}"#;

fn body(seen: &Seen) -> &'static str {
    match seen.header("x-amz-target").expect("a target") {
        "AmazonSSM.GetParameter" => FOUND,
        "AmazonSSM.GetParameters" => {
            r#"{"InvalidParameters":["/x"],"Parameters":[{"Name":"/a","Value":"1"}]}"#
        }
        "AmazonSSM.GetParametersByPath" => {
            r#"{"NextToken":"MTph","Parameters":[{"Name":"/a","Value":"1"}]}"#
        }
        "AmazonSSM.DescribeParameters" => r#"{"Parameters":[{"Name":"/a"}]}"#,
        target => panic!("no such operation: {target}"),
    }
}

fn fresh_for(cache_control: &'static str, age: &'static str) -> impl Fn(&Seen) -> Reply + Clone {
    move |seen| {
        let headers = [
            AWS_JSON,
            ("cache-control", cache_control),
            ("age", age),
            ("cache-status", "aux-service; hit; ttl=53"),
        ];
        response(200, &headers, body(seen))
    }
}

/// The problem of a parameter that AWS does not have, as aux-service sends it to main-api.
fn not_found(name: &str, headers: &[(&str, &str)]) -> Reply {
    let error =
        format!(r#"{{"code":"ParameterNotFound","message":"Parameter {name} not found."}}"#);
    let member = format!(r#""aws_error":{error},"#);
    problem_with(&member, 404, "parameter-not-found", false, headers)
}

fn milliseconds(answer: &Answer) -> u64 {
    answer.header("x-amz-retry-after").expect("the header is set").parse().expect("a number")
}

#[tokio::test]
async fn a_fresh_entry_costs_one_call_and_is_the_body_of_aux_service_byte_for_byte() {
    let aux = Aux::start(fresh_for("max-age=60", "7")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    for request in
        [ONE, r#"{"WithDecryption":false,"Name":"/a"}"#, r#" {"Other":1,"Name" : "\/a"}"#]
    {
        let answer = gateway.ssm("GetParameter", request).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, FOUND), "{request}");
        assert_eq!(answer.header("content-type"), Some(AWS_JSON.1));
        assert_eq!(answer.header("x-amzn-requestid"), answer.header("x-request-id"));
        assert!(answer.header("age").is_some() && answer.header("etag").is_none(), "{answer:?}");
        let cache_control = answer.header("cache-control").expect("the header is set");
        assert!(cache_control.starts_with("max-age=60"), "{cache_control}");
        let cache_status = answer.header("cache-status").expect("the header is set");
        assert!(cache_status.starts_with("aux-service; hit; ttl=53, main-api; "), "{cache_status}");
    }
    assert_eq!(aux.calls(), 1);
    gateway.ssm("GetParameter", r#"{"Name":"/a","WithDecryption":true}"#).await;
    gateway.ssm("GetParameter", r#"{"Name":"a"}"#).await;
    assert_eq!(aux.calls(), 3, "another request has another entry");
}

#[tokio::test]
async fn each_operation_has_entries_of_its_own() {
    let aux = Aux::start(fresh_for("max-age=60", "0")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    let requests = [
        ("GetParameter", ONE, ONE),
        ("GetParameters", r#"{"Names":["/x","/a","/x"]}"#, r#"{"Names":["/x","/a"]}"#),
        (
            "GetParametersByPath",
            r#"{"Path":"/","NextToken":""}"#,
            r#"{"Path":"/","MaxResults":10}"#,
        ),
        ("GetParametersByPath", r#"{"Path":"/","MaxResults":1}"#, r#"{"Path":"/","MaxResults":1}"#),
        ("DescribeParameters", "{}", r#"{"MaxResults":10}"#),
    ];
    for _ in 0..2 {
        for (operation, request, _) in requests {
            assert_eq!(gateway.ssm(operation, request).await.status, 200, "{operation}");
        }
    }
    let sent: Vec<_> =
        aux.seen().into_iter().map(|seen| (seen.method, seen.path, seen.body)).collect();
    let expected = requests.map(|(_, _, body)| ("POST".into(), "/".into(), body.to_owned()));
    assert_eq!(sent, expected, "one call each, with the normal form of the request");
}

#[tokio::test]
async fn a_call_holds_no_header_of_the_client_and_the_token_of_main_api() {
    let directory = env!("CARGO_TARGET_TMPDIR");
    let (client, own) = ("the-token-of-the-client", "the-token-of-main-api");
    let [client_file, own_file] = [("client", client), ("own", own)].map(|(name, token)| {
        let file = format!("{directory}/ssm-{name}.tokens");
        std::fs::write(&file, format!("{token}\nanother-token-of-the-file\n")).unwrap();
        file
    });
    let aux = Aux::start(fresh_for("max-age=60", "0")).await;
    let flags =
        [ON, &format!("--auth-token-file={client_file}"), &format!("--aux-token-file={own_file}")];
    let gateway = Gateway::before(&aux, &flags).await;
    gateway.ssm("GetParameter", ONE).await.assert_aws_error(400, "UnrecognizedClientException");
    assert_eq!(aux.calls(), 0, "a request without a token makes no call");
    let headers = [
        ("authorization", "AWS4-HMAC-SHA256 Credential=AKIASECRET/x, Signature=abc"),
        ("x-amz-security-token", client),
        ("x-amz-date", "20260101T000000Z"),
        ("user-agent", "Boto3/1.40"),
        ("x-request-id", "order-17"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("cache-control", "no-cache"),
    ];
    assert_eq!(gateway.ssm_with("GetParameter", ONE, &headers).await.status, 200);
    let [seen] = &aux.seen()[..] else { panic!("one call") };
    let mut names: Vec<_> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "cache-control",
            "content-length",
            "content-type",
            "host",
            "traceparent",
            "x-amz-security-token",
            "x-amz-target",
            "x-envoy-expected-rq-timeout-ms",
            "x-request-id",
        ]
    );
    assert_eq!(seen.header("x-amz-security-token"), Some(own));
    assert_eq!(seen.header("accept"), Some("application/problem+json"));
    assert_eq!(seen.header("x-request-id"), Some("order-17"));
    assert_eq!(
        seen.header("cache-control"),
        Some("no-cache"),
        "a client with a token may revalidate"
    );
    assert_eq!(seen.header("x-envoy-expected-rq-timeout-ms"), Some("3800"));
    let traceparent = seen.header("traceparent").expect("it is sent");
    assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{traceparent}");
}

#[tokio::test]
async fn a_bad_request_gets_its_error_without_a_call() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    for (operation, body, code) in [
        ("GetParameter", "{}", "ValidationException"),
        ("GetParameter", "[]", "SerializationException"),
        ("GetParameter", r#"{"Name":"#, "SerializationException"),
        ("GetParameters", r#"{"Names":[]}"#, "ValidationException"),
        ("GetParametersByPath", r#"{"Path":"a"}"#, "ValidationException"),
        ("GetParametersByPath", r#"{"Path":"/","MaxResults":11}"#, "ValidationException"),
        ("GetParametersByPath", r#"{"Path":"/","NextToken":"?"}"#, "InvalidNextToken"),
        ("DescribeParameters", r#"{"Filters":[{}]}"#, "InvalidFilterKey"),
        ("PutParameter", ONE, "AccessDeniedException"),
        ("Invented", ONE, "UnknownOperationException"),
    ] {
        gateway.ssm(operation, body).await.assert_aws_error(400, code);
    }
    let long = "x".repeat(64 * 1024 + 1);
    gateway
        .ssm("GetParameter", &long)
        .await
        .assert_aws_error(413, "RequestEntityTooLargeException");
    let own = [("user-agent", "aws-sdk-rust/1.3 app/aux-service")];
    gateway
        .ssm_with("GetParameter", ONE, &own)
        .await
        .assert_aws_error(508, "LoopDetectedException");
    assert_eq!(aux.calls(), 0);
}

#[tokio::test]
async fn the_page_stays_where_it_is() {
    let aux = Aux::start(healthy).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    for method in ["GET", "HEAD"] {
        let page = gateway.head_of(method, "/").await;
        assert_eq!(page.status(), 200, "{method}");
        assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    }
    let refused = gateway.head_of("PUT", "/").await;
    assert_eq!(refused.status(), 405);
    assert_eq!(refused.headers()["allow"], "POST,GET,HEAD");
}

#[tokio::test]
async fn a_stale_entry_is_served_while_aux_service_fails() {
    let faults: [fn(&Seen) -> Reply; 4] = [
        |_| vec![Act::Reset],
        |_| vec![Act::Stall],
        |_| problem(503, "aws-throttled", true, &[("retry-after", "60")]),
        |_| response(500, &[], "oops"),
    ];
    for fault in faults {
        let aux = Aux::start(fresh_for("max-age=0, stale-if-error=60", "0")).await;
        let gateway = Gateway::before(&aux, &[ON, "--attempt-timeout=200ms"]).await;
        gateway.ssm("GetParameter", ONE).await;
        aux.behave(fault);
        let answer = gateway.ssm("GetParameter", ONE).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, FOUND));
        let status = answer.header("cache-status").expect("the header is set");
        assert!(status.contains("detail=stale-if-error"), "{status}");
    }
}

#[tokio::test]
async fn a_stale_entry_is_refreshed_in_the_background_without_a_condition() {
    let aux = Aux::start(fresh_for("max-age=0, stale-while-revalidate=60", "0")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    gateway.ssm("GetParameter", ONE).await;
    let newer = r#"{"Parameter":{"Name":"/a","Value":"newer"}}"#;
    aux.behave(move |seen| {
        assert_eq!(seen.header("if-none-match"), None, "the protocol has no conditions");
        response(200, &[AWS_JSON, ("cache-control", "max-age=60")], newer)
    });
    let stale = gateway.ssm("GetParameter", ONE).await;
    assert_eq!(stale.text, FOUND);
    let deadline = Instant::now() + Duration::from_secs(10);
    while gateway.ssm("GetParameter", ONE).await.text != newer {
        assert!(Instant::now() < deadline, "the entry stays stale");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(aux.calls(), 2);
}

#[tokio::test]
async fn a_parameter_that_aws_does_not_have_is_a_negative_entry() {
    let aux = Aux::start(|seen| {
        let name = if seen.body.contains("/b") { "/b" } else { "/a" };
        not_found(name, &[("cache-control", "max-age=7"), ("age", "2")])
    })
    .await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    for _ in 0..3 {
        let answer = gateway.ssm("GetParameter", ONE).await;
        answer.assert_aws_error(400, "ParameterNotFound");
        assert_eq!(answer.body["message"], "Parameter /a not found.");
        assert_eq!(answer.header("x-amz-retry-after"), None);
        let cache_control = answer.header("cache-control").expect("the header is set");
        assert!(["max-age=4", "max-age=3"].contains(&cache_control), "{cache_control}");
    }
    assert_eq!(aux.calls(), 1);
    let other = gateway.ssm("GetParameter", r#"{"Name":"/b"}"#).await;
    assert_eq!(other.body["message"], "Parameter /b not found.");
}

#[tokio::test]
async fn a_refusal_replaces_the_entry_and_is_not_stored() {
    for (status, code, expected) in [
        (404, "parameter-not-found", "ParameterNotFound"),
        (403, "parameter-not-allowed", "AccessDeniedException"),
    ] {
        let aux = Aux::start(fresh_for("max-age=0, stale-if-error=600", "0")).await;
        let gateway = Gateway::before(&aux, &[ON]).await;
        assert_eq!(gateway.ssm("GetParameter", ONE).await.status, 200);
        aux.behave(move |_| problem(status, code, false, &[]));
        for calls in [2, 3] {
            gateway.ssm("GetParameter", ONE).await.assert_aws_error(400, expected);
            assert_eq!(aux.calls(), calls);
        }
        aux.stop().await;
        gateway.ssm("GetParameter", ONE).await.assert_aws_error(500, "InternalServerError");
    }
}

#[tokio::test]
async fn a_secret_is_not_stored() {
    let aux = Aux::start(fresh_for("no-store", "0")).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    for calls in 1..=2 {
        let answer = gateway.ssm("GetParameter", r#"{"Name":"/a","WithDecryption":true}"#).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, FOUND));
        assert_eq!(answer.header("content-type"), Some(AWS_JSON.1));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(aux.calls(), calls);
    }
}

#[tokio::test]
async fn concurrent_requests_make_one_call() {
    let aux = Aux::start(|seen| {
        let mut reply = fresh_for("max-age=60", "0")(seen);
        reply.insert(0, Act::Wait(Duration::from_millis(300)));
        reply
    })
    .await;
    let gateway = Arc::new(Gateway::before(&aux, &[ON]).await);
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let gateway = Arc::clone(&gateway);
        clients.spawn(async move { gateway.ssm("GetParameter", ONE).await.status });
    }
    assert_eq!(clients.join_all().await, [200; 50]);
    assert_eq!(aux.calls(), 1);
}

#[tokio::test]
async fn a_failure_that_may_pass_is_retried_with_the_same_body() {
    for fault in [vec![Act::Close], problem(502, "aws-unavailable", true, &[])] {
        let mut faults = vec![fault.clone(), fault];
        let aux = Aux::start(move |seen| {
            faults.pop().unwrap_or_else(|| fresh_for("max-age=60", "0")(seen))
        })
        .await;
        let gateway = Gateway::before(&aux, &["--retry-backoff=1ms"]).await;
        assert_eq!(gateway.ssm("GetParameter", ONE).await.text, FOUND);
        let bodies: Vec<_> = aux.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies, [ONE; 3]);
    }
}

#[tokio::test]
async fn throttling_is_left_to_the_sdk() {
    let aux = Aux::start(|_| problem(503, "aws-throttled", true, &[("retry-after", "1")])).await;
    let gateway = Gateway::before(&aux, &["--retry-backoff=1ms"]).await;
    let answer = gateway.ssm("GetParameter", ONE).await;
    answer.assert_aws_error(400, "ThrottlingException");
    assert_eq!((answer.header("retry-after"), milliseconds(&answer)), (Some("1"), 1000));
    assert_eq!(aux.calls(), 1);
}

#[tokio::test]
async fn an_open_circuit_refuses_its_operation_alone_and_sends_the_pause() {
    let aux = Aux::start(|_| vec![Act::Reset]).await;
    let flags = ["--breaker-consecutive-failures=1", "--breaker-open-for=60s"];
    let gateway = Gateway::before(&aux, &flags).await;
    gateway.ssm("DescribeParameters", "{}").await;
    let calls = aux.calls();
    let answer = gateway.ssm("DescribeParameters", "{}").await;
    answer.assert_aws_error(503, "ServiceUnavailable");
    assert!(milliseconds(&answer) > 1000, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(aux.calls(), calls);
    let ready = gateway.get("/readyz").await;
    let circuits = &ready.body["dependencies"]["circuits"];
    assert_eq!(circuits["AmazonSSM.DescribeParameters"], "open");
    assert_eq!(circuits["AmazonSSM.GetParameter"], "closed");
    aux.behave(fresh_for("max-age=60", "0"));
    assert_eq!(gateway.ssm("GetParameter", ONE).await.status, 200);
}

#[tokio::test]
async fn a_timeout_and_an_outage_are_errors_that_sdks_retry() {
    let aux = Aux::start(|_| vec![Act::Stall]).await;
    let gateway = Gateway::before(&aux, &[ON]).await;
    let hurried = [("x-envoy-expected-rq-timeout-ms", "50")];
    let answer = gateway.ssm_with("GetParameter", ONE, &hurried).await;
    answer.assert_aws_error(503, "ServiceUnavailable");
    assert_eq!((answer.header("retry-after"), milliseconds(&answer)), (Some("1"), 1000));
    aux.stop().await;
    let gateway = Gateway::start("http://127.0.0.1:1", &[ON]).await;
    let answer = gateway.ssm("GetParameter", ONE).await;
    answer.assert_aws_error(500, "InternalServerError");
    assert_eq!((answer.header("retry-after"), milliseconds(&answer)), (Some("1"), 1000));
}

/// A client deletes data when a parameter does not exist, so only AWS's own statement counts.
#[tokio::test]
async fn an_invalid_response_is_an_outage_and_never_a_missing_parameter() {
    let error = r#"{"__type":"ParameterNotFound","message":"Parameter /a not found."}"#;
    let json = ("content-type", "application/json");
    for reply in [
        response(400, &[AWS_JSON], error),
        response(404, &[json], "{}"),
        problem(404, "not-found", false, &[]),
        problem(405, "method-not-allowed", false, &[]),
        problem(401, "unauthorized", false, &[]),
        response(200, &[json], FOUND),
        response(200, &[AWS_JSON], "{}"),
        response(200, &[AWS_JSON], r#"{"Parameters":[]}"#),
        response(200, &[AWS_JSON], r#"[{"Name":"/a","Value":"1"}]"#),
        response(200, &[AWS_JSON], r#"{"Parameter":{"Name":"/a","Value":null}}"#),
        response(200, &[AWS_JSON], r#"{"Parameter":{"Name":"/a","Value":"\ud800"}}"#),
        response(200, &[AWS_JSON], r#"{"Parameter":{"Name":"/a","Value":"1"}"#),
        response(304, &[], ""),
    ] {
        let aux = Aux::start(move |_| reply.clone()).await;
        let gateway = Gateway::before(&aux, &[ON]).await;
        let answer = gateway.ssm("GetParameter", ONE).await;
        answer.assert_aws_error(500, "InternalServerError");
        assert_eq!(aux.calls(), 1, "{:?}", aux.seen());
    }
}

#[tokio::test]
async fn calls_are_counted_by_operation_and_never_by_name() {
    let aux = Aux::start(fresh_for("max-age=60", "0")).await;
    let process = Process::start(&aux.url(), &[]).await;
    for _ in 0..2 {
        let status = process.ssm("GetParameter", r#"{"Name":"/secret-name"}"#).await;
        assert_eq!(status, 200);
    }
    process.ssm("PutParameter", "{}").await;
    let metrics = process.scrape().await;
    let route = ("route", "AmazonSSM.GetParameter");
    assert_eq!(metrics.value("upstream_requests_total", &[route, ("outcome", "ok")]), Some(1.0));
    let closed = [route, ("state", "closed")];
    assert_eq!(metrics.value("circuit_breaker_state", &closed), Some(1.0));
    for (endpoint, status, count) in
        [("AmazonSSM.GetParameter", "200", 2.0), ("AmazonSSM.other", "400", 1.0)]
    {
        let labels = [("method", "POST"), ("endpoint", endpoint), ("status", status)];
        assert_eq!(metrics.value("axum_http_requests_total", &labels), Some(count), "{endpoint}");
    }
    for outcome in ["hit", "miss"] {
        let labels = [("cache", "answers"), ("outcome", outcome)];
        assert_eq!(metrics.value("cache_requests_total", &labels), Some(1.0), "{outcome}");
    }
    assert!(!metrics.contain("secret-name") && !metrics.contain("PutParameter"));
}

#[tokio::test]
async fn made_up_lists_evict_no_other_entry() {
    let aux = Aux::start(|seen: &Seen| match seen.header("x-amz-target") {
        Some(_) => fresh_for("max-age=600", "0")(seen),
        None => healthy(seen),
    })
    .await;
    let gateway = Gateway::before(&aux, &[ON, "--cache-max-bytes=1MiB"]).await;
    gateway.ssm("GetParameter", ONE).await;
    let calls = aux.calls();
    for number in 0..1500 {
        let filter = format!(
            r#"{{"ParameterFilters":[{{"Key":"Name","Option":"Contains","Values":["{number}"]}}]}}"#
        );
        assert_eq!(gateway.ssm("DescribeParameters", &filter).await.status, 200);
    }
    assert_eq!(aux.calls(), calls + 1500);
    gateway.ssm("GetParameter", ONE).await;
    assert_eq!(aux.calls(), calls + 1500, "the entry of the parameter is still there");
}
