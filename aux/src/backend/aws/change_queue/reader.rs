//! The task that reads the queue: receive, publish, delete.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    batch::Batch,
    health::QueueHealth,
    message::{Message, MessageQueue},
    metrics::{Outcome, record_delay, record_messages},
};
use crate::{
    backend::aws::panics::catch_panic,
    backoff::backoff,
    change::{Change, ChangeSource, NotPublished, PublishChanges, event::InvalidEvent},
};

/// The time for which a receive waits for a message: the maximum of SQS. A longer wait costs fewer
/// calls.
const WAIT: Duration = Duration::from_secs(20);

/// The minimum time from one receive that returns nothing to the next one. A server that does not
/// wait would otherwise be called without a pause.
const EMPTY_INTERVAL: Duration = Duration::from_secs(1);

/// The upper bound of the pause after the first failure. Each further failure in a row doubles it.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The upper bound of the pause after any failure.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The time limit of a publication. A message becomes visible again half a minute after its receive,
/// and another replica would receive it too.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// The minimum time between two log lines about messages without a meaning.
const POISON_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The reader of a queue.
pub(super) struct Reader<Q> {
    queue: Q,
    publisher: Arc<dyn PublishChanges>,
    health: QueueHealth,
    poison_log: PoisonLog,
}

impl<Q: MessageQueue> Reader<Q> {
    pub(super) fn new(queue: Q, publisher: Arc<dyn PublishChanges>, health: QueueHealth) -> Self {
        Self { queue, publisher, health, poison_log: PoisonLog::default() }
    }

    /// Reads the queue until the process ends.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let Some(messages) = self.receive().await else {
                failures += 1;
                sleep(backoff(failures, FIRST_BACKOFF, MAX_BACKOFF)).await;
                continue;
            };
            if messages.is_empty() {
                failures = 0;
                sleep_until(started + EMPTY_INTERVAL).await;
                continue;
            }
            // The next receive follows at once: the queue may hold more messages.
            match self.process(Batch::of(messages)).await {
                Ok(()) => failures = 0,
                Err(NotPublished) => {
                    failures += 1;
                    sleep(backoff(failures, FIRST_BACKOFF, MAX_BACKOFF)).await;
                }
            }
        }
    }

    /// Receives messages. Returns `None` if that fails.
    async fn receive(&self) -> Option<Vec<Message>> {
        // After a failure, a receive that does not wait shows at once whether the queue works.
        let wait = if self.health.is_degraded() { Duration::ZERO } else { WAIT };
        match self.queue.receive(wait).await {
            Ok(messages) => {
                self.health.receive_succeeded();
                Some(messages)
            }
            Err(error) => {
                self.health.receive_failed(&error);
                None
            }
        }
    }

    /// Publishes the changes of a batch, then deletes the messages that have no further use.
    async fn process(&mut self, batch: Batch) -> Result<(), NotPublished> {
        record_messages(Outcome::Foreign, batch.foreign);
        record_messages(Outcome::Poison, batch.poison.len());
        self.poison_log.add(&batch.poison);
        let mut receipts = batch.finished;
        let published = self.publish(batch.changes).await;
        match published {
            Ok(()) => {
                record_messages(Outcome::Changed, batch.changed.len());
                let now = SystemTime::now();
                for sent_at in batch.sent_at {
                    // The clocks of SQS and of this process may differ.
                    record_delay(now.duration_since(sent_at).unwrap_or_default());
                }
                receipts.extend(batch.changed);
            }
            // The messages stay in the queue and arrive again.
            Err(NotPublished) => record_messages(Outcome::Failed, batch.changed.len()),
        }
        if !receipts.is_empty() {
            match self.queue.delete(receipts).await {
                Ok(()) => self.health.delete_succeeded(),
                Err(error) => self.health.delete_failed(&error),
            }
        }
        published
    }

    /// Publishes changes. A publisher that panics or takes too long must not end the reading.
    async fn publish(&self, changes: Vec<Change>) -> Result<(), NotPublished> {
        if changes.is_empty() {
            return Ok(());
        }
        let publication = catch_panic(self.publisher.publish(ChangeSource::Queue, changes));
        match timeout(PUBLISH_TIMEOUT, publication).await {
            Ok(Ok(published)) => published,
            Ok(Err(_)) | Err(_) => Err(NotPublished),
        }
    }
}

/// The log lines about messages without a meaning: one a minute at most.
#[derive(Default)]
struct PoisonLog {
    logged_at: Option<Instant>,
    /// The messages since the last line.
    messages: usize,
}

impl PoisonLog {
    fn add(&mut self, poison: &[InvalidEvent]) {
        let Some(reason) = poison.last() else { return };
        self.messages += poison.len();
        if self.logged_at.is_some_and(|at| at.elapsed() < POISON_LOG_INTERVAL) {
            return;
        }
        tracing::warn!(
            messages = self.messages,
            %reason,
            "the change queue holds messages that are no events; each is deleted after its third receive"
        );
        *self = Self { logged_at: Some(Instant::now()), messages: 0 };
    }
}

#[cfg(test)]
mod tests;
