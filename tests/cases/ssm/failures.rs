//! SDKs while AWS fails: stale responses, and errors that the SDKs retry.

use std::time::Duration;

use e2e::{
    MARK,
    credentials::{Provider, container, in_an_hour, without_credentials},
    moto::Aws,
    proxy::{Answer, Fault, Proxy},
    refusals,
    sdk_clients::{Question, SDKS, SdkClient, Settings, wire},
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{Front, SOON_STALE, TARGETS, grow_stale};

/// Every way in which AWS fails without a statement about the parameter.
fn faults() -> [(&'static str, Fault); 8] {
    let garbage = format!("{{\"Parameter\":{{\"Value\":\"{MARK}\"");
    [
        ("throttled", refusals::ssm_throttled().into()),
        ("failing", refusals::ssm(500, "InternalServerError", "").into()),
        ("hanging", Fault::Hang),
        ("resetting", Fault::Reset),
        ("truncated", Fault::Truncate),
        ("garbled", Answer::new(200, "application/x-amz-json-1.1", &garbage).into()),
        ("replaced by a page", refusals::gateway_page().into()),
        ("rejecting expired credentials", refusals::ssm_expired().into()),
    ]
}

/// Settings with which a call to AWS fails after half a second.
const IMPATIENT: [(&str, &str); 2] =
    [("AWS_ATTEMPT_TIMEOUT", "400ms"), ("AWS_OPERATION_TIMEOUT", "500ms")];

fn list() -> Question {
    Question::new("DescribeParameters", json!({}))
}

fn path() -> Question {
    Question::new("GetParametersByPath", json!({ "Path": "/app", "Recursive": true }))
}

fn several() -> Question {
    Question::new("GetParameters", json!({ "Names": ["/app/key", "/app/other"] }))
}

/// A question for each operation.
fn questions() -> [Question; 4] {
    [Question::get("/app/key"), several(), path(), list()]
}

#[tokio::test]
async fn known_names_are_served_stale_to_every_sdk_while_aws_fails() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put("/app/key", MARK).await;
        aws.put("/app/other", MARK).await;
        let settings = [SOON_STALE, IMPATIENT].concat();
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        let mut clients = Vec::new();
        for kind in SDKS {
            let mut client = front.client(kind);
            let mut known = Vec::new();
            for question in questions() {
                known.push(first_success(&mut client, &question).await);
            }
            clients.push((client, known));
        }
        for (name, fault) in faults() {
            aws.proxy.fail_all(fault);
            grow_stale().await;
            let mut all = JoinSet::new();
            for (client, known) in clients.drain(..) {
                all.spawn(still_knows(client, known, name));
            }
            clients = all.join_all().await;
        }
    }
}

/// Checks that the client gets the same results as before the fault.
async fn still_knows(
    mut client: SdkClient,
    known: Vec<Value>,
    fault: &'static str,
) -> (SdkClient, Vec<Value>) {
    for (question, expected) in questions().iter().zip(&known) {
        let result = client.ask(question).await;
        assert_eq!(&result, expected, "AWS {fault}: {:?}: {question:?}", client.kind);
    }
    (client, known)
}

