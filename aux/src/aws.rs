//! The questions put to AWS: the only file that knows the SDK.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use aws_config::{
    BehaviorVersion, SdkConfig,
    retry::{ErrorKind, RetryConfig},
    timeout::TimeoutConfig,
};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::types::Bucket;
use aws_sdk_ssm::{
    config::retry::{ClassifyRetry, RetryAction},
    error::{ProvideErrorMetadata, SdkError},
    types::{Parameter as SsmParameter, ParameterType},
};
use aws_smithy_runtime_api::client::{
    interceptors::context::InterceptorContext,
    retries::classifiers::{RetryClassifierPriority, RetryReason},
};
use shared::problem::Cause;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    error::Error,
    inventory::{Inventory, Parameter},
    name::{ParameterName, ParameterPath},
};

/// Attempts of one call, the first included. main-api tries up to three times as well, so a
/// request can cost six calls; throttled ones are not tried again at all.
const ATTEMPTS: u32 = 2;

/// When AWS throttles, it does not say for how long. A second refills any of its quotas.
const THROTTLE_PAUSE: Duration = Duration::from_secs(1);

/// The most that each list answers a page. `ListBuckets` must be told one, or S3 refuses to list
/// for accounts with a quota above ten thousand.
const BUCKETS_PER_PAGE: i32 = 1000;
const PARAMETERS_PER_PAGE: i32 = 50;
const VALUES_PER_PAGE: i32 = 10;

pub(crate) const REQUESTS: &str = "aws_requests_total";
pub(crate) const DURATION: &str = "aws_request_duration_seconds";

pub struct Aws {
    s3: aws_sdk_s3::Client,
    ssm: aws_sdk_ssm::Client,
    list_timeout: Duration,
    decrypt: bool,
    s3_degraded: AtomicBool,
    ssm_degraded: AtomicBool,
}

/// The calls that this service makes, by the names that AWS gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    ListBuckets,
    DescribeParameters,
    GetParameter,
    GetParametersByPath,
}

impl Operation {
    const ALL: [Self; 4] = [
        Self::ListBuckets,
        Self::DescribeParameters,
        Self::GetParameter,
        Self::GetParametersByPath,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::DescribeParameters => "DescribeParameters",
            Self::GetParameter => "GetParameter",
            Self::GetParametersByPath => "GetParametersByPath",
        }
    }
}

/// The label `outcome` of the metrics of calls.
const OUTCOMES: [&str; 6] = ["ok", "not_found", "denied", "throttled", "timeout", "error"];

fn outcome<T>(result: &Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Error::ParameterNotFound) => "not_found",
        Err(Error::AwsAccessDenied(_)) => "denied",
        Err(Error::AwsThrottled { .. }) => "throttled",
        Err(Error::AwsTimeout(_)) => "timeout",
        Err(
            Error::InvalidParameterName(_)
            | Error::RefusedParameterName(_)
            | Error::ParameterNotAllowed
            | Error::SecureStringNotAllowed
            | Error::AwsCredentials(_)
            | Error::AwsUnavailable(_),
        ) => "error",
    }
}

