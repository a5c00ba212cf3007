//! Calls that AWS refuses, and the errors that a client of either service gets.

use e2e::{
    moto::Aws,
    proxy::Answer,
    refusals::{self, s3, ssm},
    service,
    stack::{ROUTES, Stack, each_route},
};

/// Makes AWS respond like this on every route that could get such a response, and checks the
/// clients' errors.
async fn heard(s3: &[Answer], ssm: &[Answer], status: u16, code: &str, retryable: bool) {
    let stack = Stack::start().await;
    for round in 0..s3.len().max(ssm.len()) {
        stack.aws.proxy.fail_all(ssm[round % ssm.len()].clone());
        stack.aws.proxy.fail("ListBuckets", s3[round % s3.len()].clone());
        each_route(async |path, _| {
            let problem = stack.refused(path, status, code).await;
            assert_eq!(problem["retryable"], retryable, "{path}: {problem}");
            // The service's identity on AWS and its missing permissions concern the operator, not
            // the client.
            let text = problem.to_string();
            assert!(!text.contains("arn:") && !text.contains("polic"), "{path}: {problem}");
        })
        .await;
    }
}

#[tokio::test]
async fn throttling_is_aws_throttled_with_any_status() {
    heard(
        &[refusals::s3_throttled()],
        &[refusals::ssm_throttled(), ssm(429, "TooManyRequestsException", "Slow down")],
        503,
        "aws-throttled",
        true,
    )
    .await;
}

#[tokio::test]
async fn denied_access_is_told_as_such() {
    heard(
        &[refusals::s3_denied()],
        &[refusals::ssm_denied(), refusals::kms_denied()],
        403,
        "aws-access-denied",
        false,
    )
    .await;
}

#[tokio::test]
async fn rejected_credentials_are_aws_credentials() {
    heard(
        &[
            refusals::s3_expired(),
            s3(403, "InvalidAccessKeyId", "The key you provided does not exist in our records."),
            s3(403, "SignatureDoesNotMatch", "The request signature does not match."),
            s3(400, "InvalidToken", "The provided token is malformed or otherwise invalid."),
        ],
        &[
            refusals::ssm_expired(),
            ssm(400, "UnrecognizedClientException", "The security token is invalid."),
            ssm(400, "InvalidSignatureException", "The request signature does not match."),
            ssm(400, "MissingAuthenticationTokenException", "Missing Authentication Token"),
        ],
        502,
        "aws-credentials",
        false,
    )
    .await;
}

#[tokio::test]
async fn a_server_error_of_aws_is_aws_unavailable() {
    heard(
        &[
            s3(500, "InternalError", "We encountered an internal error. Please try again."),
            s3(503, "ServiceUnavailable", "Service is unable to handle request."),
        ],
        &[
            ssm(500, "InternalServerError", "An error occurred on the server side."),
            ssm(503, "ServiceUnavailable", "Try again."),
        ],
        502,
        "aws-unavailable",
        true,
    )
    .await;
}

#[tokio::test]
async fn an_unknown_error_of_aws_is_a_server_error() {
    heard(
        &[s3(418, "SomethingNew", "A new error of 2031.")],
        &[ssm(400, "SomethingNewException", "A new error of 2031.")],
        502,
        "aws-unavailable",
        true,
    )
    .await;
}

#[tokio::test]
async fn missing_credentials_are_aws_credentials() {
    let aws = Aws::start().await;
    let aux = service::Setup::of("aux-service")
        .with("AWS_ENDPOINT_URL", &aws.proxy.url)
        .with("AWS_REGION", e2e::moto::REGION)
        // Otherwise the SDK would look for the metadata service of a virtual machine.
        .with("AWS_EC2_METADATA_DISABLED", "true")
        .with("CACHE", "off")
        .start()
        .await;
    for (path, _) in ROUTES {
        aux.get(path).await.problem(502, "aws-credentials");
    }
    assert_eq!(aws.proxy.all_calls(), 0);
}

#[tokio::test]
async fn a_parameter_that_vanished_and_a_version_that_never_was_are_not_found() {
    let stack = Stack::start().await;
    for code in ["ParameterNotFound", "ParameterVersionNotFound"] {
        stack.aws.proxy.fail("GetParameter", ssm(400, code, ""));
        stack.refused("/param/app/key", 404, "parameter-not-found").await;
    }
}

#[tokio::test]
async fn a_name_that_only_aws_knows_to_be_wrong_is_the_callers_fault() {
    let stack = Stack::start().await;
    let refusal = ssm(400, "ValidationException", "Parameter name: can't be prefixed with aws");
    stack.aws.proxy.fail("GetParameter", refusal);
    stack.refused("/param/aws/key", 400, "invalid-parameter-name").await;
}

#[tokio::test]
async fn one_passing_error_is_invisible_to_the_client() {
    let stack = Stack::start().await;
    stack.aws.put("/app/key", "hush").await;
    each_route(async |path, operation| {
        let refusal = if operation == "ListBuckets" {
            s3(500, "InternalError", "Please try again.")
        } else {
            ssm(500, "InternalServerError", "Please try again.")
        };
        stack.aws.proxy.fail_nth(operation, 1, refusal);
        stack.main.get(path).await.ok();
        assert_eq!(stack.aws.proxy.calls(operation), 2, "{operation}");
    })
    .await;
}

#[tokio::test]
async fn a_list_of_which_a_page_is_refused_is_refused() {
    let stack = Stack::start().await;
    for number in 0..25 {
        stack.aws.put(&format!("/app/{number}"), "hush").await;
    }
    for (path, operation) in
        [("/params", "DescribeParameters"), ("/values/app", "GetParametersByPath")]
    {
        stack.aws.proxy.fail_nth(operation, 2, refusals::ssm_denied());
        stack.main.get(path).await.problem(403, "aws-access-denied");
        // The second request shows that the second page made the difference.
        stack.main.get(path).await.ok();
    }
}
