//! AWS's own protocol through all layers: bodies, connections, and errors in AWS's form.

use std::fs;

use service::observe::metrics::Exporter;
use tokio::io::AsyncWriteExt;

use crate::harness::{
    Server, assert_problem, assert_status, closing, eventually, head, rest, whole,
};

const TOKEN: &str = "a-token-of-a-client-0123";

/// A request of an SDK. `headers` end with a line break each.
fn request(operation: &str, headers: &str, body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-amz-json-1.1\r\n\
         x-amz-target: AmazonSSM.{operation}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn get(name: &str, headers: &str) -> String {
    request("GetParameter", headers, &format!(r#"{{"Name":"{name}"}}"#))
}

const CLOSE: &str = "connection: close\r\n";

#[track_caller]
fn assert_aws_error(response: &str, status: u16, code: &str) {
    assert_status(response, status);
    for part in [
        "content-type: application/x-amz-json-1.1\r\n",
        "x-amzn-requestid: ",
        &format!("x-amzn-errortype: {code}\r\n"),
        &format!(r#"{{"__type":"{code}","message":""#),
    ] {
        assert!(response.contains(part), "{part} is missing: {response}");
    }
}

#[tokio::test]
async fn a_connection_takes_more_requests_after_a_body_that_was_read() {
    let server = Server::start(&[]).await;
    let chunked = get("small", "").replace("content-length: 16", "transfer-encoding: chunked");
    let chunked = chunked.replace(r#"{"Name":"small"}"#, "10\r\n{\"Name\":\"small\"}\r\n0\r\n\r\n");
    assert!(chunked.contains("\r\n10\r\n"));
    let requests = [get("small", ""), get("late", ""), chunked, closing("/hello", "")].concat();
    let stream = server.send(&requests).await;
    assert_eq!(stream.matches("HTTP/1.1 200 OK").count(), 4, "{stream}");
    assert_eq!(stream.matches("connection: close").count(), 1, "{stream}");
    assert_eq!(stream.matches("\"a\"").count(), 3, "{stream}");
    assert_eq!(stream.matches("x-amzn-requestid: ").count(), 3, "{stream}");
}

#[tokio::test]
async fn a_connection_takes_more_requests_after_one_that_reached_its_deadline() {
    let server = Server::start(&[]).await;
    let late = get("never", "x-envoy-expected-rq-timeout-ms: 50\r\n");
    let mut stream = server.connect().await;
    for request in [&late, &late, &get("small", "")] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = head(&mut stream).await;
        assert_status(&response, if *request == late { 500 } else { 200 });
        assert!(!response.contains("connection: close"), "{response}");
    }
    stream.write_all(closing("/hello", "").as_bytes()).await.unwrap();
    assert_status(&rest(&mut stream).await, 200);
}

#[tokio::test]
async fn conditions_of_a_request_have_no_effect() {
    let server = Server::start(&[]).await;
    let response = server.send(&get("small", "if-none-match: *\r\nconnection: close\r\n")).await;
    assert_status(&response, 200);
}

#[tokio::test]
async fn errors_of_requests_and_of_every_layer_have_the_form_of_aws() {
    let server = Server::start(&[]).await;
    let without_host = get("small", CLOSE).replace("host: a\r\n", "");
    let late = get("late", "x-envoy-expected-rq-timeout-ms: 1\r\nconnection: close\r\n");
    for (request, status, code) in [
        (get("unknown", CLOSE), 500, "InternalServerError"),
        (get("broken", CLOSE), 500, "InternalServerError"),
        (get("panic", CLOSE), 500, "InternalServerError"),
        (late, 500, "InternalServerError"),
        (without_host, 400, "ValidationException"),
        (request("GetParameter", CLOSE, "nonsense"), 400, "SerializationException"),
        (request("GetParameter", CLOSE, "{}"), 400, "ValidationException"),
        (request("PutParameter", CLOSE, "{}"), 400, "AccessDeniedException"),
        (request("ListDocuments", CLOSE, "{}"), 400, "UnknownOperationException"),
        (
            get("small", "user-agent: aws-sdk-rust/1 app/aux-service\r\nconnection: close\r\n"),
            508,
            "LoopDetectedException",
        ),
    ] {
        let response = server.send(&request).await;
        assert_aws_error(&response, status, code);
        assert!(!response.contains("stumbled"), "{response}");
    }
    let plain = server.send("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_aws_error(&plain, 400, "UnknownOperationException");
}

#[tokio::test]
async fn the_other_service_gets_the_problem_itself() {
    let server = Server::start(&[]).await;
    let accept = "accept: application/problem+json\r\nconnection: close\r\n";
    let response = server.send(&get("broken", accept)).await;
    assert_problem(&response, 502, "aws-unavailable");
    let response = server.send(&request("GetParameter", accept, "{}")).await;
    assert_problem(&response, 400, "bad-request");
    assert!(response.contains(r#""aws_error":{"code":"ValidationException""#), "{response}");
    // SDKs accept everything.
    let response = server.send(&get("broken", "accept: */*\r\nconnection: close\r\n")).await;
    assert_aws_error(&response, 500, "InternalServerError");
}

#[tokio::test]
async fn a_body_has_at_most_64_kib() {
    let server = Server::start(&[]).await;
    let padded = |length: usize| {
        let body = r#"{"Name":"small"}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let response = server.send(&request("GetParameter", CLOSE, &padded(64 << 10))).await;
    assert_status(&response, 200);
    let response = server.send(&request("GetParameter", "", &padded((64 << 10) + 1))).await;
    assert_aws_error(&response, 413, "RequestEntityTooLargeException");
    assert!(response.contains("connection: close\r\n"), "{response}");
    // Without an announced length, the end shows.
    let length = (64 << 10) + 1;
    let chunked = get("small", "").replace("content-length: 16", "transfer-encoding: chunked");
    let head = chunked.strip_suffix(r#"{"Name":"small"}"#).expect("the body is last");
    let response = server.send(&format!("{head}{length:x}\r\n{}", padded(length))).await;
    assert_aws_error(&response, 413, "RequestEntityTooLargeException");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_ends_with_the_deadline() {
    let server = Server::start(&[]).await;
    let mut stream = server.connect().await;
    let cut = get("small", "x-envoy-expected-rq-timeout-ms: 50\r\n");
    stream.write_all(&cut.as_bytes()[..cut.len() - 4]).await.unwrap();
    let (response, _) = whole(&mut stream).await;
    assert_aws_error(&response, 500, "InternalServerError");
    assert!(response.contains("connection: close\r\n"), "{response}");
}

#[tokio::test]
async fn a_request_beyond_the_limit_gets_an_error_that_sdks_retry() {
    let server = Server::start(&["--max-in-flight=1"]).await;
    let mut waiting = server.connect().await;
    waiting.write_all(get("never", "").as_bytes()).await.unwrap();
    eventually("the request waits", async || {
        server.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    let response = server.send(&get("small", "")).await;
    assert_aws_error(&response, 503, "ServiceUnavailable");
    assert!(response.contains("retry-after: 1\r\n"), "{response}");
    assert!(response.contains("x-amz-retry-after: 1000\r\n"), "{response}");
}

#[tokio::test]
async fn the_token_is_the_session_token() {
    let directory = std::env::temp_dir().join(format!("ssm-token-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("tokens");
    fs::write(&file, TOKEN).unwrap();
    let server = Server::start(&[&format!("--auth-token-file={}", file.display())]).await;
    let accepted = format!("x-amz-security-token: {TOKEN}\r\nconnection: close\r\n");
    assert_status(&server.send(&get("small", &accepted)).await, 200);
    for headers in [
        String::new(),
        "x-amz-security-token: another-token-0123456\r\n".to_owned(),
        format!("authorization: Bearer {TOKEN}\r\n"),
    ] {
        let mut stream = server.connect().await;
        // The body is not read, so it does not matter that a part of it is missing.
        let request = get("small", &headers).replace("content-length: 16", "content-length: 17");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let response = rest(&mut stream).await;
        assert_aws_error(&response, 400, "UnrecognizedClientException");
        assert!(!response.contains("www-authenticate"), "{response}");
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn each_operation_has_its_own_series() {
    let server = Server::start(&[]).await;
    server.send(&get("medium", CLOSE)).await;
    server.send(&request("PutParameter", CLOSE, "{}")).await;
    server.send(&request("Invented", CLOSE, "{}")).await;
    let (_, metrics) = Exporter::install("test", "1").unwrap().render();
    let counted = |endpoint: &str, status: u16| {
        let labels = format!(r#"{{method="POST",status="{status}",endpoint="{endpoint}"}}"#);
        metrics
            .lines()
            .any(|line| line.starts_with("axum_http_requests_total") && line.contains(&labels))
    };
    assert!(counted("AmazonSSM.GetParameter", 200), "{metrics}");
    assert!(counted("AmazonSSM.other", 400), "{metrics}");
    assert!(!metrics.contains("PutParameter") && !metrics.contains("Invented"), "{metrics}");
}