impl Aws {
    /// Reads AWS's own configuration: variables, profile, web identity, container, instance.
    /// Ends the process with status 2 when no region is set, as no call could be made.
    pub async fn connect(config: &Config) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.aws_attempt_timeout)
            .operation_attempt_timeout(config.aws_attempt_timeout)
            .operation_timeout(config.aws_operation_timeout)
            .build();
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .load()
            .await;
        if sdk.region().is_none() {
            shared::config::refuse::<Config>(
                "no AWS region is set; set AWS_REGION, for example to eu-west-2, or say --backend embedded",
            );
        }
        Self::new(&sdk, config)
    }

    fn new(sdk: &SdkConfig, config: &Config) -> Self {
        describe_metrics();
        let s3 = aws_sdk_s3::config::Builder::from(sdk)
            .retry_classifier(NeverRetryThrottling)
            // An endpoint of one's own (an emulator, a gateway) has no host for each bucket.
            .force_path_style(sdk.endpoint_url().is_some())
            .build();
        let ssm =
            aws_sdk_ssm::config::Builder::from(sdk).retry_classifier(NeverRetryThrottling).build();
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            ssm: aws_sdk_ssm::Client::from_conf(ssm),
            list_timeout: config.aws_list_timeout,
            decrypt: config.allow_secure_strings,
            s3_degraded: AtomicBool::new(false),
            ssm_degraded: AtomicBool::new(false),
        }
    }

    /// Every call to AWS passes here: it is measured, and its error is understood.
    async fn call<T, E, R>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, SdkError<E, R>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        let started = Instant::now();
        let result = call.await.map_err(|error| understand(operation, error));
        let outcome = outcome(&result);
        let elapsed = started.elapsed().as_secs_f64();
        let operation_label = operation.name();
        metrics::counter!(REQUESTS, "operation" => operation_label, "outcome" => outcome)
            .increment(1);
        metrics::histogram!(DURATION, "operation" => operation_label, "outcome" => outcome)
            .record(elapsed);

        let degraded = match operation {
            Operation::ListBuckets => &self.s3_degraded,
            _ => &self.ssm_degraded,
        };
        // An answer that blames the caller is as good a sign of life as any.
        let answered = matches!(
            result,
            Ok(_) | Err(Error::ParameterNotFound | Error::RefusedParameterName(_))
        );
        degraded.store(!answered, Relaxed);
        result
    }

    /// A list that was not read to its end is no list, however long it took.
    async fn list<T>(
        &self,
        pages: impl Future<Output = Result<Vec<T>, Error>>,
    ) -> Result<Vec<T>, Error> {
        timeout(self.list_timeout, pages).await.unwrap_or(Err(Error::AwsTimeout(None)))
    }
}

#[async_trait]
impl Inventory for Aws {
    async fn buckets(&self) -> Result<Vec<String>, Error> {
        self.list(async {
            let mut pages =
                self.s3.list_buckets().max_buckets(BUCKETS_PER_PAGE).into_paginator().send();
            let (mut names, mut token) = (Vec::new(), Token::default());
            while let Some(page) =
                self.call(Operation::ListBuckets, async { pages.next().await.transpose() }).await?
            {
                token.follow(Operation::ListBuckets, page.continuation_token)?;
                names.extend(
                    page.buckets.into_iter().flatten().filter_map(|Bucket { name, .. }| name),
                );
            }
            Ok(names)
        })
        .await
    }

    async fn parameters(&self) -> Result<Vec<String>, Error> {
        self.list(async {
            let mut pages = self
                .ssm
                .describe_parameters()
                .max_results(PARAMETERS_PER_PAGE)
                .into_paginator()
                .send();
            let (mut names, mut token) = (Vec::new(), Token::default());
            // A page may be empty and still not be the last.
            while let Some(page) = self
                .call(Operation::DescribeParameters, async { pages.next().await.transpose() })
                .await?
            {
                token.follow(Operation::DescribeParameters, page.next_token)?;
                names.extend(page.parameters.into_iter().flatten().filter_map(|found| found.name));
            }
            Ok(names)
        })
        .await
    }

    async fn parameter(&self, name: &ParameterName) -> Result<Parameter, Error> {
        let request =
            self.ssm.get_parameter().name(name.as_str()).with_decryption(self.decrypt).send();
        let answer = self.call(Operation::GetParameter, request).await?;
        answer.parameter.and_then(parameter).ok_or_else(|| broken(Operation::GetParameter))
    }

    async fn values(&self, path: &ParameterPath) -> Result<Vec<Parameter>, Error> {
        self.list(async {
            let mut pages = self
                .ssm
                .get_parameters_by_path()
                .path(path.as_str())
                .recursive(true)
                .with_decryption(self.decrypt)
                .max_results(VALUES_PER_PAGE)
                .into_paginator()
                .send();
            let (mut found, mut token) = (Vec::new(), Token::default());
            while let Some(page) = self
                .call(Operation::GetParametersByPath, async { pages.next().await.transpose() })
                .await?
            {
                token.follow(Operation::GetParametersByPath, page.next_token)?;
                for parameter in page.parameters.into_iter().flatten().map(parameter) {
                    found.push(parameter.ok_or_else(|| broken(Operation::GetParametersByPath))?);
                }
            }
            Ok(found)
        })
        .await
    }

    fn health(&self) -> serde_json::Value {
        let word = |degraded: &AtomicBool| if degraded.load(Relaxed) { "degraded" } else { "ok" };
        serde_json::json!({ "s3": word(&self.s3_degraded), "ssm": word(&self.ssm_degraded) })
    }
}

