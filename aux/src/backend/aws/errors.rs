//! The classes of failed calls: each class is one [`Error`] for the client.
//!
//! AWS's error code decides, not the HTTP status: SSM reports throttling with status 400.

use std::{error::Error as StdError, fmt, sync::Arc};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use service::contract::problem::Cause;

use super::operation::Operation;
use crate::{
    error::Error,
    quota::{Group, THROTTLE_PAUSE},
};

/// A class of failed calls. Each becomes one variant of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorClass {
    ParameterNotFound,
    RefusedParameterName,
    AccessDenied,
    Throttled,
    Credentials,
    Timeout,
    Unavailable,
}

/// The class of each error code that means the same for every operation.
const CLASSES: &[(&str, ErrorClass)] = &[
    ("ParameterNotFound", ErrorClass::ParameterNotFound),
    ("ParameterVersionNotFound", ErrorClass::ParameterNotFound),
    ("ThrottlingException", ErrorClass::Throttled),
    ("Throttling", ErrorClass::Throttled),
    ("ThrottledException", ErrorClass::Throttled),
    ("TooManyRequestsException", ErrorClass::Throttled),
    ("RequestLimitExceeded", ErrorClass::Throttled),
    ("RequestThrottled", ErrorClass::Throttled),
    ("RequestThrottledException", ErrorClass::Throttled),
    ("BandwidthLimitExceeded", ErrorClass::Throttled),
    ("PriorRequestNotComplete", ErrorClass::Throttled),
    ("SlowDown", ErrorClass::Throttled),
    ("AccessDenied", ErrorClass::AccessDenied),
    ("AccessDeniedException", ErrorClass::AccessDenied),
    ("UnauthorizedOperation", ErrorClass::AccessDenied),
    ("AllAccessDisabled", ErrorClass::AccessDenied),
    // Refusals by KMS arrive through SSM: the key is deleted, disabled or not permitted to us.
    ("InvalidKeyId", ErrorClass::AccessDenied),
    ("KMSAccessDeniedException", ErrorClass::AccessDenied),
    ("UnrecognizedClientException", ErrorClass::Credentials),
    ("InvalidClientTokenId", ErrorClass::Credentials),
    ("InvalidAccessKeyId", ErrorClass::Credentials),
    ("InvalidToken", ErrorClass::Credentials),
    ("ExpiredToken", ErrorClass::Credentials),
    ("ExpiredTokenException", ErrorClass::Credentials),
    ("TokenRefreshRequired", ErrorClass::Credentials),
    ("RequestExpired", ErrorClass::Credentials),
    ("RequestTimeTooSkewed", ErrorClass::Credentials),
    ("IncompleteSignature", ErrorClass::Credentials),
    ("InvalidSignatureException", ErrorClass::Credentials),
    ("SignatureDoesNotMatch", ErrorClass::Credentials),
    ("MissingAuthenticationToken", ErrorClass::Credentials),
    ("MissingAuthenticationTokenException", ErrorClass::Credentials),
    ("MissingSecurityHeader", ErrorClass::Credentials),
    ("AuthFailure", ErrorClass::Credentials),
    ("NotSignedUp", ErrorClass::Credentials),
    ("OptInRequired", ErrorClass::Credentials),
];

/// The facts that decide the class of a failed call.
#[derive(Clone, Copy, Debug)]
struct FailedCall<'a> {
    operation: Operation,
    /// AWS's error code; absent if AWS sent none, or no response at all.
    code: Option<&'a str>,
    /// Whether the SDK found no credentials to sign the call with.
    lacks_credentials: bool,
    /// Whether the last attempt timed out.
    timed_out: bool,
}

/// Returns the class of a failed call. A listed code decides before everything else.
fn classify(call: FailedCall<'_>) -> ErrorClass {
    let listed = CLASSES.iter().find(|(code, _)| call.code == Some(code));
    match (listed, call.code) {
        (Some((_, class)), _) => *class,
        // A client chooses the name or path of a read, and nothing of the calls for the two lists.
        (None, Some("ValidationException")) if call.operation.group() == Group::Reads => {
            ErrorClass::RefusedParameterName
        }
        _ if call.lacks_credentials => ErrorClass::Credentials,
        _ if call.timed_out => ErrorClass::Timeout,
        _ => ErrorClass::Unavailable,
    }
}

/// Converts an error of the SDK into the error of its class.
pub(super) fn classify_error<E, R>(operation: Operation, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let code = error.code().map(str::to_owned);
    let class = classify(FailedCall {
        operation,
        code: code.as_deref(),
        lacks_credentials: causes(&error).any(|cause| cause.is::<CredentialsError>()),
        timed_out: match &error {
            SdkError::TimeoutError(_) => true,
            SdkError::DispatchFailure(failure) => failure.is_timeout(),
            _ => false,
        },
    });
    // AWS's message about a signature repeats the signed request, so the cause of an error with a
    // code holds only the code.
    let cause: Cause = match code {
        Some(code) => Arc::new(UnusableResponse { operation, content: code }),
        None => Arc::new(error),
    };
    match class {
        ErrorClass::ParameterNotFound => Error::ParameterNotFound,
        ErrorClass::RefusedParameterName => Error::RefusedParameterName(cause),
        ErrorClass::AccessDenied => Error::AwsAccessDenied(cause),
        ErrorClass::Throttled => {
            Error::AwsThrottled { retry_after: THROTTLE_PAUSE, cause: Some(cause) }
        }
        ErrorClass::Credentials => Error::AwsCredentials { retryable: false, cause },
        ErrorClass::Timeout => Error::AwsTimeout(Some(cause)),
        ErrorClass::Unavailable => Error::AwsUnavailable(cause),
    }
}

/// Returns an error, then its source, the source of that, and so on.
pub(super) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| -> Option<&'a (dyn StdError + 'static)> {
        let error: &'a (dyn StdError + 'static) = *error;
        error.source()
    })
}

/// The error of a successful response that lacks what was requested.
pub(super) fn empty_response(operation: Operation) -> Error {
    unusable_response(operation, "an empty response")
}

/// The error of a page whose token is the one that requested it. Following the token would never
/// end.
pub(super) fn repeated_page_token(operation: Operation) -> Error {
    unusable_response(operation, "a repeated page token")
}

fn unusable_response(operation: Operation, content: &str) -> Error {
    Error::AwsUnavailable(Arc::new(UnusableResponse { operation, content: content.to_owned() }))
}

/// A response of AWS that serves no request: its operation, and AWS's error code or our finding,
/// for the log.
#[derive(Debug, thiserror::Error)]
#[error("AWS responded to {} with {content}", operation.name())]
struct UnusableResponse {
    operation: Operation,
    content: String,
}

#[cfg(test)]
mod tests;
