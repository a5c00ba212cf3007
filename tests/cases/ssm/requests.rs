//! Requests of AWS's protocol that no SDK sends, and the limits of `POST /`.

use std::time::Duration;

use e2e::{
    MARK, client,
    http::{self, Reply},
    moto::Aws,
    proxy::Proxy,
    refusals,
    sdk_clients::{Kind, Question, SdkClient, Settings, wire},
    service,
};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{Front, TARGETS};

const GET: (&str, &str) = ("x-amz-target", "AmazonSSM.GetParameter");
const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");

/// The largest body that is read.
const LARGEST: usize = 64 * 1024;

/// Checks the form of an error of AWS, and returns its code.
#[track_caller]
fn error(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/x-amz-json-1.1"), "{reply:?}");
    assert!(reply.header("x-amzn-requestid").is_some_and(|id| !id.is_empty()), "{reply:?}");
    let code = wire::code(reply).unwrap_or_else(|| panic!("{reply:?}"));
    assert_eq!(reply.header("x-amzn-errortype"), Some(&*code), "{reply:?}");
    code
}

#[tokio::test]
async fn a_request_that_is_no_call_gets_an_error_of_aws_and_reaches_no_aws() {
    for target in TARGETS {
        let aws = Aws::start().await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        let url = &front.service().url;
        let name = r#"{"Name":"/app/key"}"#;
        for (headers, body, code) in [
            (&[GET, JSON][..], "", "SerializationException"),
            (&[GET, JSON], "no JSON", "SerializationException"),
            (&[GET, JSON], r#"{"Name":"/app"#, "SerializationException"),
            (&[GET, JSON], "[]", "SerializationException"),
            (&[GET, JSON], "[\"/app/key\"]", "SerializationException"),
            (&[GET, JSON], r#"{"Name":7}"#, "SerializationException"),
            (
                &[GET, JSON],
                r#"{"Name":"/app/key","WithDecryption":"yes"}"#,
                "SerializationException",
            ),
            (&[GET, ("content-type", "text/plain")], name, "UnknownOperationException"),
            (&[GET], name, "UnknownOperationException"),
            (&[JSON], name, "UnknownOperationException"),
            (&[("x-amz-target", "GetParameter"), JSON], name, "UnknownOperationException"),
            (&[("x-amz-target", "AmazonSSM."), JSON], name, "UnknownOperationException"),
            (
                &[("x-amz-target", "AmazonSSM.getparameter"), JSON],
                name,
                "UnknownOperationException",
            ),
            (
                &[("x-amz-target", "DynamoDB_20120810.GetItem"), JSON],
                name,
                "UnknownOperationException",
            ),
        ] {
            let reply = http::post(url, headers, body).await;
            let context = format!("{headers:?} {body}");
            assert!(matches!(reply.status, 400 | 404), "{context}: {reply:?}");
            assert_eq!(error(&reply, reply.status), code, "{context}");
        }
        assert_eq!(aws.proxy.all_calls(), 0);
    }
}

#[tokio::test]
async fn unknown_members_are_ignored() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put("/app/key", MARK).await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        let mut client = SdkClient::start(Kind::Wire, &Settings::of(&front.service().url));
        let mut emulator = SdkClient::start(Kind::Wire, &Settings::of(&aws.proxy.url));
        for (operation, input) in [
            ("GetParameter", json!({ "Name": "/app/key", "Colour": { "a": [1, null] } })),
            ("GetParameters", json!({ "Names": ["/app/key"], "Name": 7 })),
            ("GetParametersByPath", json!({ "Path": "/app", "Shared": false })),
        ] {
            let question = Question::new(operation, input);
            let result = client.ask(&question).await;
            assert_eq!(result, emulator.ask(&question).await, "{question:?}");
        }
    }
}

#[tokio::test]
async fn errors_have_the_form_of_aws() {
    for target in TARGETS {
        let aws = Aws::start().await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        let url = &front.service().url;
        for (operation, body, code) in [
            ("GetParameter", r#"{"Name":"/app/none"}"#, "ParameterNotFound"),
            ("GetParameter", "{}", "ValidationException"),
            ("PutParameter", "{}", "AccessDeniedException"),
            ("DescribeParameters", r#"{"NextToken":"made up"}"#, "InvalidNextToken"),
            ("GetParameterHistory", r#"{"Name":"/app/none"}"#, "UnknownOperationException"),
        ] {
            let reply = wire::post(url, operation, body, None).await;
            assert_eq!(error(&reply, 400), code);
        }
    }
}

#[tokio::test]
async fn a_body_over_64_kib_is_rejected_and_one_of_64_kib_is_not() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put("/app/key", MARK).await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        let url = &front.service().url;
        let name = r#"{"Name":"/app/key"}"#;
        let padded = |size: usize| format!("{name}{}", " ".repeat(size - name.len()));
        let reply = wire::post(url, "GetParameter", &padded(LARGEST), None).await;
        assert_eq!(reply.json()["Parameter"]["Value"], MARK);
        let reply = wire::post(url, "GetParameter", &padded(LARGEST + 1), None).await;
        assert_eq!(reply.status, 413, "{reply:?}");
        // The announced length alone is enough, and a body without one is counted.
        let announced = "content-length: 1000000000\r\n\r\n{";
        assert_eq!(status(&exchange(url, announced).await), "413");
        let chunk = format!("{:x}\r\n{}\r\n", 8192, " ".repeat(8192));
        let chunked = format!("transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(9));
        assert_eq!(status(&exchange(url, &chunked).await), "413");
    }
}

#[tokio::test]
async fn a_body_in_chunks_is_read() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put("/app/key", MARK).await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        let rest =
            "transfer-encoding: chunked\r\n\r\n8\r\n{\"Name\":\r\nb\r\n\"/app/key\"}\r\n0\r\n\r\n";
        let reply = exchange(&front.service().url, rest).await;
        assert_eq!(status(&reply), "200", "{reply}");
        assert!(reply.contains(MARK), "{reply}");
    }
}

