use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::{error::ErrorMetadata, operation::get_parameter::GetParameterError};
use aws_smithy_runtime_api::{client::result::ConnectorError, http::StatusCode};

use super::*;

use Operation::{
    DescribeParameters, GetParameter, GetParameters, GetParametersByPath, ListBuckets,
};

fn call(operation: Operation, status: u16, code: &str, message: &'static str) -> ErrorClass {
    let code: Option<&'static str> = match code {
        "" => None,
        code => Some(code.to_owned().leak()),
    };
    classify(FailedCall {
        operation,
        status: Some(status),
        code,
        message,
        has_aws_type: true,
        credentials_failed: false,
        timed_out: false,
    })
}

/// Each row is an operation, a status, a code and a message, with the class of such a call.
#[test]
fn each_failed_call_has_its_class() {
    const DECRYPTION: &str =
        "WithDecryption flag must be True for retrieving a Secret Manager secret.";
    const DELETED: &str = "An error occurred (InvalidRequestException) when referencing Secrets Manager: You can't perform this operation on the secret because it was marked for deletion.";
    for (operation, status, code, message, class) in [
        (GetParameter, 400, "ParameterNotFound", "", ParameterNotFound),
        (GetParameter, 400, "ParameterVersionNotFound", "", ParameterVersionNotFound),
        // Such a response to another operation concerns no name that a client requested.
        (GetParameters, 400, "ParameterNotFound", "", Refused),
        (GetParametersByPath, 400, "ParameterNotFound", "", Refused),
        (DescribeParameters, 400, "ParameterNotFound", "", Refused),
        (ListBuckets, 404, "ParameterNotFound", "", Refused),
        (ListBuckets, 404, "NoSuchBucket", "", Refused),
        (
            GetParameter,
            400,
            "ValidationException",
            "1 validation error detected",
            RefusedParameterName,
        ),
        (GetParameters, 400, "ValidationException", "", RefusedParameterName),
        (GetParametersByPath, 400, "ValidationException", "", RefusedParameterName),
        (DescribeParameters, 400, "ValidationException", "", Refused),
        (ListBuckets, 400, "ValidationException", "", Refused),
        (GetParameter, 400, "ValidationException", DECRYPTION, SecureString),
        (GetParameter, 400, "ValidationException", DELETED, ParameterUnreadable),
        (
            GetParameter,
            400,
            "ValidationException",
            "Invalid Request to Secrets Manager",
            ParameterUnreadable,
        ),
        (GetParameters, 400, "ValidationException", DECRYPTION, RefusedParameterName),
        (GetParameter, 400, "KMSInvalidStateException", "", Refused),
        (GetParameter, 400, "NeverSeenBefore", "", Refused),
        (GetParameter, 400, "", "", Refused),
        (GetParameter, 418, "NeverSeenBefore", "", Refused),
        (GetParameter, 500, "NeverSeenBefore", "", Unavailable),
        (GetParameter, 503, "", "", Unavailable),
        (GetParameter, 429, "NeverSeenBefore", "", Throttled),
        (GetParameter, 429, "", "", Throttled),
        (GetParameter, 408, "", "", Unavailable),
        (GetParameter, 400, "InternalServerError", "", Unavailable),
        (GetParameter, 500, "ThrottlingException", "", Throttled),
        // Codes are compared as AWS spells them.
        (GetParameter, 400, "throttlingexception", "", Refused),
        (GetParameter, 200, "", "", Unavailable),
    ] {
        assert_eq!(call(operation, status, code, message), class, "{operation:?} {status} {code}");
    }
}

/// These codes mean the same for every operation and with every status.
#[test]
fn a_code_with_one_meaning_has_one_class() {
    let general = RULES.iter().filter(|rule| rule.scope == Scope::Any);
    for Rule { code, class, .. } in general {
        for operation in Operation::OF_STORE.into_iter().chain(Operation::OF_QUEUE) {
            for status in [400, 403, 500, 503] {
                assert_eq!(call(operation, status, code, ""), *class, "{code} of {operation:?}");
            }
        }
    }
    for (code, class) in [
        ("ThrottlingException", Throttled),
        ("SlowDown", Throttled),
        ("AccessDenied", AccessDenied),
        ("KMSAccessDeniedException", AccessDenied),
        ("ExpiredTokenException", Credentials),
        ("SignatureDoesNotMatch", Credentials),
    ] {
        assert_eq!(call(GetParameter, 400, code, ""), class, "{code}");
    }
}

#[test]
fn no_rule_is_hidden_by_an_earlier_one() {
    for (index, rule) in RULES.iter().enumerate() {
        let hides = |earlier: &&Rule| {
            earlier.code == rule.code
                && rule.message.contains(earlier.message)
                && (earlier.scope == rule.scope || earlier.scope == Scope::Any)
        };
        let hidden_by = RULES[..index].iter().find(hides);
        assert!(hidden_by.is_none(), "{} {:?}", rule.code, rule.scope);
    }
}

#[test]
fn a_page_of_a_proxy_is_no_refusal_of_aws() {
    for status in [403, 404, 407] {
        for operation in Operation::OF_STORE.into_iter().chain(Operation::OF_QUEUE) {
            let call = FailedCall {
                operation,
                status: Some(status),
                code: None,
                message: "",
                has_aws_type: false,
                credentials_failed: false,
                timed_out: false,
            };
            assert_eq!(classify(call), Unavailable, "{call:?}");
        }
    }
    assert!(is_aws_type("application/x-amz-json-1.1") && is_aws_type("Application/XML; charset=x"));
    assert!(!is_aws_type("text/html") && !is_aws_type(""));
}

