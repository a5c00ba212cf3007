//! The reader of the queue into which EventBridge puts the events of Parameter Store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use e2e::{
    MARK,
    change_queue::{change, create, event, messages, reader, send},
    fake_aws::{FakeAws, Reply},
    moto::Aws,
    proxy::Fault,
    refusals,
    service::{Service, aux_at},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::until;

/// The time limit for steps that take a second or two, on a machine that is busy with other work.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the value of a sample, given its name and labels as in the text.
async fn sample(aux: &Service, name: &str) -> Option<f64> {
    let metrics = aux.get("/metrics").await.body;
    let mut samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
    samples.find_map(|(found, value)| (found == name).then(|| value.parse().ok())?)
}

/// Returns the number of received messages with an outcome.
async fn counted(aux: &Service, outcome: &str) -> f64 {
    let name = format!("change_messages_total{{outcome=\"{outcome}\"}}");
    sample(aux, &name).await.unwrap_or_else(|| panic!("{name} is not exported"))
}

async fn state(aux: &Service) -> Value {
    aux.get("/readyz").await.ok()["dependencies"]["change_queue"].clone()
}

/// Waits until the queue holds no message.
async fn until_empty(aws: &Aws) {
    until(LIMIT, "the queue is empty", async || messages(aws).await == 0).await;
}

/// The seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("it is after 1970").as_secs_f64()
}

#[tokio::test]
async fn a_change_is_counted_and_its_message_is_deleted() {
    let aws = Aws::start().await;
    create(&aws, 30).await;
    let aux = reader(&aws).start().await;
    send(&aws, &[change("/app/key", "Update"), change("other", "Create")]).await;
    until_empty(&aws).await;
    assert_eq!(counted(&aux, "changed").await, 2.0);
    for outcome in ["foreign", "poison", "failed"] {
        assert_eq!(counted(&aux, outcome).await, 0.0, "{outcome}");
    }
    assert_eq!(sample(&aux, "change_delay_seconds_count").await, Some(2.0));
    assert!(sample(&aux, "change_delay_seconds_sum").await.unwrap() < LIMIT.as_secs_f64());
    assert_eq!(sample(&aux, "change_delay_seconds_bucket{le=\"300\"}").await, Some(2.0));
    let deletions = "aws_requests_total{operation=\"DeleteMessage\",outcome=\"ok\"}".to_owned();
    assert!(sample(&aux, &deletions).await.unwrap() >= 1.0);
    assert_eq!(state(&aux).await, "ok");
    let since = "change_queue_degraded_since_timestamp_seconds";
    assert_eq!(sample(&aux, since).await, Some(0.0));
}

#[tokio::test]
async fn a_service_without_a_queue_shows_none_and_calls_none() {
    let aws = Aws::start().await;
    let aux = e2e::service::aux(&aws).start().await;
    assert_eq!(state(&aux).await, Value::Null);
    let metrics = aux.get("/metrics").await.body;
    for name in ["change_messages_total", "change_queue", "ReceiveMessage", "DeleteMessage"] {
        assert!(!metrics.contains(name), "{name} is exported");
    }
    assert_eq!(aws.proxy.calls("ReceiveMessage"), 0);
}

/// The calls to SSM and S3 may take much less time than a receive waits.
#[tokio::test]
async fn a_receive_outlasts_the_timeouts_of_other_calls() {
    let aws = Aws::start().await;
    create(&aws, 30).await;
    let aux = reader(&aws)
        .with("AWS_ATTEMPT_TIMEOUT", "1s")
        .with("AWS_OPERATION_TIMEOUT", "2s")
        .start()
        .await;
    until(LIMIT, "the first receive waits", async || aws.proxy.calls("ReceiveMessage") == 1).await;
    // The services have clocks of their own, so the time must really pass.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(aws.proxy.calls("ReceiveMessage"), 1, "one receive waits all the time");
    assert_eq!(state(&aux).await, "ok");
    send(&aws, &[change("/app/key", "Update")]).await;
    until_empty(&aws).await;
    assert_eq!(counted(&aux, "changed").await, 1.0);
}

