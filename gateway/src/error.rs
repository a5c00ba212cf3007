//! The errors of main-api, and the problem that the client gets for each.

use std::time::Duration;

use axum::http::StatusCode;
use cache::{CacheableError, Disposition};
use service::contract::problem::{Cause, Problem};

/// An error of a call to aux-service, or of the request itself. Errors with the same remedy for the
/// client share a variant.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// aux-service responded with a problem, and the client gets the same problem.
    #[error("aux-service responded with a problem")]
    Problem(Box<Problem>),
    #[error("aux-service cannot be reached, or its response is invalid")]
    UpstreamUnavailable(#[source] Cause),
    #[error("aux-service did not respond in time")]
    UpstreamTimeout,
    #[error("the response of aux-service is too large")]
    ResponseTooLarge,
    /// Something between the services demands a wait.
    #[error("a proxy before aux-service demands a wait")]
    UpstreamBusy { retry_after: Option<Duration> },
    /// The circuit of the route refused the call.
    #[error("the circuit refuses calls for another {retry_after:?}")]
    CircuitOpen { retry_after: Duration },
}

/// The `Retry-After` of a response whose sender demands a wait and names none.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

impl Error {
    /// The body of the response.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Problem(problem) => (**problem).clone(),
            Self::UpstreamUnavailable(cause) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "upstream-unavailable",
                "aux-service is unavailable",
                "The service behind this one cannot be reached, or its response was broken.",
            )
            .retryable()
            .caused_by(cause.clone()),
            Self::UpstreamTimeout => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream-timeout",
                "aux-service is too slow",
                "The service behind this one did not respond in time.",
            )
            .retryable(),
            Self::ResponseTooLarge => Problem::new(
                StatusCode::BAD_GATEWAY,
                "answer-too-large",
                "The response is too large",
                "The response is larger than this service passes on. Request a path further down, or single parameters.",
            ),
            Self::UpstreamBusy { retry_after } => {
                Problem::overloaded().retry_after(retry_after.unwrap_or(DEFAULT_WAIT))
            }
            Self::CircuitOpen { retry_after } => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "circuit-open",
                "aux-service is failing",
                "The service behind this one keeps failing on this route, so no call is made for a moment.",
            )
            .retry_after(*retry_after),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        error.problem()
    }
}

impl CacheableError for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Problem(problem) if problem.status().is_client_error() => {
                // aux-service sends the lifetime of its own negative entry.
                match problem.max_age {
                    Some(ttl) => Disposition::Negative { ttl },
                    None => Disposition::Definitive,
                }
            }
            Self::ResponseTooLarge => Disposition::Definitive,
            Self::Problem(_)
            | Self::UpstreamBusy { .. }
            | Self::UpstreamUnavailable(_)
            | Self::UpstreamTimeout
            | Self::CircuitOpen { .. } => Disposition::Transient,
        }
    }

    fn heap_bytes(&self) -> usize {
        let Self::Problem(problem) = self else { return 0 };
        let Problem { kind, title, detail, code, error, request_id, aws_error, .. } = &**problem;
        let texts = [kind, title, detail, code, error].map(|text| text.len());
        let of_aws = aws_error.as_ref().map_or(0, |aws| aws.code.len() + aws.message.len());
        size_of::<Problem>() + request_id.capacity() + texts.iter().sum::<usize>() + of_aws
    }
}