#[test]
fn a_call_without_a_response_is_classified_by_its_failure() {
    for (credentials_failed, timed_out, expected) in [
        (false, false, Unavailable),
        (false, true, ErrorClass::Timeout),
        (true, false, Credentials),
        (true, true, Credentials),
    ] {
        for operation in Operation::OF_STORE.into_iter().chain(Operation::OF_QUEUE) {
            let call = FailedCall {
                operation,
                status: None,
                code: None,
                message: "",
                has_aws_type: false,
                credentials_failed,
                timed_out,
            };
            assert_eq!(classify(call), expected, "{call:?}");
        }
    }
}

fn raw(status: u16) -> HttpResponse {
    let status = StatusCode::try_from(status).expect("a status");
    let mut response = HttpResponse::new(status, "".into());
    response.headers_mut().insert("content-type", "application/x-amz-json-1.1");
    response
}

/// A response with less of its body than it announced.
fn broken(status: u16) -> HttpResponse {
    let mut response = raw(status);
    response.headers_mut().insert("content-length", "7");
    response
}

fn response_with(status: u16, code: &str) -> Error {
    let metadata = ErrorMetadata::builder().code(code).message("the signed request: hush").build();
    let error = SdkError::service_error(GetParameterError::generic(metadata), raw(status));
    classify_error(GetParameter, error)
}

fn failure(error: SdkError<GetParameterError>) -> Error {
    classify_error(GetParameter, error)
}

/// The texts of an error's whole chain.
fn chain(error: &Error) -> String {
    causes(error).map(|cause| format!("{cause}; ")).collect()
}

#[test]
fn the_cause_holds_the_code_and_not_the_message_of_aws() {
    for code in ["ThrottlingException", "SignatureDoesNotMatch", "NeverSeenBefore"] {
        let text = chain(&response_with(400, code));
        assert!(text.contains(&format!("AWS responded to GetParameter with {code}")), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn each_class_becomes_its_error() {
    assert!(matches!(response_with(400, "ParameterNotFound"), Error::ParameterNotFound));
    assert!(matches!(response_with(400, "ValidationException"), Error::RefusedParameterName(_)));
    assert!(matches!(response_with(400, "AccessDeniedException"), Error::AwsAccessDenied(_)));
    assert!(matches!(response_with(400, "ExpiredTokenException"), Error::AwsCredentials { .. }));
    assert!(matches!(response_with(400, "KMSInvalidStateException"), Error::AwsRefused(_)));
    assert!(matches!(response_with(400, ""), Error::AwsRefused(_)));
    assert!(matches!(response_with(500, "NeverSeenBefore"), Error::AwsUnavailable(_)));
    assert!(matches!(
        response_with(400, "ThrottlingException"),
        Error::AwsThrottled { retry_after: THROTTLE_PAUSE, cause: Some(_) }
    ));
}

#[test]
fn a_timeout_of_the_sdk_and_of_the_connection_are_timeouts() {
    let connection = ConnectorError::timeout("slow".into());
    for error in [SdkError::timeout_error("slow"), SdkError::dispatch_failure(connection)] {
        let error = failure(error);
        assert!(matches!(error, Error::AwsTimeout(Some(_))), "{error:?}");
    }
}

#[test]
fn missing_credentials_are_found_at_any_depth() {
    let missing = || CredentialsError::not_loaded_no_source();
    let connection = ConnectorError::other(missing().into(), None);
    for error in [SdkError::construction_failure(missing()), SdkError::dispatch_failure(connection)]
    {
        let error = failure(error);
        assert!(matches!(error, Error::AwsCredentials { .. }), "{error:?}");
    }
}

#[test]
fn a_broken_connection_or_response_means_that_aws_is_unavailable() {
    let connection = ConnectorError::io("reset".into());
    for error in [
        SdkError::dispatch_failure(connection),
        SdkError::response_error("half a response", raw(200)),
        SdkError::response_error("half a refusal", broken(400)),
    ] {
        let error = failure(error);
        assert!(matches!(error, Error::AwsUnavailable(_)), "{error:?}");
    }
}

#[test]
fn an_unusable_response_names_its_operation() {
    let text = chain(&empty_response(GetParameters));
    assert!(text.contains("AWS responded to GetParameters with an empty response"), "{text}");
    let text = chain(&repeated_page_token(ListBuckets));
    assert!(text.contains("AWS responded to ListBuckets with a repeated page token"), "{text}");
}

#[test]
fn a_whole_response_without_a_code_is_classified_by_its_status() {
    for (status, throttled) in [(429, true), (403, false)] {
        let error = failure(SdkError::response_error("no code", raw(status)));
        assert_eq!(matches!(error, Error::AwsThrottled { .. }), throttled, "{status}: {error:?}");
        assert_eq!(matches!(error, Error::AwsRefused(_)), !throttled, "{status}: {error:?}");
    }
}

#[test]
fn a_code_in_the_log_is_short_and_harmless() {
    assert_eq!(loggable("Throttling.Exception-1_2"), "Throttling.Exception-1_2");
    assert_eq!(loggable("a b\n\u{1f600}c"), "abc");
    assert_eq!(loggable(&"x".repeat(1000)).len(), 64);
}
