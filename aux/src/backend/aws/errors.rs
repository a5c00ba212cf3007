//! The classes of failed calls: each class is one [`Error`] for the client.
//!
//! The operation, AWS's error code, its message and the HTTP status decide, in the order of
//! [`RULES`]. The status alone would mislead: SSM reports throttling with status 400. An error that
//! no rule knows is final with a status 4xx, because AWS refuses the request, and passing otherwise.

use std::{error::Error as StdError, sync::Arc};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use service::contract::problem::Cause;

use super::operation::Operation;
use crate::{
    error::Error,
    quota::{Group, THROTTLE_PAUSE},
};

/// A class of failed calls. Each becomes one variant of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ErrorClass {
    /// The parameter does not exist.
    ParameterNotFound,
    /// The parameter does not have this version or label.
    ParameterVersionNotFound,
    /// The parameter exists and has no text.
    ParameterUnreadable,
    /// The parameter is a secret, and the call did not ask for its decryption.
    SecureString,
    /// AWS rejects the name or the path.
    RefusedParameterName,
    AccessDenied,
    Throttled,
    Credentials,
    /// AWS refuses the call for a reason that no rule knows. The same call will fail again.
    Refused,
    Timeout,
    /// AWS fails. The same call may succeed later.
    Unavailable,
}

use ErrorClass::{
    AccessDenied, Credentials, ParameterNotFound, ParameterUnreadable, ParameterVersionNotFound,
    Refused, RefusedParameterName, SecureString, Throttled, Unavailable,
};

/// The operations to which a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every operation.
    Any,
    /// The operation `GetParameter`, whose response concerns one name alone.
    OneName,
    /// The operations whose name or path the client has chosen.
    Reads,
}

impl Scope {
    fn contains(self, operation: Operation) -> bool {
        match self {
            Self::Any => true,
            Self::OneName => operation == Operation::GetParameter,
            Self::Reads => operation.group() == Some(Group::Reads),
        }
    }
}

/// The class of the calls with an error code and, if given, a part of the message.
struct Rule {
    scope: Scope,
    code: &'static str,
    message: &'static str,
    class: ErrorClass,
}

const fn rule(scope: Scope, code: &'static str, class: ErrorClass) -> Rule {
    Rule { scope, code, message: "", class }
}

const fn any(code: &'static str, class: ErrorClass) -> Rule {
    rule(Scope::Any, code, class)
}

/// The rules. The first one that matches applies.
///
/// Sources: the errors of each operation and the common errors in AWS's references of
/// [SSM](https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html),
/// [S3](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) and
/// [SQS](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html),
/// and the codes that the SDKs treat as throttling.
static RULES: &[Rule] = &[
    // An error for several names says nothing about one of them, so only the call for one name can
    // report that it does not exist.
    rule(Scope::OneName, "ParameterNotFound", ParameterNotFound),
    rule(Scope::OneName, "ParameterVersionNotFound", ParameterVersionNotFound),
    // SSM reads references to Secrets Manager with decryption only.
    Rule {
        scope: Scope::OneName,
        code: "ValidationException",
        message: "WithDecryption",
        class: SecureString,
    },
    // The secret is deleted, or holds bytes instead of a text.
    Rule {
        scope: Scope::OneName,
        code: "ValidationException",
        message: "Secrets Manager",
        class: ParameterUnreadable,
    },
    rule(Scope::Reads, "ValidationException", RefusedParameterName),
    any("ThrottlingException", Throttled),
    any("Throttling", Throttled),
    any("ThrottledException", Throttled),
    any("TooManyRequestsException", Throttled),
    any("RequestLimitExceeded", Throttled),
    any("RequestThrottled", Throttled),
    any("RequestThrottledException", Throttled),
    any("BandwidthLimitExceeded", Throttled),
    any("LimitExceededException", Throttled),
    any("ProvisionedThroughputExceededException", Throttled),
    any("EC2ThrottledException", Throttled),
    any("PriorRequestNotComplete", Throttled),
    any("SlowDown", Throttled),
    any("AccessDenied", AccessDenied),
    any("AccessDeniedException", AccessDenied),
    any("UnauthorizedOperation", AccessDenied),
    any("AllAccessDisabled", AccessDenied),
    // Refusals by KMS arrive through SSM: the key is deleted, disabled or not permitted to us.
    any("InvalidKeyId", AccessDenied),
    any("KMSAccessDeniedException", AccessDenied),
    // The refusals by KMS that arrive through SQS have codes of their own.
    any("KmsAccessDenied", AccessDenied),
    any("KMS.AccessDeniedException", AccessDenied),
    any("KmsThrottled", Throttled),
    any("KMS.ThrottlingException", Throttled),
    any("UnrecognizedClientException", Credentials),
    any("InvalidClientTokenId", Credentials),
    any("InvalidAccessKeyId", Credentials),
    any("InvalidToken", Credentials),
    any("ExpiredToken", Credentials),
    any("ExpiredTokenException", Credentials),
    any("TokenRefreshRequired", Credentials),
    any("RequestExpired", Credentials),
    any("RequestTimeTooSkewed", Credentials),
    any("IncompleteSignature", Credentials),
    any("InvalidSignatureException", Credentials),
    any("SignatureDoesNotMatch", Credentials),
    any("MissingAuthenticationToken", Credentials),
    any("MissingAuthenticationTokenException", Credentials),
    any("MissingSecurityHeader", Credentials),
    any("AuthFailure", Credentials),
    any("NotSignedUp", Credentials),
    any("OptInRequired", Credentials),
    // These are failures of AWS, whatever their status.
    any("InternalServerError", Unavailable),
    any("InternalFailure", Unavailable),
    any("InternalError", Unavailable),
    any("ServiceUnavailable", Unavailable),
    any("ServiceUnavailableException", Unavailable),
    any("RequestTimeout", Unavailable),
    any("RequestTimeoutException", Unavailable),
];

