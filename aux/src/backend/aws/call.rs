//! The rules for every call to AWS: quota, timeouts, metrics, spans and health.

use std::{
    error::Error as StdError,
    future::Future,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use cache::Priority;
use service::{contract::problem::Cause, observe::trace::Span};
use tokio::time::Instant;
use tower::{Service, service_fn, timeout::Timeout};

use super::{
    errors::classify_error,
    metrics::{self, Outcome},
    operation::Operation,
};
use crate::{
    config::Config,
    error::Error,
    quota::{Group, QuotaLimiter},
};

/// The rules for every call, and the state that they need.
pub(super) struct CallPolicy {
    limiter: QuotaLimiter,
    operation_timeout: Duration,
    list_timeout: Duration,
    health: Health,
}

impl CallPolicy {
    pub(super) fn from_config(config: &Config) -> Self {
        let limiter = QuotaLimiter::new(config.aws_rate_get, config.aws_rate_list);
        Self::new(limiter, config.aws_operation_timeout, config.aws_list_timeout)
    }

    pub(super) fn new(
        limiter: QuotaLimiter,
        operation_timeout: Duration,
        list_timeout: Duration,
    ) -> Self {
        Self { limiter, operation_timeout, list_timeout, health: Health::default() }
    }

    pub(super) fn limiter(&self) -> &QuotaLimiter {
        &self.limiter
    }

    /// The time that AWS may take in all to return the next page of a list.
    pub(super) fn list_timeout(&self) -> Duration {
        self.list_timeout
    }

    /// Takes one call from the quota, or returns and counts the refusal: an early error serves a
    /// client better than a wait.
    pub(super) fn try_acquire(
        &self,
        operation: Operation,
        priority: Priority,
    ) -> Result<(), Error> {
        self.limiter.try_acquire(operation.group(), priority).map_err(|retry_after| {
            metrics::record_refusal(operation);
            Error::AwsThrottled { retry_after, cause: None }
        })
    }

    /// Makes one call. Limits the time of the call with its retries, records its outcome, and
    /// classifies its error.
    pub(super) async fn send<T, E>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let mut span = Span::client(|| operation.name().to_owned());
        let started = Instant::now();
        // The request type of this tower service is the call's future itself.
        let mut limited = Timeout::new(service_fn(|request| request), self.operation_timeout);
        let result = limited.call(request).await.map_err(|error| match error.downcast() {
            Ok(error) => classify_error::<E>(operation, *error),
            Err(elapsed) => Error::AwsTimeout(Some(Cause::from(elapsed))),
        });
        let outcome = Outcome::of(&result);
        metrics::record_call(operation, outcome, started.elapsed());
        span.set_attribute("outcome", outcome.label());
        if outcome == Outcome::Throttled {
            self.limiter.drain(operation.group());
        }
        let failed = is_failure_of_aws(&result);
        self.health.record(operation, failed);
        if failed {
            span.fail("");
        }
        result
    }

    /// Returns the recent health of each service of AWS.
    pub(super) fn health(&self) -> serde_json::Value {
        self.health.status()
    }

    /// Returns the calls that the quota has left.
    pub(super) fn quota(&self) -> serde_json::Value {
        self.limiter.status()
    }
}

/// Whether a call failed because of AWS or our access to it. A refusal of one call shows that AWS
/// works.
fn is_failure_of_aws<T>(result: &Result<T, Error>) -> bool {
    matches!(
        result,
        Err(Error::AwsThrottled { .. }
            | Error::AwsTimeout(_)
            | Error::AwsCredentials(_)
            | Error::AwsUnavailable(_))
    )
}

/// The health of each service of AWS: the result of its last call.
#[derive(Default)]
struct Health {
    s3_degraded: AtomicBool,
    ssm_degraded: AtomicBool,
}

impl Health {
    fn record(&self, operation: Operation, failed: bool) {
        let degraded = match operation.group() {
            Group::BucketLists => &self.s3_degraded,
            Group::Reads | Group::ParameterLists => &self.ssm_degraded,
        };
        degraded.store(failed, Relaxed);
    }

    fn status(&self) -> serde_json::Value {
        let word = |degraded: &AtomicBool| if degraded.load(Relaxed) { "degraded" } else { "ok" };
        serde_json::json!({ "s3": word(&self.s3_degraded), "ssm": word(&self.ssm_degraded) })
    }
}
