//! The metrics of a cache. Handles are resolved once, because resolving one costs more than a cache
//! hit.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use crate::Outcome;

pub(crate) const REQUESTS: &str = "cache_requests_total";
const ENTRIES: &str = "cache_entries";
const BYTES: &str = "cache_bytes";
const EVICTIONS: &str = "cache_evictions_total";

/// The name of a histogram. The exporter needs its buckets: [`SERVED_AGE_BUCKETS`].
pub const SERVED_AGE: &str = "cache_served_age_seconds";

/// Bucket bounds in seconds: from the age after a recent refresh to the age of an entry served by
/// `stale-if-error` in a long outage.
pub const SERVED_AGE_BUCKETS: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0];

pub(crate) struct Metrics {
    requests: [Counter; Outcome::ALL.len()],
    served_age: Histogram,
    pub(crate) entries: Gauge,
    pub(crate) bytes: Gauge,
}

impl Metrics {
    /// Creates every series at the start, so that a rate over it covers the first request.
    pub(crate) fn new(cache: &'static str) -> Self {
        metrics::describe_counter!(REQUESTS, "Lookups by outcome");
        metrics::describe_gauge!(ENTRIES, "Entries of the cache, negative entries included");
        metrics::describe_gauge!(
            BYTES,
            metrics::Unit::Bytes,
            "Memory of the entries: keys, bodies, headers, bookkeeping"
        );
        metrics::describe_histogram!(
            SERVED_AGE,
            metrics::Unit::Seconds,
            "Age of served responses since the origin's response"
        );
        let requests = Outcome::ALL.map(|outcome| {
            let counter =
                metrics::counter!(REQUESTS, "cache" => cache, "outcome" => outcome.label());
            counter.absolute(0);
            counter
        });
        let entries = metrics::gauge!(ENTRIES, "cache" => cache);
        let bytes = metrics::gauge!(BYTES, "cache" => cache);
        entries.set(0.0);
        bytes.set(0.0);
        let served_age = metrics::histogram!(SERVED_AGE, "cache" => cache);
        Self { requests, served_age, entries, bytes }
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.requests[outcome as usize].increment(1);
    }

    pub(crate) fn served(&self, outcome: Outcome, age: Duration) {
        self.count(outcome);
        self.served_age.record(age);
    }
}

/// Counters of entries that left the store without a replacement.
#[derive(Clone)]
pub(crate) struct Evictions {
    pub(crate) size: Counter,
    pub(crate) expired: Counter,
    pub(crate) invalidated: Counter,
}

impl Evictions {
    pub(crate) fn new(cache: &'static str) -> Self {
        metrics::describe_counter!(
            EVICTIONS,
            "Removed entries by cause: size (evicted at capacity), expired, invalidated"
        );
        let of = |cause: &'static str| {
            let counter = metrics::counter!(EVICTIONS, "cache" => cache, "cause" => cause);
            counter.absolute(0);
            counter
        };
        Self { size: of("size"), expired: of("expired"), invalidated: of("invalidated") }
    }
}
