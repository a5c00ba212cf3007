use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::{error::ErrorMetadata, operation::get_parameter::GetParameterError};
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::*;

/// The type of the raw response; the classification never reads it.
type Raw = &'static str;

fn class(operation: Operation, code: Option<&str>) -> ErrorClass {
    classify(FailedCall { operation, code, lacks_credentials: false, timed_out: false })
}

fn assert_class(codes: &[&str], expected: ErrorClass) {
    for code in codes {
        for operation in Operation::ALL {
            assert_eq!(class(operation, Some(code)), expected, "{code} of {operation:?}");
        }
    }
}

#[test]
fn an_unknown_parameter_or_version_is_not_found() {
    assert_class(&["ParameterNotFound", "ParameterVersionNotFound"], ErrorClass::ParameterNotFound);
}

#[test]
fn each_code_for_throttling_is_recognised() {
    assert_class(
        &[
            "ThrottlingException",
            "Throttling",
            "ThrottledException",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestThrottledException",
            "BandwidthLimitExceeded",
            "PriorRequestNotComplete",
            "SlowDown",
        ],
        ErrorClass::Throttled,
    );
}

#[test]
fn a_denied_call_and_a_denied_key_are_denied_access() {
    assert_class(
        &[
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "AllAccessDisabled",
            "InvalidKeyId",
            "KMSAccessDeniedException",
        ],
        ErrorClass::AccessDenied,
    );
}

#[test]
fn each_code_for_credentials_and_signatures_is_recognised() {
    assert_class(
        &[
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "InvalidToken",
            "ExpiredToken",
            "ExpiredTokenException",
            "TokenRefreshRequired",
            "RequestExpired",
            "RequestTimeTooSkewed",
            "IncompleteSignature",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "MissingSecurityHeader",
            "AuthFailure",
            "NotSignedUp",
            "OptInRequired",
        ],
        ErrorClass::Credentials,
    );
}

#[test]
fn a_rejected_name_is_an_error_of_reads_alone() {
    for operation in
        [Operation::GetParameter, Operation::GetParameters, Operation::GetParametersByPath]
    {
        assert_eq!(class(operation, Some("ValidationException")), ErrorClass::RefusedParameterName);
    }
    for operation in [Operation::ListBuckets, Operation::DescribeParameters] {
        assert_eq!(class(operation, Some("ValidationException")), ErrorClass::Unavailable);
    }
}

#[test]
fn any_other_code_means_that_aws_is_unavailable() {
    assert_class(
        &["InternalServerError", "InternalError", "ServiceUnavailable", "NoSuchBucket", ""],
        ErrorClass::Unavailable,
    );
    // Codes are compared as AWS spells them.
    assert_class(&["throttlingexception", "AccessDenied "], ErrorClass::Unavailable);
}

#[test]
fn a_call_without_a_code_is_classified_by_its_failure() {
    for (lacks_credentials, timed_out, expected) in [
        (false, false, ErrorClass::Unavailable),
        (false, true, ErrorClass::Timeout),
        (true, false, ErrorClass::Credentials),
        (true, true, ErrorClass::Credentials),
    ] {
        for operation in Operation::ALL {
            let call = FailedCall { operation, code: None, lacks_credentials, timed_out };
            assert_eq!(classify(call), expected, "{call:?}");
        }
    }
}

#[test]
fn the_code_outweighs_the_failure() {
    let call = FailedCall {
        operation: Operation::GetParameter,
        code: Some("SlowDown"),
        lacks_credentials: true,
        timed_out: true,
    };
    assert_eq!(classify(call), ErrorClass::Throttled);
}

#[test]
fn each_code_is_listed_once() {
    for (index, (code, _)) in CLASSES.iter().enumerate() {
        assert!(CLASSES[..index].iter().all(|(other, _)| other != code), "{code}");
    }
}

fn response_with(code: &str) -> Error {
    let metadata = ErrorMetadata::builder().code(code).message("the signed request: hush").build();
    let error = SdkError::service_error(GetParameterError::generic(metadata), "the raw response");
    classify_error(Operation::GetParameter, error)
}

fn failure(error: SdkError<GetParameterError, Raw>) -> Error {
    classify_error(Operation::GetParameter, error)
}

/// The texts of an error's whole chain.
fn chain(error: &Error) -> String {
    causes(error).map(|cause| format!("{cause}; ")).collect()
}

#[test]
fn the_cause_holds_the_code_and_not_the_message_of_aws() {
    for code in ["ThrottlingException", "SignatureDoesNotMatch", "InternalServerError"] {
        let text = chain(&response_with(code));
        assert!(text.contains(&format!("AWS responded to GetParameter with {code}")), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn each_class_becomes_its_error() {
    assert!(matches!(response_with("ParameterNotFound"), Error::ParameterNotFound));
    assert!(matches!(response_with("ValidationException"), Error::RefusedParameterName(_)));
    assert!(matches!(response_with("AccessDeniedException"), Error::AwsAccessDenied(_)));
    assert!(matches!(response_with("ExpiredTokenException"), Error::AwsCredentials { .. }));
    assert!(matches!(response_with("InternalServerError"), Error::AwsUnavailable(_)));
    assert!(matches!(
        response_with("ThrottlingException"),
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
        SdkError::response_error("half a response", "the raw response"),
    ] {
        let error = failure(error);
        assert!(matches!(error, Error::AwsUnavailable(_)), "{error:?}");
    }
}

#[test]
fn an_unusable_response_names_its_operation() {
    let text = chain(&empty_response(Operation::GetParameters));
    assert!(text.contains("AWS responded to GetParameters with an empty response"), "{text}");
    let text = chain(&repeated_page_token(Operation::ListBuckets));
    assert!(text.contains("AWS responded to ListBuckets with a repeated page token"), "{text}");
}