#[tokio::test]
async fn a_receive_asks_for_what_the_reader_needs() {
    let aws = Aws::start().await;
    create(&aws, 30).await;
    let _aux = reader(&aws).start().await;
    until(LIMIT, "a receive", async || aws.proxy.calls("ReceiveMessage") > 0).await;
    let receive = aws.proxy.requests("ReceiveMessage").remove(0);
    let body: Value = serde_json::from_slice(&receive.body).unwrap();
    assert_eq!(body["QueueUrl"], e2e::change_queue::url(&aws));
    assert_eq!((&body["MaxNumberOfMessages"], &body["WaitTimeSeconds"]), (&json!(10), &json!(20)));
    let attributes = json!(["SentTimestamp", "ApproximateReceiveCount"]);
    assert_eq!(body["MessageSystemAttributeNames"], attributes);
    let agent = receive.header("x-amz-user-agent").unwrap_or_default();
    assert!(agent.contains("app/"), "the name of the application: {agent}");
}

#[tokio::test]
async fn the_endpoint_of_sqs_can_be_set_on_its_own() {
    let aws = Aws::start().await;
    create(&aws, 30).await;
    let aux = reader(&aws)
        .with("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .with("AWS_ENDPOINT_URL_SQS", &aws.proxy.url)
        .start()
        .await;
    send(&aws, &[change("/app/key", "Update")]).await;
    until_empty(&aws).await;
    assert_eq!(counted(&aux, "changed").await, 1.0);
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_degraded_until_it_is_created() {
    let aws = Aws::start().await;
    let before = now();
    let aux = reader(&aws).start().await;
    until(LIMIT, "it is degraded", async || state(&aux).await == "degraded").await;
    let since = "change_queue_degraded_since_timestamp_seconds";
    let degraded_since = sample(&aux, since).await.unwrap();
    assert!((before.floor()..=now()).contains(&degraded_since), "{degraded_since}");
    let warning = |line: &Value| {
        line["message"]
            == "the change queue cannot be read; changes take effect when their entries expire"
    };
    let line = aux.log_line(warning).await;
    assert_eq!(line["level"], "WARN", "{line}");
    assert!(line["queue"].as_str().unwrap().ends_with("/changes"), "{line}");
    assert!(line["reason"].as_str().unwrap().contains("NonExistentQueue"), "{line}");
    aws.put("/app/key", "hush: a value").await;
    aux.get("/param/app/key").await.ok();

    // The reader repeats the failure, and its log does not.
    until(LIMIT, "a few receives", async || aws.proxy.calls("ReceiveMessage") >= 3).await;
    create(&aws, 30).await;
    until(LIMIT, "it is ok", async || state(&aux).await == "ok").await;
    aux.log_line(|line| line["message"] == "the change queue works again").await;
    assert_eq!(aux.log().matches("the change queue cannot be read").count(), 1, "{}", aux.log());
    assert_eq!(sample(&aux, since).await, Some(0.0));
    send(&aws, &[change("/app/key", "Update")]).await;
    until_empty(&aws).await;
}

#[tokio::test]
async fn each_kind_of_failure_is_logged_once() {
    let aws = Aws::start().await;
    create(&aws, 30).await;
    aws.proxy.fail("ReceiveMessage", refusals::ssm_denied());
    aws.proxy.fail_nth("ReceiveMessage", 2, Fault::Reset);
    let aux = reader(&aws).start().await;
    until(LIMIT, "a few receives", async || aws.proxy.calls("ReceiveMessage") >= 4).await;
    assert_eq!(state(&aux).await, "degraded");
    let log = aux.log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains("the change queue cannot be read")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("AccessDeniedException"), "{}", lines[0]);
    for outcome in ["denied", "error"] {
        let name =
            format!("aws_requests_total{{operation=\"ReceiveMessage\",outcome=\"{outcome}\"}}");
        assert!(sample(&aux, &name).await.unwrap() >= 1.0, "{name}");
    }
    aws.proxy.heal();
    until(LIMIT, "it is ok", async || state(&aux).await == "ok").await;
}

#[tokio::test]
async fn messages_that_cannot_be_deleted_are_reported_and_take_effect() {
    let aws = Aws::start().await;
    create(&aws, 1).await;
    aws.proxy.fail("DeleteMessageBatch", refusals::ssm_denied());
    let aux = reader(&aws).start().await;
    send(&aws, &[change("/app/key", "Update")]).await;
    until(LIMIT, "it arrives again", async || counted(&aux, "changed").await >= 2.0).await;
    let log = aux.log();
    assert_eq!(log.matches("messages of the change queue cannot be deleted").count(), 1, "{log}");
    assert_eq!(state(&aux).await, "ok");
    aws.proxy.heal();
    until_empty(&aws).await;
}

#[tokio::test]
async fn a_message_that_is_no_event_is_deleted_after_its_third_receive() {
    let aws = Aws::start().await;
    create(&aws, 1).await;
    let aux = reader(&aws).start().await;
    let body = format!("{MARK}: no event");
    send(&aws, &[body, change("/app/key", "Update")]).await;
    until_empty(&aws).await;
    assert_eq!(counted(&aux, "poison").await, 3.0, "it was received three times");
    assert_eq!(counted(&aux, "changed").await, 1.0);
    // The log of a service is searched for the mark at its end.
    assert_eq!(aux.log().matches("holds messages that are no events").count(), 1, "{}", aux.log());
}

#[tokio::test]
async fn an_event_that_changes_no_parameter_is_deleted_without_a_warning() {
    let aws = Aws::start().await;
    create(&aws, 30).await;
    let aux = reader(&aws).start().await;
    let detail = json!({ "name": "/app/key", "operation": "Update" });
    let notification =
        json!({ "parameter-name": "/app/key", "policy-type": "ExpirationNotification" });
    send(
        &aws,
        &[
            event("my.application", "Parameter Store Change", &detail),
            event("aws.ssm", "EC2 Command Status-change Notification", &detail),
            event("aws.ssm", "Parameter Store Policy Action", &notification),
        ],
    )
    .await;
    until_empty(&aws).await;
    assert_eq!(counted(&aux, "foreign").await, 3.0);
    assert_eq!(counted(&aux, "poison").await, 0.0);
    assert!(!aux.log().contains("\"WARN\""), "{}", aux.log());
}

/// moto takes a second for a receive from a queue of a thousand messages, so this AWS is another one.
#[tokio::test]
async fn a_flood_of_messages_drains_without_pauses() {
    let messages = e2e::scale("CHANGE_MESSAGES", 1_000) as usize;
    let delay = Duration::from_millis(5);
    let (sent, deleted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let aws = {
        let deleted = Arc::clone(&deleted);
        FakeAws::start(move |call| match call.operation.as_str() {
            "ReceiveMessage" => {
                let first = sent.fetch_add(10, Ordering::Relaxed);
                if first >= messages {
                    return Reply::json(&json!({})).after(Duration::from_secs(20));
                }
                let batch = first..messages.min(first + 10);
                let batch: Vec<_> = batch.map(|number| message(number, now())).collect();
                Reply::json(&json!({ "Messages": batch })).after(delay)
            }
            "DeleteMessageBatch" => {
                let entries = call.body["Entries"].as_array().map_or(0, Vec::len);
                deleted.fetch_add(entries, Ordering::Relaxed);
                Reply::json(&json!({ "Successful": [], "Failed": [] })).after(delay)
            }
            _ => refusals::ssm_denied().into(),
        })
        .await
    };
    let queue = format!("{}/123456789012/changes", aws.url);
    let aux = aux_at(&aws.url).with("CACHE", "on").with("CHANGE_QUEUE_URL", &queue).start().await;
    until(LIMIT, "all messages are deleted", async || deleted.load(Ordering::Relaxed) >= messages)
        .await;
    assert_eq!(counted(&aux, "changed").await, messages as f64);
    assert_eq!(sample(&aux, "change_delay_seconds_count").await, Some(messages as f64));
}

/// Returns a message as SQS returns it.
fn message(number: usize, sent_at: f64) -> Value {
    json!({
        "MessageId": format!("00000000-0000-0000-0000-{number:012}"),
        "ReceiptHandle": number.to_string(),
        "Body": change(&format!("/app/{number}"), "Update"),
        "Attributes": {
            "SentTimestamp": format!("{:.0}", sent_at * 1000.0),
            "ApproximateReceiveCount": "1",
        },
    })
}

#[tokio::test]
async fn several_full_batches_drain() {
    let aws = Aws::start().await;
    create(&aws, 120).await;
    let bodies: Vec<_> =
        (0..45).map(|number| change(&format!("/app/{number}"), "Update")).collect();
    send(&aws, &bodies).await;
    let aux = reader(&aws).start().await;
    until_empty(&aws).await;
    assert_eq!(counted(&aux, "changed").await, 45.0);
    assert_eq!(aws.proxy.calls("DeleteMessageBatch"), 5, "one call for ten messages");
}
