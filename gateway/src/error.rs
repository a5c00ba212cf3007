//! What can go wrong, and what the caller is told.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use shared::problem::{Cause, Problem};

/// Variants by what the caller can do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the name is no UTF-8")]
    UndecodableName,
    /// aux-service told what is wrong, so the caller is told the same.
    #[error("aux-service answered with a problem")]
    Problem(Box<Problem>),
    #[error("aux-service cannot be reached, or answered nonsense")]
    UpstreamUnavailable(#[source] Cause),
    #[error("aux-service did not answer in time")]
    UpstreamTimeout,
}

impl Error {
    pub fn problem(&self) -> Problem {
        match self {
            Self::UndecodableName => Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-parameter-name",
                "Invalid parameter name",
                "A parameter's name holds only letters, digits and _ . - / of ASCII.",
            ),
            Self::Problem(problem) => (**problem).clone(),
            Self::UpstreamUnavailable(cause) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "upstream-unavailable",
                "aux-service is unavailable",
                "The service behind this one cannot be reached, or its answer was broken.",
            )
            .retryable()
            .caused_by(cause.clone()),
            Self::UpstreamTimeout => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream-timeout",
                "aux-service is too slow",
                "The service behind this one did not answer in time.",
            )
            .retryable(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}
