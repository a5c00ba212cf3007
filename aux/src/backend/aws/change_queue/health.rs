//! The health of the queue, and the log lines about it.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;

use super::metrics;
use crate::{backend::aws::errors::chain, change::queue_url::QueueUrl, error::Error};

/// The health of the queue of changes. Clones share it.
#[derive(Clone)]
pub struct QueueHealth(Arc<Inner>);

struct Inner {
    url: QueueUrl,
    receives: Mutex<Receives>,
    deletions: Mutex<LoggedKinds>,
}

#[derive(Default)]
struct Receives {
    /// The time of the first failure; absent while the queue works.
    degraded_since: Option<SystemTime>,
    logged: LoggedKinds,
}

/// The kinds of the failures that were logged since the last success. A failure of a kind that lasts
/// is logged once, not at each retry.
#[derive(Default)]
struct LoggedKinds(Vec<String>);

impl LoggedKinds {
    /// Whether a failure is the first one of its kind.
    fn is_new(&mut self, error: &Error) -> bool {
        let kind = match error {
            // AWS's code is the kind of a refusal.
            Error::AwsRefused(cause) => cause.to_string(),
            other => other.to_string(),
        };
        let is_new = !self.0.contains(&kind);
        if is_new {
            self.0.push(kind);
        }
        is_new
    }
}

impl QueueHealth {
    pub(super) fn new(url: QueueUrl) -> Self {
        let (receives, deletions) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { url, receives, deletions }))
    }

    /// Returns the state of the queue: `ok`, or `degraded` after a receive that failed, until one
    /// succeeds.
    pub fn state(&self) -> &'static str {
        if self.is_degraded() { "degraded" } else { "ok" }
    }

    pub(super) fn is_degraded(&self) -> bool {
        self.0.receives.lock().degraded_since.is_some()
    }

    pub(super) fn receive_failed(&self, error: &Error) {
        let is_new = {
            let mut receives = self.0.receives.lock();
            let since = *receives.degraded_since.get_or_insert_with(SystemTime::now);
            metrics::record_degraded_since(Some(since));
            receives.logged.is_new(error)
        };
        if is_new {
            tracing::warn!(
                queue = %self.0.url,
                reason = chain(error),
                "the change queue cannot be read; changes take effect when their entries expire"
            );
        }
    }

    pub(super) fn receive_succeeded(&self) {
        let was_degraded = {
            let mut receives = self.0.receives.lock();
            receives.logged.0.clear();
            metrics::record_degraded_since(None);
            receives.degraded_since.take().is_some()
        };
        if was_degraded {
            tracing::info!(queue = %self.0.url, "the change queue works again");
        }
    }

    pub(super) fn delete_failed(&self, error: &Error) {
        if self.0.deletions.lock().is_new(error) {
            tracing::warn!(
                queue = %self.0.url,
                reason = chain(error),
                "messages of the change queue cannot be deleted; they will arrive again"
            );
        }
    }

    pub(super) fn delete_succeeded(&self) {
        self.0.deletions.lock().0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn refused(code: &'static str) -> Error {
        Error::AwsRefused(Arc::new(std::io::Error::other(code)))
    }

    #[test]
    fn a_failure_is_new_once_for_each_kind() {
        let mut logged = LoggedKinds::default();
        let errors = [
            (Error::AwsTimeout(None), true),
            (Error::AwsTimeout(None), false),
            (refused("QueueDoesNotExist"), true),
            (Error::AwsTimeout(None), false),
            (refused("QueueDoesNotExist"), false),
            (refused("InvalidAddress"), true),
        ];
        for (error, is_new) in errors {
            assert_eq!(logged.is_new(&error), is_new, "{error:?}");
        }
    }

    #[test]
    fn a_failure_after_a_success_is_new_again() {
        let health = QueueHealth::new("http://a/123456789012/b".parse().expect("a URL"));
        health.receive_failed(&Error::AwsTimeout(None));
        assert_eq!(health.state(), "degraded");
        assert!(!health.0.receives.lock().logged.is_new(&Error::AwsTimeout(None)));
        health.receive_succeeded();
        assert_eq!(health.state(), "ok");
        assert!(health.0.receives.lock().logged.is_new(&Error::AwsTimeout(None)));
    }
}
