//! The metrics of the queue of changes.

use std::time::{Duration, SystemTime};

use metrics::{Counter, counter, describe_counter, describe_gauge, describe_histogram, histogram};
use service::observe::metrics::CHANGE_DELAY;

const MESSAGES: &str = "change_messages_total";
const DEGRADED_SINCE: &str = "change_queue_degraded_since_timestamp_seconds";

/// The outcome of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its change was published.
    Changed,
    /// It is an event that changes no parameter.
    Foreign,
    /// It has no meaning.
    Poison,
    /// Its change could not be published. The message arrives again.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Changed, Self::Foreign, Self::Poison, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Foreign => "foreign",
            Self::Poison => "poison",
            Self::Failed => "failed",
        }
    }
}

/// Describes the metrics, and exports each counter and the gauge from the start, at zero.
pub(super) fn describe() {
    describe_counter!(
        MESSAGES,
        "Messages of the change queue by outcome; one that arrives again counts again"
    );
    describe_histogram!(
        CHANGE_DELAY,
        "Time from the arrival of a change in the queue until its publication"
    );
    describe_gauge!(
        DEGRADED_SINCE,
        "Time since which the change queue has not worked; 0 while it works"
    );
    for outcome in Outcome::ALL {
        messages(outcome).absolute(0);
    }
    record_degraded_since(None);
}

/// Records this number of messages.
pub(super) fn record_messages(outcome: Outcome, count: usize) {
    messages(outcome).increment(count as u64);
}

/// Records the time that a change has spent in the queue and in its publication.
pub(super) fn record_delay(delay: Duration) {
    histogram!(CHANGE_DELAY).record(delay.as_secs_f64());
}

/// Records the time since which the queue has not worked, or that it works.
pub(super) fn record_degraded_since(since: Option<SystemTime>) {
    service::observe::metrics::record_degraded_since(DEGRADED_SINCE, since);
}

fn messages(outcome: Outcome) -> Counter {
    counter!(MESSAGES, "outcome" => outcome.label())
}
