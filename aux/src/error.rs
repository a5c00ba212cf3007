//! The errors of aux-service, and the problem that the client gets for each.

use std::time::Duration;

use axum::http::StatusCode;
use service::contract::problem::{Cause, Problem, Progress};

use crate::name::Malformed;

/// The pause before a retry while a list loads. A list that outlasts a request usually outlasts the
/// next few seconds too.
const LIST_PAUSE: Duration = Duration::from_secs(10);

/// An error of a call to AWS, or of the request itself. Errors with the same remedy for the client
/// share a variant.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the name is malformed")]
    InvalidParameterName(#[source] Malformed),
    #[error("AWS refused the name")]
    RefusedParameterName(#[source] Cause),
    #[error("the name is outside PARAMETER_PREFIXES")]
    ParameterNotAllowed,
    #[error("SecureStrings are not allowed")]
    SecureStringNotAllowed,
    #[error("there is no such parameter")]
    ParameterNotFound,
    #[error("the parameter has no such version or label")]
    ParameterVersionNotFound,
    #[error("the parameter has no text")]
    ParameterUnreadable,
    #[error("AWS denied access")]
    AwsAccessDenied(#[source] Cause),
    /// AWS throttled the call, or the quota limiter refused it. A refusal by the limiter has no
    /// cause.
    #[error("AWS throttles")]
    AwsThrottled {
        retry_after: Duration,
        #[source]
        cause: Option<Cause>,
    },
    /// AWS refused the call with an error that is none of the others.
    #[error("AWS refused the call")]
    AwsRefused(#[source] Cause),
    /// AWS rejected the credentials, or they cannot be loaded. `retryable` means that the failure of
    /// their provider will pass.
    #[error("the AWS credentials do not work")]
    AwsCredentials {
        retryable: bool,
        #[source]
        cause: Cause,
    },
    #[error("AWS cannot be reached, or failed")]
    AwsUnavailable(#[source] Cause),
    #[error("AWS did not respond in time")]
    AwsTimeout(#[source] Option<Cause>),
    /// The list is not complete yet, and its load continues. The numbers are those of the pages
    /// that have arrived, and of the names in them.
    #[error("the list is still loading")]
    ListLoading { pages: usize, names: usize },
}

impl Error {
    /// Whether the same call may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::AwsThrottled { .. }
            | Self::AwsUnavailable(_)
            | Self::AwsTimeout(_)
            | Self::AwsCredentials { retryable: true, .. }
            | Self::ListLoading { .. } => true,
            Self::InvalidParameterName(_)
            | Self::RefusedParameterName(_)
            | Self::ParameterNotAllowed
            | Self::SecureStringNotAllowed
            | Self::ParameterNotFound
            | Self::ParameterVersionNotFound
            | Self::ParameterUnreadable
            | Self::AwsAccessDenied(_)
            | Self::AwsRefused(_)
            | Self::AwsCredentials { retryable: false, .. } => false,
        }
    }

    /// Returns the problem that the client gets.
    pub fn problem(&self) -> Problem {
        match self {
            Self::InvalidParameterName(reason) => {
                Problem::invalid_parameter_name(reason.to_string())
            }
            Self::RefusedParameterName(cause) => {
                Problem::invalid_parameter_name("AWS does not accept this name for a parameter.")
                    .caused_by(cause.clone())
            }
            Self::ParameterNotAllowed => Problem::new(
                StatusCode::FORBIDDEN,
                "parameter-not-allowed",
                "Parameter not allowed",
                "This parameter is outside the paths that this service may show.",
            ),
            Self::SecureStringNotAllowed => Problem::new(
                StatusCode::FORBIDDEN,
                "secure-string-not-allowed",
                "SecureString not allowed",
                "This parameter is a SecureString, and this service does not show those.",
            ),
            Self::ParameterNotFound => parameter_not_found(),
            Self::ParameterVersionNotFound => {
                let problem = parameter_not_found();
                let message = problem.detail.clone();
                problem.aws("ParameterVersionNotFound", message)
            }
            Self::ParameterUnreadable => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "parameter-unreadable",
                "Parameter unreadable",
                "This parameter or secret exists and has no text: it is binary, or it was deleted.",
            ),
            Self::AwsAccessDenied(cause) => Problem::new(
                StatusCode::FORBIDDEN,
                "aws-access-denied",
                "AWS denied access",
                "AWS does not allow this service to read what the request needs.",
            )
            .caused_by(cause.clone()),
            Self::AwsThrottled { retry_after, cause } => {
                let problem = Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "aws-throttled",
                    "AWS throttles",
                    "The quota of calls to AWS is used up for the moment.",
                )
                .retry_after(*retry_after);
                let problem = Problem { shielded: cause.is_none(), ..problem };
                with_cause(problem, cause.as_ref())
            }
            Self::AwsRefused(cause) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "aws-refused",
                "AWS refuses the call",
                "AWS refuses this request, and will refuse it again. The log of aux-service has its error code.",
            )
            .caused_by(cause.clone()),
            Self::AwsCredentials { retryable, cause } => {
                let detail = if *retryable {
                    "The provider of this service's AWS credentials does not respond."
                } else {
                    "The AWS credentials of this service are missing, wrong or expired."
                };
                let problem = Problem::new(
                    StatusCode::BAD_GATEWAY,
                    "aws-credentials",
                    "AWS credentials do not work",
                    detail,
                )
                .caused_by(cause.clone());
                Problem { retryable: *retryable, ..problem }
            }
            Self::AwsUnavailable(cause) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "aws-unavailable",
                "AWS is unavailable",
                "AWS cannot be reached, or its response was broken.",
            )
            .retryable()
            .caused_by(cause.clone()),
            Self::AwsTimeout(cause) => {
                let problem = Problem::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "aws-timeout",
                    "AWS is too slow",
                    "AWS did not respond in time.",
                )
                .retryable();
                with_cause(problem, cause.as_ref())
            }
            &Self::ListLoading { pages, names } => {
                let problem = Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "list-loading",
                    "The list is loading",
                    format!(
                        "The list is still loading: {pages} of its pages have arrived, with {names} names."
                    ),
                )
                .retry_after(LIST_PAUSE);
                Problem { progress: Some(Progress { pages, names }), ..problem }
            }
        }
    }
}

fn parameter_not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "parameter-not-found",
        "No such parameter",
        "There is no parameter of this name, or not in this version.",
    )
}

fn with_cause(problem: Problem, cause: Option<&Cause>) -> Problem {
    match cause {
        Some(cause) => problem.caused_by(cause.clone()),
        None => problem,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.problem()
    }
}
