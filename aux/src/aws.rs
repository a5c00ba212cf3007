//! The AWS backend. Only this file uses the AWS SDK.

use std::{
    collections::HashMap,
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
use aws_sdk_s3::operation::list_buckets::ListBucketsError;
use aws_sdk_ssm::{
    config::retry::{ClassifyRetry, RetryAction},
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        describe_parameters::DescribeParametersError,
        get_parameters_by_path::GetParametersByPathError,
    },
    types::{Parameter as SsmParameter, ParameterType},
};
use aws_smithy_runtime_api::client::{
    interceptors::context::InterceptorContext,
    retries::classifiers::{RetryClassifierPriority, RetryReason},
};
use cache::Priority;
use service::{contract::problem::Cause, observe::trace::Span};
use tokio::time::{Instant, timeout};
use tower::{Service, service_fn, timeout::Timeout};
use zeroize::Zeroizing;

use crate::{
    batch::{Batcher, Source},
    config::Config,
    error::Error,
    inventory::{Inventory, Parameter},
    name::{ParameterName, ParameterPath},
    shield::{Group, Shield, THROTTLE_PAUSE},
};

/// Attempts of one call, the first included. main-api makes up to three attempts as well, so a
/// request can cost six calls. Throttled calls are not retried at all.
const ATTEMPTS: u32 = 2;

/// The upper bound of the pause before the second attempt. The SDK's default of one second would
/// leave that attempt too little time.
const BACKOFF: Duration = Duration::from_millis(100);

/// The size of a page of each list: the maximum that the operation allows. `ListBuckets` needs a
/// size, because S3 otherwise rejects the call for accounts with a bucket quota above 10,000.
const BUCKETS_PER_PAGE: i32 = 1000;
const PARAMETERS_PER_PAGE: i32 = 50;
const VALUES_PER_PAGE: i32 = 10;

pub(crate) const REQUESTS: &str = "aws_requests_total";
pub(crate) const DURATION: &str = "aws_request_duration_seconds";

pub struct Aws {
    batcher: Batcher<Calls>,
}

/// The AWS clients, their quota limiter and their limits.
struct Calls {
    s3: aws_sdk_s3::Client,
    ssm: aws_sdk_ssm::Client,
    shield: Shield,
    operation_timeout: Duration,
    list_timeout: Duration,
    decrypt: bool,
    s3_degraded: AtomicBool,
    ssm_degraded: AtomicBool,
}

/// The AWS operations that this service calls, under the names that AWS uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    ListBuckets,
    DescribeParameters,
    GetParameter,
    GetParameters,
    GetParametersByPath,
}

impl Operation {
    const ALL: [Self; 5] = [
        Self::ListBuckets,
        Self::DescribeParameters,
        Self::GetParameter,
        Self::GetParameters,
        Self::GetParametersByPath,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::DescribeParameters => "DescribeParameters",
            Self::GetParameter => "GetParameter",
            Self::GetParameters => "GetParameters",
            Self::GetParametersByPath => "GetParametersByPath",
        }
    }

    fn group(self) -> Group {
        match self {
            Self::ListBuckets => Group::BucketLists,
            Self::DescribeParameters => Group::ParameterLists,
            Self::GetParameter | Self::GetParameters | Self::GetParametersByPath => Group::Reads,
        }
    }
}

/// The values of the label `outcome` in the metrics of calls.
const OUTCOMES: [&str; 8] =
    ["ok", "not_found", "denied", "throttled", "shielded", "timeout", "credentials", "error"];

fn outcome<T>(result: &Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Error::ParameterNotFound) => "not_found",
        Err(Error::AwsAccessDenied(_)) => "denied",
        Err(Error::AwsThrottled { cause: Some(_), .. }) => "throttled",
        Err(Error::AwsThrottled { cause: None, .. }) => "shielded",
        Err(Error::AwsTimeout(_)) => "timeout",
        Err(Error::AwsCredentials(_)) => "credentials",
        Err(
            Error::InvalidParameterName(_)
            | Error::RefusedParameterName(_)
            | Error::ParameterNotAllowed
            | Error::SecureStringNotAllowed
            | Error::AwsUnavailable(_),
        ) => "error",
    }
}