#[tokio::test]
async fn a_slow_body_ends_at_the_deadline() {
    for target in TARGETS {
        let aws = Aws::start().await;
        let settings = [
            ("AWS_ATTEMPT_TIMEOUT", "400ms"),
            ("AWS_OPERATION_TIMEOUT", "500ms"),
            ("ATTEMPT_TIMEOUT", "900ms"),
            ("REQUEST_TIMEOUT", "1s"),
        ];
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        let start = Instant::now();
        let reply = exchange(&front.service().url, "content-length: 100\r\n\r\n{\"Name\":").await;
        let elapsed = start.elapsed();
        assert!(reply.is_empty() || status(&reply) >= "400", "{reply}");
        assert!(elapsed < Duration::from_secs(5), "{target:?}: {elapsed:?}");
        assert_eq!(aws.proxy.all_calls(), 0);
    }
}

/// Sends a `GetParameter` that ends with these headers and this body, and returns the first bytes
/// of the response. Returns an empty text if the connection ends without a response.
async fn exchange(url: &str, rest: &str) -> String {
    let mut connection = TcpStream::connect(client::address(url)).await.unwrap();
    let (target, kind) = (GET.1, JSON.1);
    let head = format!(
        "POST / HTTP/1.1\r\nhost: e2e\r\nx-amz-target: {target}\r\ncontent-type: {kind}\r\n"
    );
    connection.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
    let mut received = vec![0; 64 * 1024];
    let length = timeout(Duration::from_secs(20), connection.read(&mut received)).await;
    let length = length.expect("it responds within the deadline").unwrap_or_default();
    received.truncate(length);
    String::from_utf8(received).unwrap()
}

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn a_call_of_aux_service_that_arrives_at_aux_service_ends_there() {
    let aws = Aws::start().await;
    aws.put("/app/key", MARK).await;
    let second = service::aux(&aws).start().await;
    let between = Proxy::before(&second.url).await;
    let first = service::aux_at(&between.url).start().await;
    for path in ["/param/app/key", "/params", "/values/app"] {
        let sent = between.all_calls();
        let reply = first.get(path).await;
        assert!(reply.status >= 500, "{reply:?}");
        let calls = between.all_calls() - sent;
        assert!((1..=3).contains(&calls), "{path}: {calls} calls");
    }
    let mut client = SdkClient::start(Kind::Rust, &Settings::of(&first.url).one_attempt());
    let code = client.error(&Question::get("/app/key")).await;
    assert!(!code.contains("NotFound"), "{code}");
    assert_eq!(aws.proxy.all_calls(), 0);
    // The same request with the same signature, sent by hand, shows the status.
    let call = &between.requests("GetParameter")[0];
    let headers: Vec<_> = call
        .headers
        .iter()
        .filter(|(name, _)| !matches!(&**name, "host" | "content-length" | "connection"))
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let reply = http::post(&second.url, &headers, str::from_utf8(&call.body).unwrap()).await;
    assert_eq!(reply.status, 508, "{reply:?}");
}

#[tokio::test]
async fn other_methods_of_the_root_are_no_calls() {
    for target in TARGETS {
        let aws = Aws::start().await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        let service = front.service();
        for method in [Method::PUT, Method::DELETE, Method::PATCH] {
            let reply = service.send(method, "/", &[GET, JSON]).await;
            assert_eq!(reply.status, 405, "{reply:?}");
            assert!(reply.header("allow").is_some_and(|allow| allow.contains("POST")), "{reply:?}");
        }
        let elsewhere = format!("{}/param/app/key", service.url);
        assert_eq!(http::post(&elsewhere, &[GET, JSON], "{}").await.status, 405);
        assert_eq!(aws.proxy.all_calls(), 0);
    }
}

#[tokio::test]
async fn denials_of_aws_reach_the_client_as_denials() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.proxy.fail_all(refusals::ssm_denied());
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        for (operation, body) in [
            ("GetParameter", r#"{"Name":"/app/key"}"#),
            ("GetParameters", r#"{"Names":["/app/key","/app/other"]}"#),
            ("GetParametersByPath", r#"{"Path":"/app"}"#),
            ("DescribeParameters", "{}"),
        ] {
            let reply = wire::post(&front.service().url, operation, body, None).await;
            assert_eq!(error(&reply, 400), "AccessDeniedException", "{operation}");
        }
    }
}
