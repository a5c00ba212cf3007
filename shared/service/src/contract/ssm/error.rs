//! Errors in AWS's form: `__type`, `message`, and the headers that SDKs read.
//!
//! SDKs act on the code and the status. All of them retry the throttling codes with any status, and
//! the statuses 500, 502, 503 and 504 with any code:
//! - Python: `_THROTTLED_ERROR_CODES` and `_TRANSIENT_STATUS_CODES` of
//!   `botocore/retries/standard.py`, and `botocore/data/_retry.json` for the mode `legacy`;
//! - Rust: `THROTTLING_ERRORS` of `aws-runtime/src/retries/classifiers.rs` and
//!   `TRANSIENT_ERROR_STATUS_CODES` of `aws-smithy-runtime`. This SDK alone waits for
//!   `x-amz-retry-after`, in milliseconds;
//! - JavaScript: `THROTTLING_ERROR_CODES` and `TRANSIENT_ERROR_STATUS_CODES` of
//!   `@smithy/service-error-classification/src/constants.ts`.
//!
//! `InternalServerError` is the error of every operation of SSM, and `ServiceUnavailable` and
//! `ThrottlingException` are common errors of AWS
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html>).

use std::{borrow::Cow, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{CONTENT_TYPE, OWN_APP};
use crate::contract::problem::{AwsError, Problem};

/// The header that repeats the code of an error.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// The pause before a retry in milliseconds.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("x-amz-retry-after");

/// The pause in an error that SDKs retry, if the problem has none: a timeout or an outage.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);

/// The wording of SSM for a name that it cannot hold.
const INVALID_NAME: &str = "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). \
     If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be \
     formed as a mix of letters, numbers and the following 3 symbols .-_";

/// The body of an error.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "__type")]
    code: &'a str,
    message: &'a str,
}

/// Writes the headers of an error's response. Returns its status and its body.
pub(crate) fn render(problem: &Problem, headers: &mut HeaderMap) -> (StatusCode, Vec<u8>) {
    // The problem's own headers hold for this form too. Its body is replaced.
    problem.render_headers(headers);
    let (status, code, message) = form(problem);
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    // A code of another service may be any text.
    if let Ok(code) = HeaderValue::try_from(code) {
        headers.insert(ERROR_TYPE, code);
    }
    if let Some(pause) = problem.retry_after {
        headers.insert(RETRY_AFTER_MS, milliseconds(pause));
    } else if is_retried(status) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(DEFAULT_PAUSE.as_secs()));
        headers.insert(RETRY_AFTER_MS, milliseconds(DEFAULT_PAUSE));
    }
    (status, serde_json::to_vec(&Body { code, message }).expect("strings are JSON"))
}

/// Whether SDKs repeat a request that gets this status, whatever the code.
fn is_retried(status: StatusCode) -> bool {
    matches!(status, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE)
}

fn milliseconds(pause: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the status, the code and the message of a problem. Only AWS's own statement that a
/// parameter does not exist becomes `ParameterNotFound`: clients delete data because of it.
fn form(problem: &Problem) -> (StatusCode, &str, &str) {
    const REFUSED: StatusCode = StatusCode::BAD_REQUEST;
    let message = problem.detail.as_ref();
    if let Some(AwsError { code, message }) = &problem.aws_error {
        let status = problem.status();
        let own = status.is_server_error() || status == StatusCode::PAYLOAD_TOO_LARGE;
        return (if own { status } else { REFUSED }, code, message);
    }
    match problem.code.as_ref() {
        "aws-throttled" => (REFUSED, "ThrottlingException", "Rate exceeded"),
        "parameter-not-found" => (REFUSED, "ParameterNotFound", message),
        "parameter-not-allowed" | "secure-string-not-allowed" | "aws-access-denied" => {
            (REFUSED, "AccessDeniedException", message)
        }
        "invalid-parameter-name" => (REFUSED, "ValidationException", INVALID_NAME),
        "parameter-unreadable" => (REFUSED, "ValidationException", message),
        "unauthorized" => (
            REFUSED,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        "circuit-open" | "overloaded" | "list-loading" | "aws-timeout" | "upstream-timeout" => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
        }
        _ => match problem.status() {
            StatusCode::TOO_MANY_REQUESTS => (REFUSED, "ThrottlingException", "Rate exceeded"),
            StatusCode::SERVICE_UNAVAILABLE => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
            }
            StatusCode::BAD_REQUEST => (REFUSED, "ValidationException", message),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", message),
        },
    }
}

