//! The client of AWS, with one method per operation.

use std::collections::HashMap;

use aws_config::{
    AppName, BehaviorVersion, SdkConfig, identity::IdentityCache, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::operation::list_buckets::ListBucketsError;
use aws_sdk_ssm::{
    error::SdkError,
    operation::describe_parameters::DescribeParametersError,
    primitives::DateTime,
    types::{
        Parameter as SsmParameter, ParameterInlinePolicy as InlinePolicy,
        ParameterMetadata as SsmMetadata, ParameterType,
    },
};
use aws_types::service_config::ServiceConfigKey;
use cache::Priority;
use service::contract::ssm::{OWN_APP, ParameterMetadata, Policy, Timestamp};
use zeroize::Zeroizing;

use super::{
    call::CallPolicy,
    credentials::CredentialCache,
    errors::empty_response,
    operation::Operation,
    retry::{NeverRetryThrottling, retry_config},
};
use crate::{
    config::Config,
    error::Error,
    fleet::Fleet,
    parameter::{Details, Parameter, SecretForm},
    progress::ListProgress,
};

/// The size of a page of each list: the maximum that the operation allows. `ListBuckets` needs a
/// size, because S3 otherwise rejects the call for accounts with a bucket quota above 10,000.
const BUCKETS_PER_PAGE: i32 = 1000;
const PARAMETERS_PER_PAGE: i32 = 50;

/// The clients of the SDK, and the rules for their calls.
pub(super) struct AwsClient {
    s3: aws_sdk_s3::Client,
    pub(super) ssm: aws_sdk_ssm::Client,
    pub(super) policy: CallPolicy,
    region: String,
    endpoints: String,
    decrypt: bool,
}

/// Reads AWS's own configuration: environment variables, profile, web identity, container, instance.
/// Starts the first load of credentials. Ends the process with status 2 if no region is set, because
/// no call would be possible.
pub(super) async fn load_sdk_config(config: &Config) -> (SdkConfig, CredentialCache) {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(config.aws_attempt_timeout)
        .operation_attempt_timeout(config.aws_attempt_timeout)
        .build();
    let sdk = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(retry_config())
        .no_credentials()
        // A service that speaks AWS's protocol recognises the calls of aux-service by this name. It
        // replaces that of `AWS_SDK_UA_APP_ID` and of the profile.
        .app_name(AppName::new(OWN_APP).expect("letters and a dash"))
        .load()
        .await;
    if sdk.region().is_none_or(|region| region.as_ref().trim().is_empty()) {
        service::config::exit_with_usage_error(
            "no AWS region is set; set AWS_REGION, for example to eu-west-2, or set --backend embedded",
        );
    }
    let credentials = CredentialCache::start(&sdk, config.aws_credentials_timeout);
    let sdk = sdk
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
        .identity_cache(IdentityCache::no_cache())
        .build();
    (sdk, credentials)
}

impl AwsClient {
    pub(super) fn new(
        sdk: &SdkConfig,
        config: &Config,
        credentials: CredentialCache,
        fleet: Option<&Fleet>,
    ) -> Self {
        let region = sdk.region().map(|region| region.as_ref().to_owned()).unwrap_or_default();
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
            policy: CallPolicy::from_config(config, credentials, &region, fleet),
            region,
            endpoints: endpoints(sdk),
            decrypt: config.allow_secure_strings,
        }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Returns the endpoints that the configuration sets, or an empty text.
    pub(super) fn endpoints(&self) -> &str {
        &self.endpoints
    }

    pub(super) fn policy(&self) -> &CallPolicy {
        &self.policy
    }

    pub(super) async fn list_buckets(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<String>, Error> {
        let page = |token| async move {
            let request = self.s3.list_buckets().max_buckets(BUCKETS_PER_PAGE);
            let page = request.set_continuation_token(token).send().await?;
            let names = page.buckets.into_iter().flatten().filter_map(|bucket| bucket.name);
            Ok::<_, SdkError<ListBucketsError>>((names.collect(), page.continuation_token))
        };
        self.policy.admit(Operation::ListBuckets, priority).await?;
        self.policy.list(Operation::ListBuckets, priority, progress, page).await
    }

    pub(super) async fn describe_parameters(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<ParameterMetadata>, Error> {
        let page = |token| async move {
            let request = self.ssm.describe_parameters().max_results(PARAMETERS_PER_PAGE);
            let page = request.set_next_token(token).send().await?;
            let found = page.parameters.into_iter().flatten().filter_map(convert_metadata);
            Ok::<_, SdkError<DescribeParametersError>>((found.collect(), page.next_token))
        };
        self.policy.admit(Operation::DescribeParameters, priority).await?;
        self.policy.list(Operation::DescribeParameters, priority, progress, page).await
    }

    /// Calls `GetParameter`, without taking a call from the quota.
    pub(super) async fn read_one(&self, name: &str, form: SecretForm) -> Result<Parameter, Error> {
        let operation = Operation::GetParameter;
        let request = self.ssm.get_parameter().name(name).with_decryption(self.decrypts(form));
        let request = request.send();
        let response = self.policy.send(operation, request).await?;
        match response.parameter {
            Some(parameter) if is_binary_secret(&parameter) => Err(Error::ParameterUnreadable),
            parameter => parameter.and_then(convert).ok_or_else(|| empty_response(operation)),
        }
    }

    /// Calls `GetParameters`, without taking a call from the quota.
    pub(super) async fn read_many(
        &self,
        names: &[String],
        form: SecretForm,
    ) -> Result<Vec<Result<Parameter, Error>>, Error> {
        let operation = Operation::GetParameters;
        let request = self.ssm.get_parameters().set_names(Some(names.to_vec()));
        let request = request.with_decryption(self.decrypts(form)).send();
        let response = self.policy.send(operation, request).await?;
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

    pub(super) async fn get_parameter(
        &self,
        name: &str,
        form: SecretForm,
        priority: Priority,
    ) -> Result<Parameter, Error> {
        self.policy.admit(Operation::GetParameter, priority).await?;
        self.read_one(name, form).await
    }

    pub(super) async fn get_parameters(
        &self,
        names: &[String],
        form: SecretForm,
        priority: Priority,
    ) -> Result<Vec<Result<Parameter, Error>>, Error> {
        self.policy.admit(Operation::GetParameters, priority).await?;
        self.read_many(names, form).await
    }

    /// Whether AWS is to decrypt SecureStrings.
    pub(super) fn decrypts(&self, form: SecretForm) -> bool {
        self.decrypt && form == SecretForm::Value
    }
}

/// Returns the endpoints in the SDK's configuration: the common one, and those of each service.
fn endpoints(sdk: &SdkConfig) -> String {
    let of_service = |service| {
        let key = ServiceConfigKey::builder()
            .service_id(service)
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        sdk.service_config()?.load_config(key.expect("all members are set"))
    };
    let common = sdk.endpoint_url().map(str::to_owned);
    let endpoints = [common, of_service("SSM"), of_service("S3")];
    endpoints.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Whether a parameter is a secret without a text, as a reference to a binary secret of Secrets
/// Manager is.
fn is_binary_secret(parameter: &SsmParameter) -> bool {
    parameter.value.is_none() && parameter.r#type == Some(ParameterType::SecureString)
}

/// Converts a parameter of the SDK. Returns `None` if AWS left out the name or the value: clients
/// would take an empty value for the real one.
pub(super) fn convert(parameter: SsmParameter) -> Option<Parameter> {
    Some(Parameter {
        name: parameter.name?,
        value: Zeroizing::new(parameter.value?),
        secure: parameter.r#type == Some(ParameterType::SecureString),
        details: Details {
            arn: parameter.arn,
            data_type: parameter.data_type,
            last_modified_date: parameter.last_modified_date.and_then(timestamp),
            selector: parameter.selector,
            kind: parameter
                .r#type
                .map_or_else(|| "String".to_owned(), |kind| kind.as_str().to_owned()),
            version: parameter.version,
        },
    })
}

/// Converts a description of the SDK. Returns `None` if AWS left out the name.
fn convert_metadata(metadata: SsmMetadata) -> Option<ParameterMetadata> {
    let policies = metadata.policies.map(|policies| {
        let convert = |policy: InlinePolicy| Policy {
            policy_status: policy.policy_status,
            policy_text: policy.policy_text,
            policy_type: policy.policy_type,
        };
        policies.into_iter().map(convert).collect()
    });
    Some(ParameterMetadata {
        arn: metadata.arn,
        allowed_pattern: metadata.allowed_pattern,
        data_type: metadata.data_type,
        description: metadata.description,
        key_id: metadata.key_id,
        last_modified_date: metadata.last_modified_date.and_then(timestamp),
        last_modified_user: metadata.last_modified_user,
        name: metadata.name?,
        policies,
        tier: metadata.tier.map(|tier| tier.as_str().to_owned()),
        kind: metadata.r#type.map(|kind| kind.as_str().to_owned()),
        version: Some(metadata.version),
    })
}

/// AWS sends seconds as a floating-point number, which is exact to milliseconds after rounding:
/// 0.964 s arrives as 963,999,986 ns.
fn timestamp(date: DateTime) -> Option<Timestamp> {
    let rounded = (i64::from(date.subsec_nanos()) + 500_000) / 1_000_000;
    let milliseconds = date.secs().checked_mul(1000)?.checked_add(rounded)?;
    Some(Timestamp { milliseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_rounded_to_milliseconds() {
        for (seconds, milliseconds) in [
            (1_769_860_800.964, 1_769_860_800_964),
            (1_769_860_800.008, 1_769_860_800_008),
            (1_769_860_800.999_9, 1_769_860_801_000),
            (1_769_860_800.0, 1_769_860_800_000),
        ] {
            let found = timestamp(DateTime::from_secs_f64(seconds));
            assert_eq!(found, Some(Timestamp { milliseconds }), "{seconds}");
        }
        assert_eq!(timestamp(DateTime::from_secs(i64::MAX)), None);
    }
}