/// Repeats a question until it succeeds, because a call to AWS may take longer than its short timeout
/// on a busy machine. Panics after half a minute.
async fn first_success(client: &mut SdkClient, question: &Question) -> Value {
    let start = Instant::now();
    loop {
        let result = client.ask(question).await;
        if result.get("output").is_some() {
            return result;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{question:?}: {result}");
    }
}

#[tokio::test]
async fn unknown_names_get_an_error_that_every_sdk_retries() {
    for target in TARGETS {
        let aws = Aws::start().await;
        let front = Front::start(target, &aws.proxy.url, &IMPATIENT).await;
        let mut clients = Vec::new();
        for kind in SDKS {
            // Each client has a proxy of its own, so that its attempts are counted.
            let proxy = Proxy::before(&front.service().url).await;
            let settings = Settings { attempts: Some(2), ..Settings::of(&proxy.url) };
            clients.push((SdkClient::start(kind, &settings), proxy));
        }
        for (name, fault) in faults() {
            // A moment without a fault would let the load of a list succeed, because such a load
            // outlives its request.
            aws.proxy.fail_all(fault);
            let mut all = JoinSet::new();
            for (client, proxy) in clients.drain(..) {
                all.spawn(retries(client, proxy, name));
            }
            clients = all.join_all().await;
        }
    }
}

/// Checks that each operation fails with an error that the client repeats once.
async fn retries(mut client: SdkClient, proxy: Proxy, fault: &'static str) -> (SdkClient, Proxy) {
    for question in [Question::get("/app/none"), several(), path(), list()] {
        let sent = proxy.all_calls();
        let code = client.error(&question).await;
        let attempts = proxy.all_calls() - sent;
        let context = format!("AWS {fault}: {:?}: {question:?}: {code}", client.kind);
        assert_eq!(attempts, 2, "{context}");
        assert!(!code.contains("NotFound"), "{context}");
        assert_eq!(code == "ThrottlingException", fault == "throttled", "{context}");
    }
    (client, proxy)
}

#[tokio::test]
async fn an_sdk_overcomes_a_passing_fault_by_itself() {
    for target in TARGETS {
        for kind in SDKS {
            let aws = Aws::start().await;
            aws.put("/app/key", MARK).await;
            aws.proxy.fail_nth("GetParameter", 1, refusals::ssm_throttled());
            let front = Front::start(target, &aws.proxy.url, &[]).await;
            assert_eq!(front.client(kind).value("/app/key").await, MARK);
            assert_eq!(front.proxy.all_calls(), 2, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn an_error_that_demands_a_pause_names_it_for_every_sdk() {
    for target in TARGETS {
        let aws = Aws::start().await;
        let front = Front::start(target, &aws.proxy.url, &IMPATIENT).await;
        for (name, fault) in faults() {
            aws.proxy.heal();
            aws.proxy.fail_all(fault);
            let url = &front.service().url;
            let reply = wire::post(url, "GetParameter", r#"{"Name":"/app/none"}"#, None).await;
            let status = if name == "throttled" { 400..401 } else { 500..504 };
            assert!(status.contains(&reply.status), "AWS {name}: {reply:?}");
            let header = |header| reply.header(header).and_then(|text| text.parse::<u64>().ok());
            let (seconds, milliseconds) = (header("retry-after"), header("x-amz-retry-after"));
            assert_eq!(
                milliseconds,
                seconds.map(|seconds| seconds * 1000),
                "AWS {name}: {reply:?}"
            );
            let must_wait = matches!(reply.status, 400 | 503);
            assert!(seconds.is_some() || !must_wait, "AWS {name}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn an_exhausted_quota_throttles_sdks_without_a_call() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put("/app/key", MARK).await;
        let settings = [("AWS_RATE_GET", "0.1")];
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        for kind in SDKS {
            let mut client = SdkClient::start(kind, &Settings::of(&front.proxy.url).one_attempt());
            assert_eq!(client.value("/app/key").await, MARK, "a known name needs no quota");
            let mut code = String::new();
            for number in 0..5 {
                let calls = aws.proxy.all_calls();
                code = client.error(&Question::get(&format!("/none/{kind:?}-{number}"))).await;
                if code == "ThrottlingException" {
                    assert_eq!(aws.proxy.all_calls(), calls);
                    break;
                }
            }
            assert_eq!(code, "ThrottlingException", "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_definitive_response_of_aws_replaces_a_stale_entry() {
    for target in TARGETS {
        for (refusal, expected) in [
            (refusals::ssm_denied(), "AccessDeniedException"),
            (refusals::ssm(400, "ParameterNotFound", ""), "ParameterNotFound"),
        ] {
            let aws = Aws::start().await;
            aws.put("/app/key", MARK).await;
            let front = Front::start(target, &aws.proxy.url, &SOON_STALE).await;
            for kind in SDKS {
                aws.proxy.heal();
                let mut client = front.client(kind);
                if kind == SDKS[0] {
                    client.value("/app/key").await;
                }
                aws.proxy.fail("GetParameter", refusal.clone());
                grow_stale().await;
                assert_eq!(client.error(&Question::get("/app/key")).await, expected, "{kind:?}");
            }
        }
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_loaded_are_an_error_that_sdks_retry() {
    let (aws, provider) = (Aws::start().await, Provider::start().await);
    aws.put("/app/key", MARK).await;
    provider.proxy.fail_all(Answer::new(503, "text/plain", MARK));
    let role = format!("{}/role", provider.proxy.url);
    let aux =
        without_credentials(&aws).with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &role).start().await;
    let proxy = Proxy::before(&aux.url).await;
    for kind in SDKS {
        let sent = proxy.all_calls();
        let settings = Settings { attempts: Some(2), ..Settings::of(&proxy.url) };
        let code = SdkClient::start(kind, &settings).error(&Question::get("/app/key")).await;
        assert!(!code.contains("NotFound") && !code.contains("Expired"), "{kind:?}: {code}");
        assert_eq!(proxy.all_calls() - sent, 2, "{kind:?}: {code}");
    }
    provider.proxy.heal();
    provider.serve("/role", Duration::ZERO, container("ASIACONTAINER", in_an_hour()));
    let mut client = SdkClient::start(SDKS[0], &Settings::of(&proxy.url));
    first_success(&mut client, &Question::get("/app/key")).await;
}
