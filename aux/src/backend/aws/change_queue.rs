//! The reader of the queue of changes: an SQS queue that EventBridge fills with the events of
//! Parameter Store.
//!
//! The queue is never needed. While it does not work, the service keeps serving, and an entry
//! changes when its lifetime ends.
//!
//! All replicas read one queue, and each message reaches one of them. The publisher passes the
//! changes on to the others.
//!
//! A standard queue does not keep the order of its messages and may deliver a message twice. Neither
//! does harm: a change only ends the use of stored entries, and the next request reads the parameter
//! as it is then. An old update that arrives after a deletion restores nothing.
//!
//! Imports go one way: `reader` → `batch`, `health` → `message` → `metrics`. `sqs` → `message`.

use std::sync::Arc;

use aws_config::SdkConfig;

mod metrics;
mod message;
mod batch;
mod health;
mod reader;
mod sqs;

pub use self::health::QueueHealth;
use self::{reader::Reader, sqs::SqsQueue};
use super::{credentials::CredentialCache, operation::Operation};
use crate::{
    change::{PublishChanges, queue_url::QueueUrl},
    config::Config,
};

/// The queue of changes. Nothing reads it until [`start`](Self::start).
pub struct ChangeQueue {
    url: QueueUrl,
    queue: SqsQueue,
}

impl ChangeQueue {
    /// Returns the queue of the configuration, if there is one.
    pub(super) fn from_config(
        sdk: &SdkConfig,
        credentials: &CredentialCache,
        config: &Config,
    ) -> Option<Self> {
        let url = config.change_queue_url.clone()?;
        let queue = SqsQueue::new(sdk, credentials.clone(), &url, config);
        Some(Self { url, queue })
    }

    /// Starts to read the queue, for as long as the process runs. Returns the health of the queue.
    pub fn start(self, publisher: Arc<dyn PublishChanges>) -> QueueHealth {
        metrics::describe();
        super::metrics::describe_operations(&Operation::OF_QUEUE);
        tracing::info!(queue = %self.url, "reading the change queue");
        let health = QueueHealth::new(self.url);
        tokio::spawn(Reader::new(self.queue, publisher, health.clone()).run());
        health
    }
}