/// The error of a request that SSM would refuse.
pub(super) fn refused(code: &'static str, message: impl Into<Cow<'static, str>>) -> AwsError {
    AwsError { code: code.into(), message: message.into() }
}

/// The error of a request that breaks a rule of its operation.
pub fn validation(message: impl Into<Cow<'static, str>>) -> AwsError {
    refused("ValidationException", message)
}

/// The error of a page token that this service has not made for such a request.
pub fn invalid_next_token() -> AwsError {
    refused("InvalidNextToken", "The specified token is not valid.")
}

/// Names the parameter in the problem of one that AWS does not have. Other problems stay.
pub fn not_found(problem: Problem, name: &str) -> Problem {
    match &problem.aws_error {
        Some(AwsError { code, .. }) if code == "ParameterVersionNotFound" => {
            let (name, version) = name.rsplit_once(':').unwrap_or((name, ""));
            let message = format!(
                "Systems Manager could not find version {version} of {name}. Verify the version and try again."
            );
            problem.aws("ParameterVersionNotFound", message)
        }
        None if problem.code == "parameter-not-found" => {
            problem.aws("ParameterNotFound", format!("Parameter {name} not found."))
        }
        _ => problem,
    }
}

/// The problem of a body that is longer than [`super::MAX_BODY_BYTES`].
pub(crate) fn too_large() -> Problem {
    let message = "The body of a request has at most 64 KiB.";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "Payload too large", message)
        .aws("RequestEntityTooLargeException", message)
}

/// The problem of a body that ended before its announced length.
pub(crate) fn incomplete_body() -> Problem {
    refused("SerializationException", "The body of the request is incomplete.").into()
}

/// The problem of a body that a client sends too slowly. SDKs retry this code.
pub(crate) fn slow_body() -> Problem {
    let message = "The body of the request did not arrive in time.";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request timeout", message)
        .aws("RequestTimeout", message)
}

