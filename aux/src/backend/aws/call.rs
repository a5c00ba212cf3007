//! The rules for every call to AWS: quota, timeouts, metrics, spans and health.

use std::{
    error::Error as StdError,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use cache::Priority;
use service::{contract::problem::Cause, observe::trace::Span};
use tokio::time::Instant;
use tower::{Service, service_fn, timeout::Timeout};

use super::{
    credentials::CredentialCache,
    errors::classify_error,
    metrics::{self, Outcome},
    operation::Operation,
    panics::catch_panic,
};
use crate::{
    config::Config,
    error::Error,
    fleet::Fleet,
    quota::{Group, QuotaLimiter},
};

/// The rules for every call, and the state that they need.
pub(super) struct CallPolicy {
    credentials: CredentialCache,
    limiter: QuotaLimiter,
    operation_timeout: Duration,
    list_timeout: Duration,
    health: Health,
}

impl CallPolicy {
    pub(super) fn from_config(
        config: &Config,
        credentials: CredentialCache,
        region: &str,
        fleet: Option<&Fleet>,
    ) -> Self {
        let own = config.own_rates();
        QuotaLimiter::describe(own);
        let limiter = match fleet {
            Some(fleet) => QuotaLimiter::shared(own, fleet, region, config.fleet_rates()),
            None => QuotaLimiter::new(own),
        };
        Self::new(credentials, limiter, config.aws_operation_timeout, config.aws_list_timeout)
    }

    pub(super) fn new(
        credentials: CredentialCache,
        limiter: QuotaLimiter,
        operation_timeout: Duration,
        list_timeout: Duration,
    ) -> Self {
        let health = Health::default();
        Self { credentials, limiter, operation_timeout, list_timeout, health }
    }

    /// The time that AWS may take in all to return the next page of a list.
    pub(super) fn list_timeout(&self) -> Duration {
        self.list_timeout
    }

    /// Waits for credentials, and takes one call from the quota or refuses the call: an early error
    /// serves a client better than a wait for the quota.
    pub(super) async fn admit(
        &self,
        operation: Operation,
        priority: Priority,
    ) -> Result<(), Error> {
        self.await_credentials(operation).await?;
        let Some(group) = operation.group() else { return Ok(()) };
        self.limiter.try_acquire(group, priority).await.map_err(|retry_after| {
            metrics::record_refusal(operation, Outcome::Shielded);
            Error::AwsThrottled { retry_after, cause: None }
        })
    }

    /// Waits for credentials and for the quota. Use it for a call that continues a load: a refusal
    /// would waste the calls before it.
    pub(super) async fn wait_for_admission(
        &self,
        operation: Operation,
        priority: Priority,
    ) -> Result<(), Error> {
        self.await_credentials(operation).await?;
        self.await_quota(operation, priority).await;
        Ok(())
    }

    /// Waits for the quota, and takes one call from it.
    pub(super) async fn await_quota(&self, operation: Operation, priority: Priority) {
        if let Some(group) = operation.group() {
            self.limiter.acquire(group, priority).await;
        }
    }

    /// Waits for credentials, before the call takes a part of the quota and before its timeout
    /// begins.
    pub(super) async fn await_credentials(&self, operation: Operation) -> Result<(), Error> {
        let ready = await_credentials(&self.credentials, operation).await;
        if ready.is_err() {
            self.health.record(operation, true);
        }
        ready
    }

    /// Makes one call, as [`make_call`] does, within the timeout of an operation. Records the result in
    /// the span of the request, in the quota and in the health.
    pub(super) async fn send<T, E>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let mut span = Span::client(|| operation.name().to_owned());
        let result = make_call(&self.credentials, operation, self.operation_timeout, request).await;
        let outcome = Outcome::of(&result);
        span.set_attribute("outcome", outcome.label());
        if let (Outcome::Throttled, Some(group)) = (outcome, operation.group()) {
            self.limiter.drain(group);
        }
        let failed = is_failure_of_aws(&result);
        self.health.record(operation, failed);
        if failed {
            span.fail("");
        }
        result
    }

    /// Returns the recent health of each service of AWS and of the credentials, and the time at
    /// which the credentials expire.
    pub(super) fn health(&self) -> serde_json::Value {
        let mut health = self.health.status();
        health["credentials"] = word(self.credentials.is_degraded()).into();
        if let Some(expiry) = self.credentials.expiry() {
            health["credentials_expire_at"] = expiry.into();
        }
        health
    }

    /// Returns the calls that the quota has left.
    pub(super) fn quota(&self) -> serde_json::Value {
        self.limiter.status()
    }
}

/// Waits for credentials. Counts the call as refused if there are none.
pub(super) async fn await_credentials(
    credentials: &CredentialCache,
    operation: Operation,
) -> Result<(), Error> {
    let ready = credentials.ready().await;
    if ready.is_err() {
        metrics::record_refusal(operation, Outcome::Credentials);
    }
    ready
}

/// Makes one call. Limits the time of the call with its retries, records its outcome, classifies its
/// error, and reports to the credentials whether AWS accepted them. A panic of the SDK is an error
/// like any other.
pub(super) async fn make_call<T, E>(
    credentials: &CredentialCache,
    operation: Operation,
    limit: Duration,
    request: impl Future<Output = Result<T, SdkError<E>>>,
) -> Result<T, Error>
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let started = Instant::now();
    // The request type of this tower service is the call's future itself.
    let mut limited = Timeout::new(service_fn(|request| request), limit);
    let result = match catch_panic(limited.call(request)).await {
        Ok(result) => result.map_err(|error| match error.downcast() {
            Ok(error) => classify_error::<E>(operation, *error),
            Err(elapsed) => Error::AwsTimeout(Some(Cause::from(elapsed))),
        }),
        Err(panicked) => Err(Error::AwsUnavailable(Arc::new(panicked))),
    };
    let outcome = Outcome::of(&result);
    metrics::record_call(operation, outcome, started.elapsed());
    match outcome {
        Outcome::Credentials => credentials.rejected(),
        Outcome::Ok | Outcome::NotFound | Outcome::Denied => credentials.accepted(),
        Outcome::Throttled | Outcome::Shielded | Outcome::Timeout | Outcome::Error => {}
    }
    result
}

/// Whether a call failed because of AWS or our access to it. A refusal of one call shows that AWS
/// works.
fn is_failure_of_aws<T>(result: &Result<T, Error>) -> bool {
    matches!(
        result,
        Err(Error::AwsThrottled { .. }
            | Error::AwsTimeout(_)
            | Error::AwsCredentials { .. }
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
            Some(Group::BucketLists) => &self.s3_degraded,
            Some(Group::Reads | Group::ParameterLists) => &self.ssm_degraded,
            // The queue's reader has a health of its own.
            None => return,
        };
        degraded.store(failed, Relaxed);
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "s3": word(self.s3_degraded.load(Relaxed)),
            "ssm": word(self.ssm_degraded.load(Relaxed)),
        })
    }
}

/// The word for the state of a dependency.
fn word(degraded: bool) -> &'static str {
    if degraded { "degraded" } else { "ok" }
}

#[cfg(test)]
mod tests;