/// `None`: AWS left out what every parameter has. An empty value would be believed.
fn parameter(found: SsmParameter) -> Option<Parameter> {
    Some(Parameter {
        name: found.name?,
        value: Zeroizing::new(found.value?),
        secure: found.r#type == Some(ParameterType::SecureString),
    })
}

/// Where a list goes on.
#[derive(Default)]
struct Token(Option<String>);

impl Token {
    /// When pages go in a circle the SDK just stops, and half a list would pass for a whole one.
    fn follow(&mut self, operation: Operation, next: Option<String>) -> Result<(), Error> {
        if next.is_some() && next == self.0 {
            return Err(broken(operation));
        }
        self.0 = next;
        Ok(())
    }
}

/// Classifies an error by its code. The HTTP status would mislead: SSM reports throttling with 400.
fn understand<E, R>(operation: Operation, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let code = error.code().map(str::to_owned);
    let timed_out = match &error {
        SdkError::TimeoutError(_) => true,
        SdkError::DispatchFailure(failure) => failure.is_timeout(),
        _ => false,
    };
    let lacks_credentials = causes(&error).any(|cause| cause.is::<CredentialsError>());
    let refused = Refused { operation, code: code.clone().unwrap_or_default() };

    match code.as_deref() {
        Some("ParameterNotFound" | "ParameterVersionNotFound") => Error::ParameterNotFound,
        Some(
            "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "BandwidthLimitExceeded"
            | "PriorRequestNotComplete"
            | "SlowDown",
        ) => Error::AwsThrottled { retry_after: THROTTLE_PAUSE, cause: Some(Arc::new(refused)) },
        // KMS's refusals come through SSM: a key that is gone, disabled or not ours to use.
        Some(
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "AllAccessDisabled"
            | "InvalidKeyId"
            | "KMSAccessDeniedException",
        ) => Error::AwsAccessDenied(Arc::new(refused)),
        // What AWS says of a signature repeats the signed request, so only its code is kept.
        Some(
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "RequestExpired"
            | "RequestTimeTooSkewed"
            | "IncompleteSignature"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "MissingSecurityHeader"
            | "AuthFailure"
            | "NotSignedUp"
            | "OptInRequired",
        ) => Error::AwsCredentials(Arc::new(refused)),
        Some("ValidationException") if operation == Operation::GetParameter => {
            Error::RefusedParameterName(Arc::new(refused))
        }
        _ if lacks_credentials => Error::AwsCredentials(Arc::new(error)),
        _ if timed_out => Error::AwsTimeout(Some(Arc::new(error))),
        Some(_) => Error::AwsUnavailable(Arc::new(refused)),
        None => Error::AwsUnavailable(Arc::new(error)),
    }
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| -> Option<&'a (dyn StdError + 'static)> {
        let error: &'a (dyn StdError + 'static) = *error;
        error.source()
    })
}

fn broken(operation: Operation) -> Error {
    Error::AwsUnavailable(
        Arc::new(Refused { operation, code: "an empty answer".to_owned() }) as Cause
    )
}

/// AWS's answer to a call that it did not serve: for the log.
#[derive(Debug, thiserror::Error)]
#[error("{} answered {code}", operation.name())]
struct Refused {
    operation: Operation,
    code: String,
}

/// Trying again at once takes more of the very quota that is used up, and it is the whole account's.
#[derive(Debug)]
struct NeverRetryThrottling;

impl ClassifyRetry for NeverRetryThrottling {
    fn name(&self) -> &'static str {
        "never retry throttling"
    }

    /// After all others, since it judges what they found.
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }

    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, _: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        match previous {
            RetryAction::RetryIndicated(RetryReason::RetryableError {
                kind: ErrorKind::ThrottlingError,
                ..
            }) => RetryAction::RetryForbidden,
            _ => RetryAction::NoActionIndicated,
        }
    }
}

fn describe_metrics() {
    metrics::describe_counter!(REQUESTS, "Calls to AWS by operation and outcome");
    metrics::describe_histogram!(DURATION, "Time of one call to AWS, its retries included");
    for operation in Operation::ALL.map(Operation::name) {
        for outcome in OUTCOMES {
            metrics::counter!(REQUESTS, "operation" => operation, "outcome" => outcome).absolute(0);
        }
    }
}
