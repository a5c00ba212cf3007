//! The retries that the AWS SDK makes within one call.

use std::time::Duration;

use aws_config::retry::{ErrorKind, RetryConfig};
use aws_sdk_ssm::config::retry::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::{
    interceptors::context::InterceptorContext,
    retries::classifiers::{RetryClassifierPriority, RetryReason},
};

/// Attempts of one call, the first included. main-api makes up to three attempts as well, so a
/// request can cost six calls. Throttled calls are not retried at all.
const ATTEMPTS: u32 = 2;

/// The upper bound of the pause before the second attempt. The SDK's default of one second would
/// leave that attempt too little time.
const BACKOFF: Duration = Duration::from_millis(100);

pub(super) fn retry_config() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACKOFF)
}

/// Forbids retries of throttled calls. A retry would take more of the quota that is used up, and
/// that quota belongs to the whole account.
#[derive(Debug)]
pub(super) struct NeverRetryThrottling;

impl ClassifyRetry for NeverRetryThrottling {
    fn name(&self) -> &'static str {
        "never retry throttling"
    }

    /// Runs after all other classifiers, because it overrides their result.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }

    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, _: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        match previous {
            RetryAction::RetryIndicated(RetryReason::RetryableError {
                kind: ErrorKind::ThrottlingError,
                ..
            }) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }
}
