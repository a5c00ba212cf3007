//! A message, and the interface of the queue that holds it.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::error::Error;

/// A message that was received. It stays in the queue, and becomes visible again after a while
/// unless it is deleted.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The handle that deletes the message.
    pub(super) receipt: String,
    pub(super) body: String,
    /// The time at which the message arrived in the queue; absent if the queue does not report it.
    pub(super) sent_at: Option<SystemTime>,
    /// The number of times that the message was received so far, approximately.
    pub(super) receive_count: u32,
}

/// A queue of messages.
#[async_trait]
pub(super) trait MessageQueue: Send + Sync + 'static {
    /// Receives some messages. Waits this long for the first one, in whole seconds, and returns no
    /// message if none arrives.
    async fn receive(&self, wait: Duration) -> Result<Vec<Message>, Error>;

    /// Deletes the messages with these receipts. A message that cannot be deleted arrives again.
    async fn delete(&self, receipts: Vec<String>) -> Result<(), Error>;
}

#[cfg(test)]
pub(super) mod test {
    use serde_json::json;

    use super::Message;

    /// Returns a message that arrives for the first time.
    pub(in super::super) fn message(body: &str) -> Message {
        let receipt = "receipt".to_owned();
        Message { receipt, body: body.to_owned(), sent_at: None, receive_count: 1 }
    }

    /// Returns a message with an event of this operation.
    pub(in super::super) fn change_message(name: &str, operation: &str) -> Message {
        let detail = json!({ "name": name, "operation": operation });
        let event = json!({ "source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": detail });
        message(&event.to_string())
    }
}
