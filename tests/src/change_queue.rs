//! A queue of changed parameters on moto's SQS, and the events that EventBridge would put into it.

use serde_json::{Value, json};

use crate::{
    moto::{Aws, REGION},
    service::{self, Setup},
};

/// The name of the queue. Each test has an account of its own.
const NAME: &str = "changes";

/// The number of messages that one call of SQS can send.
const MESSAGES_PER_CALL: usize = 10;

/// Returns the URL of an account's queue, which need not exist.
pub fn url(aws: &Aws) -> String {
    format!("{}/{}/{NAME}", aws.proxy.url, aws.account())
}

/// Returns settings of aux-service like [`service::aux`], with a cache and the queue of the account.
pub fn reader(aws: &Aws) -> Setup {
    service::aux(aws).with("CACHE", "on").with("CHANGE_QUEUE_URL", &url(aws))
}

/// Creates the queue of an account. A message that was received becomes visible again after this
/// number of seconds.
pub async fn create(aws: &Aws, visibility_timeout: u32) {
    let attributes = json!({ "VisibilityTimeout": visibility_timeout.to_string() });
    aws.sqs("CreateQueue", json!({ "QueueName": NAME, "Attributes": attributes })).await;
}

/// Puts messages into the queue of an account.
pub async fn send(aws: &Aws, bodies: &[String]) {
    for bodies in bodies.chunks(MESSAGES_PER_CALL) {
        let entries = bodies.iter().enumerate();
        let entries: Vec<_> = entries
            .map(|(index, body)| json!({ "Id": index.to_string(), "MessageBody": body }))
            .collect();
        let body = json!({ "QueueUrl": url(aws), "Entries": entries });
        let sent = aws.sqs("SendMessageBatch", body).await;
        let successful = sent["Successful"].as_array().map_or(0, Vec::len);
        assert_eq!(successful, bodies.len(), "{sent}");
    }
}

/// Returns the number of messages in the queue of an account, those that were received included.
pub async fn messages(aws: &Aws) -> u64 {
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    let body = json!({ "QueueUrl": url(aws), "AttributeNames": names });
    let response = aws.sqs("GetQueueAttributes", body).await;
    let number = |name: &str| response["Attributes"][name].as_str()?.parse::<u64>().ok();
    names.map(|name| number(name).unwrap_or_else(|| panic!("no {name}: {response}"))).iter().sum()
}

/// Returns the event of a changed parameter.
pub fn change(name: &str, operation: &str) -> String {
    let detail = json!({ "name": name, "type": "String", "operation": operation });
    event("aws.ssm", "Parameter Store Change", &detail)
}

/// Returns an event of EventBridge.
pub fn event(source: &str, detail_type: &str, detail: &Value) -> String {
    json!({
        "version": "0",
        "id": "6a7e4feb-b491-4cf7-a9f1-bf3703497718",
        "detail-type": detail_type,
        "source": source,
        "account": "123456789012",
        "time": "2026-01-22T16:43:48Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
    })
    .to_string()
}
