//! The client of AWS, with one method per operation.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, SdkConfig, identity::IdentityCache, timeout::TimeoutConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::operation::list_buckets::ListBucketsError;
use aws_sdk_ssm::{
    error::SdkError,
    operation::{
        describe_parameters::DescribeParametersError,
        get_parameters_by_path::GetParametersByPathError,
    },
    types::{Parameter as SsmParameter, ParameterType},
};
use cache::Priority;
use zeroize::Zeroizing;

use super::{
    call::CallPolicy,
    credentials::CredentialCache,
    errors::empty_response,
    operation::Operation,
    retry::{NeverRetryThrottling, retry_config},
};
use crate::{
    batch::ParameterReader, config::Config, error::Error, name::ParameterPath, parameter::Parameter,
};

/// The size of a page of each list: the maximum that the operation allows. `ListBuckets` needs a
/// size, because S3 otherwise rejects the call for accounts with a bucket quota above 10,000.
const BUCKETS_PER_PAGE: i32 = 1000;
const PARAMETERS_PER_PAGE: i32 = 50;
const VALUES_PER_PAGE: i32 = 10;

/// The clients of the SDK, and the rules for their calls.
pub(super) struct AwsClient {
    s3: aws_sdk_s3::Client,
    ssm: aws_sdk_ssm::Client,
    policy: CallPolicy,
    decrypt: bool,
}

impl AwsClient {
    /// Reads AWS's own configuration: environment variables, profile, web identity, container,
    /// instance. Ends the process with status 2 if no region is set, because no call would be
    /// possible.
    pub(super) async fn from_config(config: &Config) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.aws_attempt_timeout)
            .operation_attempt_timeout(config.aws_attempt_timeout)
            .build();
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(retry_config())
            .no_credentials()
            .load()
            .await;
        if sdk.region().is_none_or(|region| region.as_ref().trim().is_empty()) {
            service::config::exit_with_usage_error::<Config>(
                "no AWS region is set; set AWS_REGION, for example to eu-west-2, or set --backend embedded",
            );
        }
        let credentials = CredentialCache::start(&sdk, config.aws_credentials_timeout);
        let sdk = sdk
            .into_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .identity_cache(IdentityCache::no_cache())
            .build();
        Self::new(&sdk, config, credentials)
    }

    fn new(sdk: &SdkConfig, config: &Config, credentials: CredentialCache) -> Self {
        let s3 = aws_sdk_s3::config::Builder::from(sdk)
            .retry_classifier(NeverRetryThrottling)
            // A custom endpoint (an emulator, a gateway) has no host name for each bucket.
            .force_path_style(sdk.endpoint_url().is_some())
            .build();
        let ssm =
            aws_sdk_ssm::config::Builder::from(sdk).retry_classifier(NeverRetryThrottling).build();
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            ssm: aws_sdk_ssm::Client::from_conf(ssm),
            policy: CallPolicy::new(config, credentials),
            decrypt: config.allow_secure_strings,
        }
    }

    pub(super) fn policy(&self) -> &CallPolicy {
        &self.policy
    }

    pub(super) async fn list_buckets(&self, priority: Priority) -> Result<Vec<String>, Error> {
        let page = |token| async move {
            let request = self.s3.list_buckets().max_buckets(BUCKETS_PER_PAGE);
            let page = request.set_continuation_token(token).send().await?;
            let names = page.buckets.into_iter().flatten().filter_map(|bucket| bucket.name);
            Ok::<_, SdkError<ListBucketsError>>((names.collect(), page.continuation_token))
        };
        self.policy.list(Operation::ListBuckets, priority, page).await
    }

    pub(super) async fn describe_parameters(
        &self,
        priority: Priority,
    ) -> Result<Vec<String>, Error> {
        let page = |token| async move {
            let request = self.ssm.describe_parameters().max_results(PARAMETERS_PER_PAGE);
            let page = request.set_next_token(token).send().await?;
            let names = page.parameters.into_iter().flatten().filter_map(|metadata| metadata.name);
            Ok::<_, SdkError<DescribeParametersError>>((names.collect(), page.next_token))
        };
        self.policy.list(Operation::DescribeParameters, priority, page).await
    }

    pub(super) async fn get_parameters_by_path(
        &self,
        path: &ParameterPath,
        priority: Priority,
    ) -> Result<Vec<Parameter>, Error> {
        let operation = Operation::GetParametersByPath;
        let page = |token| async move {
            let request = self
                .ssm
                .get_parameters_by_path()
                .path(path.as_str())
                .recursive(true)
                .with_decryption(self.decrypt)
                .max_results(VALUES_PER_PAGE);
            let page = request.set_next_token(token).send().await?;
            let parameters = page.parameters.into_iter().flatten().map(convert);
            Ok::<_, SdkError<GetParametersByPathError>>((parameters.collect(), page.next_token))
        };
        let parameters = self.policy.list(operation, priority, page).await?;
        let parameters: Option<_> = parameters.into_iter().collect();
        parameters.ok_or_else(|| empty_response(operation))
    }
}

#[async_trait]
impl ParameterReader for AwsClient {
    async fn get_one(&self, name: &str, priority: Priority) -> Result<Parameter, Error> {
        let operation = Operation::GetParameter;
        let request = self.ssm.get_parameter().name(name).with_decryption(self.decrypt).send();
        let response = self.policy.call(operation, priority, request).await?;
        response.parameter.and_then(convert).ok_or_else(|| empty_response(operation))
    }

    async fn get_many(
        &self,
        names: &[String],
        priority: Priority,
    ) -> Result<Vec<Result<Parameter, Error>>, Error> {
        let operation = Operation::GetParameters;
        let request = self.ssm.get_parameters().set_names(Some(names.to_vec()));
        let request = request.with_decryption(self.decrypt).send();
        let response = self.policy.call(operation, priority, request).await?;
        let mut parameters: HashMap<_, _> = response
            .parameters
            .into_iter()
            .flatten()
            .filter_map(convert)
            // AWS finds a parameter without a leading slash under a name that has one, so names are
            // compared without it.
            .map(|parameter| (parameter.name.trim_start_matches('/').to_owned(), parameter))
            .collect();
        let unknown = response.invalid_parameters.unwrap_or_default();
        let result = |name: &String| match parameters.remove(name.trim_start_matches('/')) {
            Some(parameter) => Ok(parameter),
            None if unknown.contains(name) => Err(Error::ParameterNotFound),
            None => Err(empty_response(operation)),
        };
        Ok(names.iter().map(result).collect())
    }
}

/// Converts a parameter of the SDK. Returns `None` if AWS left out the name or the value: clients
/// would take an empty value for the real one.
fn convert(parameter: SsmParameter) -> Option<Parameter> {
    Some(Parameter {
        name: parameter.name?,
        value: Zeroizing::new(parameter.value?),
        secure: parameter.r#type == Some(ParameterType::SecureString),
    })
}
