//! The queue on SQS.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message as SqsMessage, MessageSystemAttributeName,
};

use super::message::{Message, MessageQueue};
use crate::{
    backend::aws::{
        call::{await_credentials, make_call},
        credentials::CredentialCache,
        operation::Operation,
    },
    change::queue_url::QueueUrl,
    config::Config,
    error::Error,
};

/// The number of messages that one receive returns at most, and that one call deletes: the maximum
/// of SQS.
const MESSAGES_PER_CALL: i32 = 10;

/// A queue on SQS.
pub(super) struct SqsQueue {
    client: aws_sdk_sqs::Client,
    credentials: CredentialCache,
    url: String,
    /// The timeout of a call, without the time for which a receive waits on purpose.
    timeout: Duration,
}

impl SqsQueue {
    pub(super) fn new(
        sdk: &SdkConfig,
        credentials: CredentialCache,
        url: &QueueUrl,
        config: &Config,
    ) -> Self {
        // A receive that waits for a message would exceed the timeout of other attempts. The timeout
        // of the whole call limits it instead. Without `disable`, the timeout of the SDK's common
        // configuration would apply.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.aws_attempt_timeout)
            .disable_operation_attempt_timeout()
            .build();
        let sqs = aws_sdk_sqs::config::Builder::from(sdk)
            .timeout_config(timeouts)
            // The reader repeats a failed call itself.
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            client: aws_sdk_sqs::Client::from_conf(sqs),
            credentials,
            url: url.as_str().to_owned(),
            timeout: config.aws_operation_timeout,
        }
    }
}

#[async_trait]
impl MessageQueue for SqsQueue {
    async fn receive(&self, wait: Duration) -> Result<Vec<Message>, Error> {
        let operation = Operation::ReceiveMessage;
        await_credentials(&self.credentials, operation).await?;
        let wait_seconds = i32::try_from(wait.as_secs()).unwrap_or(i32::MAX);
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(MESSAGES_PER_CALL)
            .wait_time_seconds(wait_seconds)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send();
        let limit = wait + self.timeout;
        let response = make_call(&self.credentials, operation, limit, request).await?;
        Ok(response.messages.into_iter().flatten().filter_map(convert).collect())
    }

    async fn delete(&self, receipts: Vec<String>) -> Result<(), Error> {
        let operation = Operation::DeleteMessage;
        await_credentials(&self.credentials, operation).await?;
        let entries = receipts.into_iter().enumerate().map(|(index, receipt)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(receipt)
                .build()
                .expect("both members are set")
        });
        let request = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()))
            .send();
        let response = make_call(&self.credentials, operation, self.timeout, request).await?;
        if !response.failed.is_empty() {
            tracing::debug!(messages = response.failed.len(), "SQS did not delete some messages");
        }
        Ok(())
    }
}

/// Converts a message of the SDK. Returns `None` for one without a receipt, which cannot be deleted.
fn convert(message: SqsMessage) -> Option<Message> {
    let attribute = |name| {
        let value = message.attributes.as_ref()?.get(&name)?;
        value.parse::<u64>().ok()
    };
    let sent_at = attribute(MessageSystemAttributeName::SentTimestamp)
        .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since)));
    let receive_count = attribute(MessageSystemAttributeName::ApproximateReceiveCount)
        .map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX));
    let receipt = message.receipt_handle?;
    Some(Message { receipt, body: message.body.unwrap_or_default(), sent_at, receive_count })
}
