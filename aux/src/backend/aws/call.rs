//! The rules for every call to AWS: quota, timeouts, metrics, spans and health.

use std::{
    error::Error as StdError,
    fmt,
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
use tokio::time::{Instant, timeout};
use tower::{Service, service_fn, timeout::Timeout};

use super::{
    credentials::CredentialCache,
    errors::{classify_error, repeated_page_token},
    metrics::{self, Outcome},
    operation::Operation,
    panics::catch_panic,
};
use crate::{
    config::Config,
    error::Error,
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
    pub(super) fn new(config: &Config, credentials: CredentialCache) -> Self {
        Self {
            credentials,
            limiter: QuotaLimiter::new(config.aws_rate_get, config.aws_rate_list),
            operation_timeout: config.aws_operation_timeout,
            list_timeout: config.aws_list_timeout,
            health: Health::default(),
        }
    }

    /// Makes a call that the quota has room for. Returns an error at once if the quota has none,
    /// because an early error serves a client better than a wait.
    pub(super) async fn call<T, E, R>(
        &self,
        operation: Operation,
        priority: Priority,
        request: impl Future<Output = Result<T, SdkError<E, R>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        self.await_credentials(operation).await?;
        self.try_acquire(operation, priority)?;
        self.send(operation, request).await
    }

    /// Reads all pages of a list. Returns an error instead of a partial list, and after the list
    /// timeout.
    pub(super) async fn list<T, E, R, P>(
        &self,
        operation: Operation,
        priority: Priority,
        page: impl Fn(Option<String>) -> P,
    ) -> Result<Vec<T>, Error>
    where
        P: Future<Output = Result<(Vec<T>, Option<String>), SdkError<E, R>>>,
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        self.await_credentials(operation).await?;
        self.try_acquire(operation, priority)?;
        let pages = async {
            let (mut items, mut token) = self.send(operation, page(None)).await?;
            // An empty page is not necessarily the last page.
            while let Some(current) = token.filter(|token| !token.is_empty()) {
                self.await_credentials(operation).await?;
                self.limiter.acquire(operation.group(), priority).await;
                let (more, next) = self.send(operation, page(Some(current.clone()))).await?;
                if next.as_ref() == Some(&current) {
                    return Err(repeated_page_token(operation));
                }
                items.extend(more);
                token = next;
            }
            Ok(items)
        };
        timeout(self.list_timeout, pages).await.unwrap_or(Err(Error::AwsTimeout(None)))
    }

    /// Waits for credentials, before the call takes a part of the quota and before its timeout
    /// begins.
    async fn await_credentials(&self, operation: Operation) -> Result<(), Error> {
        let ready = self.credentials.ready().await;
        if ready.is_err() {
            metrics::record_refusal(operation, Outcome::Credentials);
            self.health.record(operation, true);
        }
        ready
    }

    fn try_acquire(&self, operation: Operation, priority: Priority) -> Result<(), Error> {
        self.limiter.try_acquire(operation.group(), priority).map_err(|retry_after| {
            metrics::record_refusal(operation, Outcome::Shielded);
            Error::AwsThrottled { retry_after, cause: None }
        })
    }

    /// Makes one call. Limits the time of the call with its retries, records its outcome, and
    /// classifies its error. A panic of the SDK is an error like any other.
    async fn send<T, E, R>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T, SdkError<E, R>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        let mut span = Span::client(|| operation.name().to_owned());
        let started = Instant::now();
        // The request type of this tower service is the call's future itself.
        let mut limited = Timeout::new(service_fn(|request| request), self.operation_timeout);
        let result = match catch_panic(limited.call(request)).await {
            Ok(result) => result.map_err(|error| match error.downcast() {
                Ok(error) => classify_error::<E, R>(operation, *error),
                Err(elapsed) => Error::AwsTimeout(Some(Cause::from(elapsed))),
            }),
            Err(panicked) => Err(Error::AwsUnavailable(Arc::new(panicked))),
        };
        let outcome = Outcome::of(&result);
        metrics::record_call(operation, outcome, started.elapsed());
        span.set_attribute("outcome", outcome.label());
        if outcome == Outcome::Throttled {
            self.limiter.drain(operation.group());
        }
        match outcome {
            Outcome::Credentials => self.credentials.rejected(),
            Outcome::Ok | Outcome::NotFound | Outcome::Denied => self.credentials.accepted(),
            Outcome::Throttled | Outcome::Shielded | Outcome::Timeout | Outcome::Error => {}
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

/// Whether a call failed because of AWS or our access to it. A name that AWS rejects is the
/// client's mistake, and the response shows that AWS works.
fn is_failure_of_aws<T>(result: &Result<T, Error>) -> bool {
    let failed = matches!(
        Outcome::of(result),
        Outcome::Throttled | Outcome::Timeout | Outcome::Credentials | Outcome::Error
    );
    failed && !matches!(result, Err(Error::RefusedParameterName(_)))
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
