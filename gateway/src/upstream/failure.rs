//! The failure of an attempt, with the properties that the layers above it use.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use http::StatusCode;
use reqwest_middleware::Error as ClientError;
use reqwest_retry::RetryError;
use service::contract::problem::Problem;

use crate::error::Error;

/// The reason why an attempt has no response to return.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The circuit breaker refused the attempt, and another one is useless before `retry_after`.
    #[error("the circuit refuses calls for another {retry_after:?}")]
    Refused { retry_after: Duration },
    /// No connection could be opened, or the exchange broke off.
    #[error("aux-service cannot be reached, or broke off")]
    Unreachable(#[source] Box<dyn StdError + Send + Sync>),
    /// A reused connection ended before the response began. aux-service closes idle connections,
    /// and such a close can coincide with a request, so it shows nothing about its health.
    #[error("a reused connection ended before the response")]
    Reset(#[source] reqwest::Error),
    /// The response was not complete within this time.
    #[error("aux-service did not respond within {0:?}")]
    TimedOut(Duration),
    /// The response is not one that aux-service sends for its route.
    #[error("aux-service responded {status} with {reason}")]
    InvalidResponse { status: StatusCode, reason: &'static str },
    /// The response is larger than this client reads.
    #[error("the response is too large")]
    TooLarge,
    /// Something between the services, such as a mesh, demands a wait: a 429, or a 503 with
    /// `Retry-After`.
    #[error("a proxy responded {status} and demands a wait")]
    Busy { status: StatusCode, retry_after: Option<Duration> },
    /// aux-service responded with a problem.
    #[error("aux-service responded with the problem {}", .0.code)]
    Problem(Box<Problem>),
}

/// Unwraps the failure from the errors of the middleware and of the retry layer.
impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let error = match error {
            ClientError::Reqwest(error) => return Self::Unreachable(error.without_url().into()),
            ClientError::Middleware(error) => error,
        };
        match error.downcast() {
            Ok(RetryError::Error(inner) | RetryError::WithRetries { err: inner, .. }) => {
                inner.into()
            }
            Err(error) => match error.downcast() {
                Ok(failure) => failure,
                Err(error) => Self::Unreachable(error.into()),
            },
        }
    }
}

/// Returns the error that the client gets for a failed call.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { retry_after } => Self::CircuitOpen { retry_after },
            Failure::TimedOut(_) => Self::UpstreamTimeout,
            Failure::TooLarge => Self::ResponseTooLarge,
            Failure::Busy { retry_after, .. } => Self::UpstreamBusy { retry_after },
            Failure::Problem(problem) => Self::Problem(problem),
            Failure::Unreachable(_) | Failure::Reset(_) | Failure::InvalidResponse { .. } => {
                Self::UpstreamUnavailable(Arc::new(failure))
            }
        }
    }
}

impl Failure {
    /// Finds the failure below the errors of the middleware and of the retry layer.
    pub(crate) fn of(error: &ClientError) -> Option<&Self> {
        let ClientError::Middleware(error) = error else { return None };
        match error.downcast_ref() {
            Some(RetryError::Error(inner) | RetryError::WithRetries { err: inner, .. }) => {
                Self::of(inner)
            }
            None => error.downcast_ref(),
        }
    }

    /// Whether the same call may succeed a moment later. A refusal by the circuit breaker is final,
    /// because a retry would defeat it. An invalid response is final too, unless its status comes
    /// from something between us and aux-service, such as a mesh.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::TooLarge => false,
            Self::Busy { .. } => true,
            Self::Unreachable(_) | Self::Reset(_) | Self::TimedOut(_) => true,
            Self::InvalidResponse { status, .. } => is_transient(*status),
            Self::Problem(problem) => problem.retryable && is_transient(problem.status()),
        }
    }

    /// Whether aux-service works and refuses the request itself.
    pub(crate) fn is_client_error(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status().is_client_error())
    }

    /// The pause that aux-service demands with `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            Self::Busy { retry_after, .. } => *retry_after,
            Self::TooLarge
            | Self::Refused { .. }
            | Self::Unreachable(_)
            | Self::Reset(_)
            | Self::TimedOut(_)
            | Self::InvalidResponse { .. } => None,
        }
    }

    /// Whether the response demands a wait, which shows nothing about the health of aux-service.
    /// Throttling by AWS is another matter: the circuit counts it.
    pub(crate) fn demands_wait(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Problem(problem) => {
                let waits = problem.status() == StatusCode::SERVICE_UNAVAILABLE
                    && problem.retry_after.is_some();
                waits && !problem.code.starts_with("aws-")
                    || problem.status() == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }

    /// Whether AWS throttles aux-service.
    pub(crate) fn is_throttled(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.code == "aws-throttled")
    }

    /// The label `outcome` of `upstream_requests_total`. The outcome `throttled` has two causes:
    /// AWS throttles aux-service, or a proxy demands a wait.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "circuit_open",
            Self::Unreachable(_) | Self::Reset(_) => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::InvalidResponse { .. } | Self::TooLarge => "invalid",
            Self::Busy { .. } => "throttled",
            Self::Problem(_) if self.is_client_error() => "client_error",
            Self::Problem(_) if self.is_throttled() => "throttled",
            Self::Problem(_) => "server_error",
        }
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
