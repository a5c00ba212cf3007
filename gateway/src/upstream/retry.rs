//! The retry layer: decides which outcomes are retried, how long the pause before a retry is, and
//! how many retries there are.
//!
//! reqwest-retry runs the loop. It supports no budget, no `Retry-After` and no deadline, so
//! [`Retry`] gives it a policy and a strategy for each call that do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use http::{Extensions, Method};
use metrics::{Counter, counter, describe_counter};
use parking_lot::Mutex;
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next, Result};
use reqwest_retry::{
    Jitter, RetryDecision, RetryPolicy, RetryTransientMiddleware, Retryable, RetryableStrategy,
    policies::ExponentialBackoff,
};
use service::contract::routes::RouteId;
use tokio::time::Instant;

use super::{budget::Budget, call::Call, failure::Failure};

/// The upper bound of the backoff. `Retry-After` may demand a longer pause.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The limits of retries.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Attempts of one call, the first included. At least 1.
    pub(crate) max_attempts: u32,
    /// The upper bound of the first pause. It doubles with each retry, and a pause is drawn from 0
    /// to it.
    pub(crate) backoff: Duration,
    /// The share of the calls that may be retried, from 0 to 1.
    pub(crate) budget: f64,
}

/// The layer that retries. A process has one, because the budget belongs to the process.
pub(crate) struct Retry {
    backoff: ExponentialBackoff,
    budget: Arc<Budget>,
}

impl Retry {
    /// Starts with a full budget.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            backoff: ExponentialBackoff::builder()
                .retry_bounds(settings.backoff, MAX_BACKOFF.max(settings.backoff))
                .jitter(Jitter::Full)
                .base(2)
                .build_with_max_retries(settings.max_attempts - 1),
            budget: Arc::new(Budget::new(settings.budget)),
        }
    }
}

#[async_trait::async_trait]
impl Middleware for Retry {
    async fn handle(&self, req: Request, ext: &mut Extensions, next: Next<'_>) -> Result<Response> {
        let call = *Call::of(ext);
        // The operations of AWS's protocol only read, so their `POST` is as safe as a `GET`.
        if req.method() != Method::GET && !call.route.route().is_aws() {
            return next.run(req, ext).await;
        }
        let state = Arc::new(CallState {
            call,
            backoff: self.backoff,
            budget: Arc::clone(&self.budget),
            counted: AtomicBool::new(false),
            retrying: AtomicBool::new(false),
            retry_after: Mutex::new(None),
        });
        RetryTransientMiddleware::new_with_policy_and_strategy(
            Policy(Arc::clone(&state)),
            Strategy(state),
        )
        .handle(req, ext, next)
        .await
    }
}

/// The state of one call. The strategy stores the parts of an outcome that the policy reads.
struct CallState {
    call: Call,
    backoff: ExponentialBackoff,
    budget: Arc<Budget>,
    /// Whether the budget has counted this call.
    counted: AtomicBool,
    /// Whether the current attempt is a retry.
    retrying: AtomicBool,
    /// The pause that the last outcome demanded.
    retry_after: Mutex<Option<Duration>>,
}

impl CallState {
    /// Whether another attempt is worth its cost. An SDK waits and repeats a throttled request
    /// itself, so a retry here would multiply the calls that AWS throttles.
    fn is_retryable(&self, failure: &Failure) -> bool {
        let left_to_sdk = self.call.route.route().is_aws() && failure.is_throttled();
        failure.is_retryable() && !left_to_sdk
    }

    fn count(&self, outcome: &'static str) {
        retries(self.call.route, outcome).increment(1);
    }
}

/// Counts a retry as failed if the call was dropped during it. Only `/status`, `CACHE=off` and a
/// shutdown cause this, because other calls belong to a load.
impl Drop for CallState {
    fn drop(&mut self) {
        if self.retrying.load(Relaxed) {
            self.count("failure");
        }
    }
}

/// Every outcome of `upstream_retries_total`.
const OUTCOMES: [&str; 3] = ["success", "failure", "budget_exhausted"];

const RETRIES_TOTAL: &str = "upstream_retries_total";

fn retries(route: RouteId, outcome: &'static str) -> Counter {
    counter!(RETRIES_TOTAL, "route" => route.label(), "outcome" => outcome)
}

/// Describes the metrics of retries and starts every series at 0, so that a route's first retry
/// shows as an increase.
pub(crate) fn describe(routes: &[RouteId]) {
    describe_counter!(RETRIES_TOTAL, "Retries by outcome, and those that the budget forbade");
    for route in routes {
        for outcome in OUTCOMES {
            retries(*route, outcome).absolute(0);
        }
    }
}

/// Decides whether an outcome is worth another attempt.
struct Strategy(Arc<CallState>);

impl RetryableStrategy for Strategy {
    fn handle(&self, outcome: &Result<Response>) -> Option<Retryable> {
        let failure = outcome.as_ref().err().map(Failure::of);
        // A call that the circuit breaker refused cost the upstream nothing, so it earns no retry.
        let refused = matches!(failure, Some(Some(Failure::Refused { .. })));
        if !refused && !self.0.counted.swap(true, Relaxed) {
            self.0.budget.record_call();
        }
        let retryable =
            failure.map(|failure| failure.is_some_and(|failure| self.0.is_retryable(failure)));
        if self.0.retrying.swap(false, Relaxed) {
            let succeeded =
                failure.is_none_or(|failure| failure.is_some_and(Failure::is_client_error));
            self.0.count(if succeeded { "success" } else { "failure" });
        }
        *self.0.retry_after.lock() = failure.flatten().and_then(Failure::retry_after);
        retryable.map(|yes| if yes { Retryable::Transient } else { Retryable::Fatal })
    }
}

/// Decides whether there is another attempt, and when.
struct Policy(Arc<CallState>);

impl RetryPolicy for Policy {
    fn should_retry(&self, started: SystemTime, retries: u32) -> RetryDecision {
        let RetryDecision::Retry { execute_after } = self.0.backoff.should_retry(started, retries)
        else {
            return RetryDecision::DoNotRetry;
        };
        let now = SystemTime::now();
        let backoff = execute_after.duration_since(now).unwrap_or_default();
        let pause = self.0.retry_after.lock().map_or(backoff, |demanded| demanded.max(backoff));
        // Such a pause would outlast the deadline, so the caller gets the failure now.
        if pause >= self.0.call.deadline.saturating_duration_since(Instant::now()) {
            return RetryDecision::DoNotRetry;
        }
        if !self.0.budget.try_take() {
            self.0.count("budget_exhausted");
            return RetryDecision::DoNotRetry;
        }
        self.0.retrying.store(true, Relaxed);
        RetryDecision::Retry { execute_after: now + pause }
    }
}

#[cfg(test)]
mod tests;
