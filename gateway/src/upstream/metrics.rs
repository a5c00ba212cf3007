//! The metrics of attempts: their count and their duration, by route and outcome.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};
use service::contract::routes::RouteId;
use tokio::time::Instant;

use super::call::CALLED_ROUTES;

const REQUESTS_TOTAL: &str = "upstream_requests_total";
const DURATION: &str = "upstream_request_duration_seconds";

/// The outcome of an attempt that succeeded, which nearly all attempts have.
pub(crate) const OK: &str = "ok";

/// The attempt was dropped: its caller left. Only `/status`, `CACHE=off` and a shutdown cause this,
/// because other attempts belong to a load.
const ABANDONED: &str = "abandoned";

/// The counter of attempts with this outcome.
pub(crate) fn attempts(route: RouteId, outcome: &'static str) -> Counter {
    counter!(REQUESTS_TOTAL, "route" => route.label(), "outcome" => outcome)
}

fn durations(route: RouteId, outcome: &'static str) -> Histogram {
    histogram!(DURATION, "route" => route.label(), "outcome" => outcome)
}

/// Records an attempt when it ends, even if it is dropped.
pub(crate) struct AttemptTimer<'a> {
    ok_metrics: &'a OkMetrics,
    route: RouteId,
    pub(crate) started: Instant,
    /// The label `outcome`.
    pub(crate) outcome: &'static str,
}

impl Drop for AttemptTimer<'_> {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        if self.outcome == OK {
            self.ok_metrics.record(self.route, elapsed);
        } else {
            attempts(self.route, self.outcome).increment(1);
            durations(self.route, self.outcome).record(elapsed);
        }
    }
}

/// The series of each route's attempts with the outcome [`OK`]. Each is looked up once and then
/// reused, because a lookup by labels costs as much as parsing the response.
pub(crate) struct OkMetrics([(RouteId, OnceLock<(Counter, Histogram)>); CALLED_ROUTES.len()]);

impl OkMetrics {
    /// Describes the metrics of attempts. No series exists yet.
    pub(crate) fn new() -> Self {
        describe_counter!(
            REQUESTS_TOTAL,
            "Attempts to call aux-service, and those that the circuit breaker refused"
        );
        describe_histogram!(
            DURATION,
            Unit::Seconds,
            "Time from the start of an attempt to the end of the response"
        );
        Self(CALLED_ROUTES.map(|route| (route, OnceLock::new())))
    }

    /// Starts the time of an attempt.
    pub(crate) fn start(&self, route: RouteId) -> AttemptTimer<'_> {
        AttemptTimer { ok_metrics: self, route, started: Instant::now(), outcome: ABANDONED }
    }

    fn record(&self, route: RouteId, elapsed: Duration) {
        let series = self.0.iter().find(|(known, _)| *known == route);
        let (_, series) = series.expect("only these routes are called");
        let (count, duration) = series.get_or_init(|| (attempts(route, OK), durations(route, OK)));
        count.increment(1);
        duration.record(elapsed);
    }
}