impl Aws {
    /// Reads AWS's own configuration: environment variables, profile, web identity, container,
    /// instance. Ends the process with status 2 if no region is set, because no call would be
    /// possible.
    pub async fn connect(config: &Config) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.aws_attempt_timeout)
            .operation_attempt_timeout(config.aws_attempt_timeout)
            .build();
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(
                RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACKOFF),
            )
            .load()
            .await;
        if sdk.region().is_none_or(|region| region.as_ref().trim().is_empty()) {
            service::config::exit_with_usage_error::<Config>(
                "no AWS region is set; set AWS_REGION, for example to eu-west-2, or say --backend embedded",
            );
        }
        Self::new(&sdk, config)
    }

    fn new(sdk: &SdkConfig, config: &Config) -> Self {
        describe_metrics();
        let s3 = aws_sdk_s3::config::Builder::from(sdk)
            .retry_classifier(NeverRetryThrottling)
            // A custom endpoint (an emulator, a gateway) has no host name for each bucket.
            .force_path_style(sdk.endpoint_url().is_some())
            .build();
        let ssm =
            aws_sdk_ssm::config::Builder::from(sdk).retry_classifier(NeverRetryThrottling).build();
        let batcher = Batcher::new(Calls {
            s3: aws_sdk_s3::Client::from_conf(s3),
            ssm: aws_sdk_ssm::Client::from_conf(ssm),
            shield: Shield::new(config.aws_rate_get, config.aws_rate_list),
            operation_timeout: config.aws_operation_timeout,
            list_timeout: config.aws_list_timeout,
            decrypt: config.allow_secure_strings,
            s3_degraded: AtomicBool::new(false),
            ssm_degraded: AtomicBool::new(false),
        });
        Self { batcher }
    }

    fn calls(&self) -> &Calls {
        self.batcher.source()
    }
}

#[async_trait]
impl Inventory for Aws {
    async fn buckets(&self, priority: Priority) -> Result<Vec<String>, Error> {
        let Calls { s3, .. } = self.calls();
        let page = |token| async move {
            let request = s3.list_buckets().max_buckets(BUCKETS_PER_PAGE);
            let page = request.set_continuation_token(token).send().await?;
            let names = page.buckets.into_iter().flatten().filter_map(|bucket| bucket.name);
            Ok::<_, SdkError<ListBucketsError>>((names.collect(), page.continuation_token))
        };
        self.calls().list(Operation::ListBuckets, priority, page).await
    }

    async fn parameters(&self, priority: Priority) -> Result<Vec<String>, Error> {
        let Calls { ssm, .. } = self.calls();
        let page = |token| async move {
            let request = ssm.describe_parameters().max_results(PARAMETERS_PER_PAGE);
            let page = request.set_next_token(token).send().await?;
            let names = page.parameters.into_iter().flatten().filter_map(|found| found.name);
            Ok::<_, SdkError<DescribeParametersError>>((names.collect(), page.next_token))
        };
        self.calls().list(Operation::DescribeParameters, priority, page).await
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        priority: Priority,
    ) -> Result<Parameter, Error> {
        match name.selector() {
            None => self.batcher.get(name.bare(), priority).await,
            // `GetParameters` rejects a batch that holds one parameter in two versions, so a name
            // with a version or label gets a call of its own.
            Some(_) => self.calls().get_one(name.as_str(), priority).await,
        }
    }

    async fn values(
        &self,
        path: &ParameterPath,
        priority: Priority,
    ) -> Result<Vec<Parameter>, Error> {
        let Calls { ssm, decrypt, .. } = self.calls();
        let page = |token| async move {
            let request = ssm
                .get_parameters_by_path()
                .path(path.as_str())
                .recursive(true)
                .with_decryption(*decrypt)
                .max_results(VALUES_PER_PAGE);
            let page = request.set_next_token(token).send().await?;
            let found = page.parameters.into_iter().flatten().map(parameter);
            Ok::<_, SdkError<GetParametersByPathError>>((found.collect(), page.next_token))
        };
        let found = self.calls().list(Operation::GetParametersByPath, priority, page).await?;
        let found: Option<_> = found.into_iter().collect();
        found.ok_or_else(|| broken(Operation::GetParametersByPath))
    }

    fn health(&self) -> serde_json::Value {
        let word = |degraded: &AtomicBool| if degraded.load(Relaxed) { "degraded" } else { "ok" };
        let Calls { s3_degraded, ssm_degraded, .. } = self.calls();
        serde_json::json!({ "s3": word(s3_degraded), "ssm": word(ssm_degraded) })
    }

    fn quota(&self) -> serde_json::Value {
        self.calls().shield.status()
    }
}

#[async_trait]
impl Source for Calls {
    async fn get_one(&self, name: &str, priority: Priority) -> Result<Parameter, Error> {
        self.admit(Operation::GetParameter, priority)?;
        let request = self.ssm.get_parameter().name(name).with_decryption(self.decrypt).send();
        let answer = self.call(Operation::GetParameter, request).await?;
        answer.parameter.and_then(parameter).ok_or_else(|| broken(Operation::GetParameter))
    }

    async fn get_many(
        &self,
        names: &[String],
        priority: Priority,
    ) -> Result<Vec<Result<Parameter, Error>>, Error> {
        self.admit(Operation::GetParameters, priority)?;
        let request = self.ssm.get_parameters().set_names(Some(names.to_vec()));
        let request = request.with_decryption(self.decrypt).send();
        let answer = self.call(Operation::GetParameters, request).await?;
        let mut found: HashMap<_, _> = answer
            .parameters
            .into_iter()
            .flatten()
            .filter_map(parameter)
            // AWS finds a parameter without a leading slash under a name that has one, so names are
            // compared without it.
            .map(|parameter| (parameter.name.trim_start_matches('/').to_owned(), parameter))
            .collect();
        let unknown = answer.invalid_parameters.unwrap_or_default();
        let outcome = |name: &String| match found.remove(name.trim_start_matches('/')) {
            Some(parameter) => Ok(parameter),
            None if unknown.contains(name) => Err(Error::ParameterNotFound),
            None => Err(broken(Operation::GetParameters)),
        };
        Ok(names.iter().map(outcome).collect())
    }
}