/// The facts that decide the class of a failed call.
#[derive(Clone, Copy, Debug)]
struct FailedCall<'a> {
    operation: Operation,
    /// The HTTP status; absent if no whole response arrived.
    status: Option<u16>,
    /// AWS's error code; absent if AWS sent none, or no response at all.
    code: Option<&'a str>,
    /// AWS's message, or an empty text.
    message: &'a str,
    /// Whether the response has a content type of AWS's protocols. A proxy sends pages instead.
    has_aws_type: bool,
    /// Whether the SDK could not get the credentials to sign the call with.
    credentials_failed: bool,
    /// Whether the last attempt timed out.
    timed_out: bool,
}

/// Returns the class of a failed call.
fn classify(call: FailedCall<'_>) -> ErrorClass {
    let matches = |rule: &&Rule| {
        call.code == Some(rule.code)
            && rule.scope.contains(call.operation)
            && call.message.contains(rule.message)
    };
    match (RULES.iter().find(matches), call.status) {
        (Some(rule), _) => rule.class,
        _ if call.credentials_failed => Credentials,
        _ if call.timed_out => ErrorClass::Timeout,
        (None, Some(429)) => Throttled,
        // A request that arrived too slowly, and a proxy that wants its own credentials.
        (None, Some(408 | 407)) => Unavailable,
        (None, Some(400..=499)) if call.code.is_some() || call.has_aws_type => Refused,
        _ => Unavailable,
    }
}

/// Converts an error of the SDK into the error of its class.
pub(super) fn classify_error<E>(operation: Operation, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let code = error.code().filter(|code| !code.is_empty()).map(str::to_owned);
    // A response that broke off has a status too, but it is no response of AWS.
    let response = error.raw_response().filter(|response| is_whole(response));
    let content_type = response.and_then(|response| response.headers().get("content-type"));
    let class = classify(FailedCall {
        operation,
        status: response.map(|response| response.status().as_u16()),
        code: code.as_deref(),
        message: error.message().unwrap_or_default(),
        has_aws_type: content_type.is_some_and(is_aws_type),
        credentials_failed: causes(&error).any(|cause| cause.is::<CredentialsError>()),
        timed_out: match &error {
            SdkError::TimeoutError(_) => true,
            SdkError::DispatchFailure(failure) => failure.is_timeout(),
            _ => false,
        },
    });
    // AWS's message about a signature repeats the signed request, so the cause of an error with a
    // code holds only the code.
    let cause: Cause = match code {
        Some(code) => Arc::new(UnusableResponse { operation, content: loggable(&code) }),
        None => Arc::new(error),
    };
    match class {
        ParameterNotFound => Error::ParameterNotFound,
        ParameterVersionNotFound => Error::ParameterVersionNotFound,
        ParameterUnreadable => Error::ParameterUnreadable,
        SecureString => Error::SecureStringNotAllowed,
        RefusedParameterName => Error::RefusedParameterName(cause),
        AccessDenied => Error::AwsAccessDenied(cause),
        Throttled => Error::AwsThrottled { retry_after: THROTTLE_PAUSE, cause: Some(cause) },
        Credentials => Error::AwsCredentials { retryable: false, cause },
        Refused => Error::AwsRefused(cause),
        ErrorClass::Timeout => Error::AwsTimeout(Some(cause)),
        Unavailable => Error::AwsUnavailable(cause),
    }
}

/// Whether all bytes of a response have arrived. The SDK also returns the start of a response whose
/// body broke off.
fn is_whole(response: &HttpResponse) -> bool {
    let length = response.headers().get("content-length").and_then(|length| length.parse().ok());
    let body = response.body().bytes();
    body.is_some_and(|body| length.is_none_or(|length: usize| length == body.len()))
}

/// An error code for the log: at most 64 letters, digits and `.-_`. A response may not come from
/// AWS, so its code may be any text.
fn loggable(code: &str) -> String {
    let harmless = |c: &char| c.is_ascii_alphanumeric() || ".-_".contains(*c);
    code.chars().filter(harmless).take(64).collect()
}

/// Whether a content type is one of AWS's protocols, JSON or XML.
fn is_aws_type(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    [
        "application/x-amz-json-1.1",
        "application/x-amz-json-1.0",
        "application/json",
        "application/xml",
        "text/xml",
    ]
    .iter()
    .any(|known| media_type.eq_ignore_ascii_case(known))
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

/// Returns an error with all its causes, for the log.
pub(super) fn chain(error: &Error) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether an error code refuses the token of a page, because the token is invalid or has expired.
/// S3 has no code of its own for that.
pub(super) fn refuses_page_token(code: Option<&str>) -> bool {
    matches!(code, Some("InvalidNextToken" | "InvalidArgument"))
}

/// The error of a successful response that lacks what was requested.
pub(super) fn empty_response(operation: Operation) -> Error {
    unusable_response(operation, "an empty response")
}

/// The error of a page whose token an earlier page had. Following the token would never end.
pub(super) fn repeated_page_token(operation: Operation) -> Error {
    unusable_response(operation, "a repeated page token")
}

/// The error of a list that has more pages than any account can fill.
pub(super) fn too_many_pages(operation: Operation) -> Error {
    unusable_response(operation, "a page token after every page")
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
