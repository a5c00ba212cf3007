//! The metrics of the shared cache, by operation and outcome.

use std::time::{Duration, SystemTime};

use metrics::{Counter, counter, describe_counter, describe_gauge, describe_histogram, histogram};

const REQUESTS: &str = "shared_cache_requests_total";
const DURATION: &str = "shared_cache_request_duration_seconds";
const DEGRADED_SINCE: &str = "shared_cache_degraded_since_timestamp_seconds";

/// A request to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Lookup,
    Store,
    Renew,
    Release,
    Quota,
    /// The note of a change, which outdates records.
    Mark,
    /// A change for the other replicas.
    Announce,
    Probe,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::Lookup,
        Self::Store,
        Self::Renew,
        Self::Release,
        Self::Quota,
        Self::Mark,
        Self::Announce,
        Self::Probe,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Store => "store",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Quota => "quota",
            Self::Mark => "mark",
            Self::Announce => "announce",
            Self::Probe => "probe",
        }
    }
}

/// The outcome of a request to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A fresh record was found, or the quota granted a call.
    Hit,
    /// A stale record was found, and this replica may load.
    Stale,
    /// No record was found, and this replica may load; or the quota refused a call.
    Miss,
    /// Another replica has the lock.
    Locked,
    /// The record, the lock or the key of the probe was written.
    Stored,
    Timeout,
    Error,
    /// The request was not sent, because the engine does not work.
    Skipped,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Hit,
        Self::Stale,
        Self::Miss,
        Self::Locked,
        Self::Stored,
        Self::Timeout,
        Self::Error,
        Self::Skipped,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Locked => "locked",
            Self::Stored => "stored",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// Describes the metrics, and exports each counter from the start, at zero.
pub(super) fn describe() {
    describe_counter!(REQUESTS, "Requests to the shared cache by operation and outcome");
    describe_histogram!(DURATION, "Time of one request to the shared cache");
    describe_gauge!(
        DEGRADED_SINCE,
        "Time since which the shared cache has not worked; 0 while it works"
    );
    for operation in Operation::ALL {
        for outcome in Outcome::ALL {
            requests(operation, outcome).absolute(0);
        }
    }
}

/// Records a request that was sent.
pub(super) fn record(operation: Operation, outcome: Outcome, elapsed: Duration) {
    requests(operation, outcome).increment(1);
    histogram!(DURATION, "operation" => operation.label(), "outcome" => outcome.label())
        .record(elapsed.as_secs_f64());
}

/// Records a request that was not sent.
pub(super) fn record_skipped(operation: Operation) {
    requests(operation, Outcome::Skipped).increment(1);
}

/// Records the time since which the engine has not worked, or that it works.
pub(super) fn record_degraded_since(since: Option<SystemTime>) {
    service::observe::metrics::record_degraded_since(DEGRADED_SINCE, since);
}

fn requests(operation: Operation, outcome: Outcome) -> Counter {
    counter!(REQUESTS, "operation" => operation.label(), "outcome" => outcome.label())
}
