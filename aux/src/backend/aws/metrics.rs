//! The metrics of calls to AWS, by operation and outcome.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_histogram, histogram};

use super::operation::Operation;
use crate::error::Error;

const REQUESTS: &str = "aws_requests_total";
const DURATION: &str = "aws_request_duration_seconds";

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
            Err(Error::ParameterNotFound) => Self::NotFound,
            Err(Error::AwsAccessDenied(_)) => Self::Denied,
            Err(Error::AwsThrottled { cause: Some(_), .. }) => Self::Throttled,
            Err(Error::AwsThrottled { cause: None, .. }) => Self::Shielded,
            Err(Error::AwsTimeout(_)) => Self::Timeout,
            Err(Error::AwsCredentials(_)) => Self::Credentials,
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

/// Describes the metrics, and exports each counter from the start, at zero.
pub(super) fn describe() {
    describe_counter!(REQUESTS, "Calls to AWS by operation and outcome");
    describe_histogram!(DURATION, "Time of one call to AWS, its retries included");
    for operation in Operation::ALL {
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

/// Records a call that the quota limiter refused.
pub(super) fn record_refusal(operation: Operation) {
    requests(operation, Outcome::Shielded).increment(1);
}

fn requests(operation: Operation, outcome: Outcome) -> metrics::Counter {
    counter!(REQUESTS, "operation" => operation.name(), "outcome" => outcome.label())
}
