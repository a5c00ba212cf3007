//! The metrics of calls to AWS, by operation and outcome.

use std::time::{Duration, SystemTime};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::operation::Operation;
use crate::error::Error;

const REQUESTS: &str = "aws_requests_total";
const DURATION: &str = "aws_request_duration_seconds";
const CREDENTIALS_EXPIRY: &str = "aws_credentials_expiry_timestamp_seconds";

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    NotFound,
    Denied,
    Throttled,
    /// The quota limiter refused the call.
    Shielded,
    Timeout,
    Credentials,
    Error,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::NotFound,
        Self::Denied,
        Self::Throttled,
        Self::Shielded,
        Self::Timeout,
        Self::Credentials,
        Self::Error,
    ];

    pub(super) fn of<T>(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(Error::ParameterNotFound | Error::ParameterVersionNotFound) => Self::NotFound,
            Err(Error::AwsAccessDenied(_)) => Self::Denied,
            Err(Error::AwsThrottled { cause: Some(_), .. }) => Self::Throttled,
            Err(Error::AwsThrottled { cause: None, .. }) => Self::Shielded,
            Err(Error::AwsTimeout(_)) => Self::Timeout,
            Err(Error::AwsCredentials { .. }) => Self::Credentials,
            Err(
                Error::InvalidParameterName(_)
                | Error::RefusedParameterName(_)
                | Error::ParameterNotAllowed
                | Error::SecureStringNotAllowed
                | Error::ParameterUnreadable
                | Error::AwsRefused(_)
                | Error::AwsUnavailable(_)
                | Error::ListLoading { .. },
            ) => Self::Error,
        }
    }

    /// The value of the label `outcome`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Shielded => "shielded",
            Self::Timeout => "timeout",
            Self::Credentials => "credentials",
            Self::Error => "error",
        }
    }
}

/// Describes the metrics.
pub(super) fn describe() {
    describe_counter!(REQUESTS, "Calls to AWS by operation and outcome");
    describe_histogram!(DURATION, "Time of one call to AWS, its retries included");
    describe_gauge!(CREDENTIALS_EXPIRY, "Time at which the AWS credentials expire");
}

/// Exports the counters of these operations from the start, at zero.
pub(super) fn describe_operations(operations: &[Operation]) {
    for &operation in operations {
        for outcome in Outcome::ALL {
            requests(operation, outcome).absolute(0);
        }
    }
}

/// Records a call that was made.
pub(super) fn record_call(operation: Operation, outcome: Outcome, elapsed: Duration) {
    requests(operation, outcome).increment(1);
    histogram!(DURATION, "operation" => operation.name(), "outcome" => outcome.label())
        .record(elapsed.as_secs_f64());
}

/// Records a call that was not made: the quota limiter refused it, or it has no credentials.
pub(super) fn record_refusal(operation: Operation, outcome: Outcome) {
    requests(operation, outcome).increment(1);
}

/// Records the expiry of loaded credentials. Credentials that never expire have no series: a zero
/// would look like an expiry in 1970.
pub(super) fn record_credentials_expiry(expiry: Option<SystemTime>) {
    let since_epoch = expiry.and_then(|expiry| expiry.duration_since(SystemTime::UNIX_EPOCH).ok());
    if let Some(since_epoch) = since_epoch {
        gauge!(CREDENTIALS_EXPIRY).set(since_epoch.as_secs_f64());
    }
}

fn requests(operation: Operation, outcome: Outcome) -> metrics::Counter {
    counter!(REQUESTS, "operation" => operation.name(), "outcome" => outcome.label())
}