impl Calls {
    /// Takes a call from the quota. Fails at once if none is left, because an early error serves a
    /// client better than a wait.
    fn admit(&self, operation: Operation, priority: Priority) -> Result<(), Error> {
        self.shield.admit(operation.group(), priority).map_err(|retry_after| {
            let operation = operation.name();
            metrics::counter!(REQUESTS, "operation" => operation, "outcome" => "shielded")
                .increment(1);
            Error::AwsThrottled { retry_after, cause: None }
        })
    }

    /// Makes one call to AWS. Limits the time of the call with its retries, records metrics, and
    /// classifies the error.
    async fn call<T, E, R>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, SdkError<E, R>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        let mut span = Span::client(|| operation.name().to_owned());
        let started = Instant::now();
        // The request type of this tower service is the call's future itself.
        let mut limited = Timeout::new(service_fn(|call| call), self.operation_timeout);
        let result = limited.call(call).await.map_err(|error| match error.downcast() {
            Ok(error) => understand::<E, R>(operation, *error),
            Err(elapsed) => Error::AwsTimeout(Some(Cause::from(elapsed))),
        });
        let elapsed = started.elapsed().as_secs_f64();

        let (name, outcome) = (operation.name(), outcome(&result));
        span.set_attribute("outcome", outcome);
        metrics::counter!(REQUESTS, "operation" => name, "outcome" => outcome).increment(1);
        metrics::histogram!(DURATION, "operation" => name, "outcome" => outcome).record(elapsed);
        if outcome == "throttled" {
            self.shield.throttled(operation.group());
        }
        let degraded = match operation.group() {
            Group::BucketLists => &self.s3_degraded,
            Group::Reads | Group::ParameterLists => &self.ssm_degraded,
        };
        // A name that AWS rejects is the caller's mistake. The response shows that AWS works.
        let failed = matches!(outcome, "throttled" | "timeout" | "credentials" | "error")
            && !matches!(result, Err(Error::RefusedParameterName(_)));
        degraded.store(failed, Relaxed);
        if failed {
            span.fail("");
        }
        result
    }

    /// Reads all pages of a list. Returns an error instead of a partial list, and after the list
    /// timeout.
    async fn list<T, E, R, P>(
        &self,
        operation: Operation,
        priority: Priority,
        page: impl Fn(Option<String>) -> P,
    ) -> Result<Vec<T>, Error>
    where
        P: Future<Output = Result<(Vec<T>, Option<String>), SdkError<E, R>>>,
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        self.admit(operation, priority)?;
        let pages = async {
            let (mut items, mut token) = self.call(operation, page(None)).await?;
            // An empty page is not necessarily the last page.
            while let Some(next) = token.filter(|token| !token.is_empty()) {
                self.shield.admitted(operation.group(), priority).await;
                let (more, then) = self.call(operation, page(Some(next.clone()))).await?;
                // A repeated token would make this loop endless.
                if then.as_ref() == Some(&next) {
                    return Err(broken(operation));
                }
                items.extend(more);
                token = then;
            }
            Ok(items)
        };
        timeout(self.list_timeout, pages).await.unwrap_or(Err(Error::AwsTimeout(None)))
    }
}

/// Returns `None` if AWS left out the name or the value. Clients would take an empty value for the
/// real one.
fn parameter(found: SsmParameter) -> Option<Parameter> {
    Some(Parameter {
        name: found.name?,
        value: Zeroizing::new(found.value?),
        secure: found.r#type == Some(ParameterType::SecureString),
    })
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
        // Refusals by KMS arrive through SSM: the key is deleted, disabled or not permitted to us.
        Some(
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "AllAccessDisabled"
            | "InvalidKeyId"
            | "KMSAccessDeniedException",
        ) => Error::AwsAccessDenied(Arc::new(refused)),
        // AWS's message about a signature repeats the signed request, so the error holds only the
        // code.
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
        Some("ValidationException") if operation.group() == Group::Reads => {
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

/// A call that AWS did not serve: its operation and AWS's error code, for the log.
#[derive(Debug, thiserror::Error)]
#[error("AWS answered {} with {code}", operation.name())]
struct Refused {
    operation: Operation,
    code: String,
}

/// Forbids retries of throttled calls. A retry would take more of the quota that is used up, and
/// that quota belongs to the whole account.
#[derive(Debug)]
struct NeverRetryThrottling;

impl ClassifyRetry for NeverRetryThrottling {
    fn name(&self) -> &'static str {
        "never retry throttling"
    }

    /// Runs after all other classifiers, because it overrides their result.
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
