//! The error of a failed load of credentials, made without any text of a provider.
//!
//! The text of a provider may hold secrets: the output of a credential process, the body of a
//! response, a line of a profile. An error holds only words of ours, the host of the endpoint, its
//! status and AWS's error code.

use std::{error::Error as StdError, time::Duration};

use aws_credential_types::provider::error::CredentialsError;

use super::{
    super::errors::causes,
    exchange::{Exchange, ExchangeOutcome},
};

/// The reason for a failed load of credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AWS credentials cannot be loaded: {reason}")]
pub(super) struct LoadError {
    /// Whether the same load may succeed a little later, without a change of the configuration.
    pub(super) passing: bool,
    reason: String,
}

/// AWS's codes for refusals that pass, although their status is 4xx.
const PASSING_CODES: [&str; 6] = [
    "IDPCommunicationError",
    "IDPCommunicationErrorException",
    "IdpCommunicationErrorException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// The upper bound of an error code's length. A longer word is text of another kind.
const MAX_CODE_LENGTH: usize = 64;

impl LoadError {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self { passing: true, reason: reason.into() }
    }

    pub(super) fn definitive(reason: impl Into<String>) -> Self {
        Self { passing: false, reason: reason.into() }
    }

    /// The error of a load that took longer than its timeout.
    pub(super) fn timed_out(timeout: Duration) -> Self {
        Self::passing(format!("no provider delivered them within {timeout:?}"))
    }

    /// Classifies an error of the SDK's providers by the last exchange of the load.
    pub(super) fn classify(error: &CredentialsError, last: Option<&Exchange>) -> Self {
        let missing = matches!(error, CredentialsError::CredentialsNotLoaded(_));
        let Some(Exchange { host, outcome }) = last else {
            return Self::without_exchange(error, missing);
        };
        match *outcome {
            ExchangeOutcome::Refused => Self::passing(format!("{host} refused the connection")),
            // The SDK probes the instance metadata service as its last resort. Most machines
            // outside of EC2 have none, so its silence means that no provider is configured.
            _ if missing => Self::missing(),
            ExchangeOutcome::Pending => Self::passing(format!("{host} did not respond in time")),
            ExchangeOutcome::Failed => {
                Self::passing(format!("{host} cannot be reached, or broke off its response"))
            }
            ExchangeOutcome::Status(status @ (429 | 500..)) => {
                Self::passing(format!("{host} responded with status {status}"))
            }
            ExchangeOutcome::Status(status @ 400..) => {
                let code = causes(error).find_map(error_code);
                let text = match &code {
                    Some(code) => format!("{host} responded with status {status} ({code})"),
                    None => format!("{host} responded with status {status}"),
                };
                let passes = code.is_some_and(|code| PASSING_CODES.contains(&code.as_str()));
                Self { passing: passes, reason: text }
            }
            ExchangeOutcome::Status(_) => {
                Self::definitive(format!("the response of {host} holds no valid credentials"))
            }
        }
    }

    /// The error of a process for which no provider is configured.
    pub(super) fn missing() -> Self {
        Self::definitive(
            "no provider is configured: no variables, no profile, no web identity, no container endpoint, and no role of an instance",
        )
    }

    /// The error of a load that made no request.
    fn without_exchange(error: &CredentialsError, missing: bool) -> Self {
        let says = |text: &str| causes(error).any(|cause| cause.to_string().contains(text));
        if missing {
            Self::missing()
        } else if says("external process") {
            Self::definitive(
                "the credential_process of the profile failed; run it by hand to see its output",
            )
        } else if says("SSO") {
            Self::definitive("the profile's SSO session has no valid token; run `aws sso login`")
        } else {
            Self::definitive(
                "the configuration of their provider is invalid, or its file cannot be read",
            )
        }
    }
}

/// Returns the error code at the start of an error of AWS: `CodeException: …` or
/// `unhandled error (Code)`.
fn error_code(error: &(dyn StdError + 'static)) -> Option<String> {
    let text = error.to_string();
    let code = match text.strip_prefix("unhandled error (") {
        Some(rest) => rest.split_once(')')?.0,
        None => {
            let first = text.split([':', ' ']).next()?;
            let modeled = first.ends_with("Exception") || first.ends_with("Error");
            if !modeled {
                return None;
            }
            first
        }
    };
    let plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain && !code.is_empty() && code.len() <= MAX_CODE_LENGTH).then(|| code.to_owned())
}

#[cfg(test)]
mod tests;
