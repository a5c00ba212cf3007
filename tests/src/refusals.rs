//! Errors of S3 and SSM in AWS's own format, byte for byte where it matters.

use crate::proxy::Answer;

/// Builds an error of SSM's JSON 1.1 protocol. The status is 400 for nearly all of them, throttling
/// included; only `__type` distinguishes them.
pub fn ssm(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(
        status,
        "application/x-amz-json-1.1",
        &format!(r#"{{"__type":"{code}","message":"{message}"}}"#),
    )
    .header("x-amzn-requestid", "6f3c6a0e-3f0b-4a5c-9a67-0f1d8c2f7b11")
}

/// Builds an error of S3's XML protocol.
pub fn s3(status: u16, code: &str, message: &str) -> Answer {
    Answer::new(
        status,
        "application/xml",
        &format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
             <RequestId>4442587FB7D0A2F9</RequestId><HostId>c2hvcnQgaG9zdCBpZA==</HostId></Error>"
        ),
    )
    .header("x-amz-request-id", "4442587FB7D0A2F9")
}

pub fn ssm_throttled() -> Answer {
    ssm(400, "ThrottlingException", "Rate exceeded")
}

pub fn s3_throttled() -> Answer {
    s3(503, "SlowDown", "Please reduce your request rate.")
}

pub fn ssm_denied() -> Answer {
    ssm(
        400,
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/aux-service/pod is not authorized to perform this \
         because no identity-based policy allows the action",
    )
}

/// Builds SSM's response for a parameter that may be read while its key may not be used.
pub fn kms_denied() -> Answer {
    ssm(
        400,
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, \
         or you are not allowed to access.",
    )
}

pub fn s3_denied() -> Answer {
    s3(
        403,
        "AccessDenied",
        "User: arn:aws:sts::123456789012:assumed-role/aux-service/pod is not authorized to perform: \
         s3:ListAllMyBuckets because no identity-based policy allows the s3:ListAllMyBuckets action",
    )
}

pub fn ssm_expired() -> Answer {
    ssm(400, "ExpiredTokenException", "The security token included in the request is expired")
}

pub fn s3_expired() -> Answer {
    s3(400, "ExpiredToken", "The provided token has expired.")
}

/// Builds the response of a proxy or load balancer between the service and AWS.
pub fn gateway_page() -> Answer {
    Answer::new(
        200,
        "text/html",
        "<html><body><h1>Welcome to the hotel's network</h1></body></html>",
    )
}