/// Returns the problem of a call that aux-service has made itself: the endpoint of its own SDK leads
/// to this service.
pub(crate) fn refuse_own_call(headers: &HeaderMap) -> Option<Problem> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    let mut names = agent.split(' ').filter_map(|part| part.strip_prefix("app/"));
    names.any(|name| name == OWN_APP).then(|| {
        let message =
            "This call comes from aux-service: its AWS_ENDPOINT_URL leads back to itself.";
        Problem::new(StatusCode::LOOP_DETECTED, "loop-detected", "Loop detected", message)
            .aws("LoopDetectedException", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(problem: &Problem) -> (u16, String, HeaderMap) {
        let mut headers = HeaderMap::new();
        let (status, body) = render(problem, &mut headers);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let code = body["__type"].as_str().expect("a code").to_owned();
        assert_eq!(headers["x-amzn-errortype"], code.as_str());
        assert_eq!(headers["content-type"], "application/x-amz-json-1.1");
        (status.as_u16(), code, headers)
    }

    fn problem(status: u16, code: &'static str) -> Problem {
        // Another service may send a code that this one does not have.
        Problem { status, code: code.into(), ..Problem::internal() }
    }

    #[test]
    fn each_problem_has_a_code_that_sdks_act_on() {
        for (status, code, expected) in [
            (503, "aws-throttled", (400, "ThrottlingException")),
            (429, "bad-request", (400, "ThrottlingException")),
            (404, "parameter-not-found", (400, "ParameterNotFound")),
            (403, "parameter-not-allowed", (400, "AccessDeniedException")),
            (403, "secure-string-not-allowed", (400, "AccessDeniedException")),
            (403, "aws-access-denied", (400, "AccessDeniedException")),
            (401, "unauthorized", (400, "UnrecognizedClientException")),
            (400, "invalid-parameter-name", (400, "ValidationException")),
            (422, "parameter-unreadable", (400, "ValidationException")),
            (503, "circuit-open", (503, "ServiceUnavailable")),
            (503, "overloaded", (503, "ServiceUnavailable")),
            (503, "list-loading", (503, "ServiceUnavailable")),
            (504, "aws-timeout", (503, "ServiceUnavailable")),
            (504, "upstream-timeout", (503, "ServiceUnavailable")),
            (502, "aws-credentials", (500, "InternalServerError")),
            (502, "aws-unavailable", (500, "InternalServerError")),
            (502, "aws-refused", (500, "InternalServerError")),
            (502, "upstream-unavailable", (500, "InternalServerError")),
            (500, "internal", (500, "InternalServerError")),
        ] {
            let (sent, name, _) = rendered(&problem(status, code));
            assert_eq!((sent, name.as_str()), expected, "{code}");
        }
    }

    #[test]
    fn a_404_of_another_service_never_says_that_a_parameter_does_not_exist() {
        for code in ["not-found", "bad-request", "unknown"] {
            let (status, name, _) = rendered(&problem(404, code));
            assert_eq!((status, name.as_str()), (500, "InternalServerError"));
        }
    }

    #[test]
    fn the_pause_before_a_retry_is_sent_in_seconds_and_in_milliseconds() {
        let pause = Duration::from_millis(1200);
        let (_, _, headers) = rendered(&problem(503, "aws-throttled").retry_after(pause));
        assert_eq!(headers["retry-after"], "2");
        assert_eq!(headers["x-amz-retry-after"], "1200");
    }

    #[test]
    fn an_error_that_sdks_retry_always_has_a_pause_and_another_one_has_none() {
        for code in ["upstream-timeout", "upstream-unavailable", "aws-credentials", "internal"] {
            let (_, _, headers) = rendered(&problem(502, code));
            assert_eq!(headers["retry-after"], "1", "{code}");
            assert_eq!(headers["x-amz-retry-after"], "1000", "{code}");
        }
        for (status, code) in [(404, "parameter-not-found"), (403, "parameter-not-allowed")] {
            let (_, _, headers) = rendered(&problem(status, code));
            assert!(!headers.contains_key("retry-after"), "{code}");
            assert!(!headers.contains_key("x-amz-retry-after"), "{code}");
        }
    }

    #[test]
    fn a_missing_version_is_another_error_than_a_missing_parameter() {
        let missing = problem(404, "parameter-not-found");
        let named = not_found(missing.clone(), "/a");
        assert_eq!(named.aws_error.expect("named").message, "Parameter /a not found.");
        let version = missing.aws("ParameterVersionNotFound", "");
        let named = not_found(version, "/a:9").aws_error.expect("named");
        assert_eq!(named.code, "ParameterVersionNotFound");
        assert!(named.message.contains("version 9 of /a."), "{}", named.message);
    }

    #[test]
    fn a_call_of_aux_service_itself_is_recognised() {
        let with_agent = |agent: &'static str| {
            HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static(agent))])
        };
        for agent in ["aws-sdk-rust/1.3 os/linux app/aux-service", "app/aux-service x/1"] {
            assert_eq!(refuse_own_call(&with_agent(agent)).expect("a loop").status, 508, "{agent}");
        }
        for agent in ["aws-sdk-rust/1.3 app/other", "app/aux-service-2", "Boto3/1.40"] {
            assert!(refuse_own_call(&with_agent(agent)).is_none(), "{agent}");
        }
        assert!(refuse_own_call(&HeaderMap::new()).is_none());
    }
}
