//! The AWS SDK for Rust, with its types as JSON.

use aws_sdk_ssm::{
    config::{
        BehaviorVersion, Credentials, Region, http::HttpResponse, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    types::{
        Parameter, ParameterInlinePolicy, ParameterMetadata, ParameterStringFilter, ParameterType,
        ParametersFilter, ParametersFilterKey,
    },
};
use serde_json::{Map, Value, json};

use super::{Question, REGION, Settings};

/// The operations that this client can send.
pub(super) const OPERATIONS: [&str; 6] = [
    "GetParameter",
    "GetParameters",
    "GetParametersByPath",
    "DescribeParameters",
    "PutParameter",
    "GetParameterHistory",
];

pub struct Client {
    ssm: aws_sdk_ssm::Client,
}

impl Client {
    pub fn new(settings: &Settings) -> Self {
        let mut credentials = Credentials::builder()
            .provider_name("e2e")
            .access_key_id("AKIAEXAMPLE")
            .secret_access_key(&settings.secret_key);
        credentials.set_session_token(settings.session_token.clone());
        let mut config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&settings.url)
            .credentials_provider(credentials.build())
            .timeout_config(TimeoutConfig::disabled());
        if let Some(attempts) = settings.attempts {
            config = config.retry_config(RetryConfig::standard().with_max_attempts(attempts));
        }
        Self { ssm: aws_sdk_ssm::Client::from_conf(config.build()) }
    }

    /// Returns the result in the same form as the other clients.
    pub async fn ask(&self, question: &Question) -> Value {
        let Question { operation, input, pages } = question;
        let result = if *pages {
            self.pages(operation, input).await
        } else {
            self.call(operation, input).await
        };
        match result {
            Ok(output) => json!({ "output": output }),
            Err(error) => json!({ "error": error }),
        }
    }

    async fn call(&self, operation: &str, input: &Value) -> Result<Value, Value> {
        match operation {
            "GetParameter" => {
                let call = self.ssm.get_parameter().set_name(text(&input["Name"]));
                let call = call.set_with_decryption(input["WithDecryption"].as_bool());
                let output = call.send().await.map_err(failure)?;
                Ok(object([("Parameter", output.parameter().map(parameter).unwrap_or_default())]))
            }
            "GetParameters" => {
                let call = self.ssm.get_parameters().set_names(texts(&input["Names"]));
                let call = call.set_with_decryption(input["WithDecryption"].as_bool());
                let output = call.send().await.map_err(failure)?;
                Ok(object([
                    ("Parameters", list(output.parameters.as_deref(), parameter)),
                    ("InvalidParameters", json!(output.invalid_parameters)),
                ]))
            }
            "GetParametersByPath" => {
                let output = self
                    .by_path(input)
                    .set_max_results(number(&input["MaxResults"]))
                    .send()
                    .await
                    .map_err(failure)?;
                Ok(object([
                    ("Parameters", list(output.parameters.as_deref(), parameter)),
                    ("NextToken", json!(output.next_token)),
                ]))
            }
            "DescribeParameters" => {
                let output = self
                    .describe(input)
                    .set_max_results(number(&input["MaxResults"]))
                    .send()
                    .await
                    .map_err(failure)?;
                Ok(object([
                    ("Parameters", list(output.parameters.as_deref(), metadata)),
                    ("NextToken", json!(output.next_token)),
                ]))
            }
            "PutParameter" => {
                let call = self.ssm.put_parameter().set_name(text(&input["Name"]));
                let call = call.set_value(text(&input["Value"])).r#type(ParameterType::String);
                call.send().await.map_err(failure)?;
                Ok(json!({}))
            }
            "GetParameterHistory" => {
                let call = self.ssm.get_parameter_history().set_name(text(&input["Name"]));
                call.send().await.map_err(failure)?;
                Ok(json!({}))
            }
            other => panic!("this client cannot send {other}"),
        }
    }

    async fn pages(&self, operation: &str, input: &Value) -> Result<Value, Value> {
        let size = number(&input["MaxResults"]);
        let mut items = Vec::new();
        if operation == "GetParametersByPath" {
            let mut pages = self.by_path(input).set_max_results(size).into_paginator().send();
            while let Some(page) = pages.next().await {
                items.extend(page.map_err(failure)?.parameters().iter().map(parameter));
            }
        } else {
            let mut pages = self.describe(input).set_max_results(size).into_paginator().send();
            while let Some(page) = pages.next().await {
                items.extend(page.map_err(failure)?.parameters().iter().map(metadata));
            }
        }
        Ok(json!({ "Parameters": items }))
    }

    fn by_path(
        &self,
        input: &Value,
    ) -> aws_sdk_ssm::operation::get_parameters_by_path::builders::GetParametersByPathFluentBuilder
    {
        self.ssm
            .get_parameters_by_path()
            .set_path(text(&input["Path"]))
            .set_recursive(input["Recursive"].as_bool())
            .set_with_decryption(input["WithDecryption"].as_bool())
            .set_parameter_filters(filters(&input["ParameterFilters"]))
            .set_next_token(text(&input["NextToken"]))
    }

    fn describe(
        &self,
        input: &Value,
    ) -> aws_sdk_ssm::operation::describe_parameters::builders::DescribeParametersFluentBuilder
    {
        self.ssm
            .describe_parameters()
            .set_parameter_filters(filters(&input["ParameterFilters"]))
            .set_filters(old_filters(&input["Filters"]))
            .set_shared(input["Shared"].as_bool())
            .set_next_token(text(&input["NextToken"]))
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    Some(value.as_array()?.iter().filter_map(text).collect())
}

fn number(value: &Value) -> Option<i32> {
    value.as_i64().map(|number| number.try_into().expect("the test uses small numbers"))
}

fn filters(value: &Value) -> Option<Vec<ParameterStringFilter>> {
    let filter = |filter: &Value| {
        ParameterStringFilter::builder()
            .set_key(text(&filter["Key"]))
            .set_option(text(&filter["Option"]))
            .set_values(texts(&filter["Values"]))
            .build()
            .expect("it has a key")
    };
    Some(value.as_array()?.iter().map(filter).collect())
}

fn old_filters(value: &Value) -> Option<Vec<ParametersFilter>> {
    let filter = |filter: &Value| {
        ParametersFilter::builder()
            .key(ParametersFilterKey::from(filter["Key"].as_str().expect("it has a key")))
            .set_values(texts(&filter["Values"]))
            .build()
            .expect("it has a key and values")
    };
    Some(value.as_array()?.iter().map(filter).collect())
}

fn list<T>(items: Option<&[T]>, item: impl Fn(&T) -> Value) -> Value {
    items.map_or(Value::Null, |items| items.iter().map(item).collect())
}

/// Builds an object of the members that are not null.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    members.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

fn parameter(parameter: &Parameter) -> Value {
    object([
        ("Name", json!(parameter.name())),
        ("Type", json!(parameter.r#type().map(ParameterType::as_str))),
        ("Value", json!(parameter.value())),
        ("Version", json!(parameter.version())),
        ("Selector", json!(parameter.selector())),
        ("SourceResult", json!(parameter.source_result())),
        ("LastModifiedDate", json!(parameter.last_modified_date().map(|date| date.as_secs_f64()))),
        ("ARN", json!(parameter.arn())),
        ("DataType", json!(parameter.data_type())),
    ])
}

fn metadata(parameter: &ParameterMetadata) -> Value {
    object([
        ("Name", json!(parameter.name())),
        ("ARN", json!(parameter.arn())),
        ("Type", json!(parameter.r#type().map(ParameterType::as_str))),
        ("KeyId", json!(parameter.key_id())),
        ("LastModifiedDate", json!(parameter.last_modified_date().map(|date| date.as_secs_f64()))),
        ("LastModifiedUser", json!(parameter.last_modified_user())),
        ("Description", json!(parameter.description())),
        ("AllowedPattern", json!(parameter.allowed_pattern())),
        ("Version", json!(parameter.version())),
        ("Tier", json!(parameter.tier().map(|tier| tier.as_str()))),
        ("Policies", list(parameter.policies.as_deref(), policy)),
        ("DataType", json!(parameter.data_type())),
    ])
}

fn policy(policy: &ParameterInlinePolicy) -> Value {
    object([
        ("PolicyText", json!(policy.policy_text())),
        ("PolicyType", json!(policy.policy_type())),
        ("PolicyStatus", json!(policy.policy_status())),
    ])
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes the error by value")]
fn failure<E: ProvideErrorMetadata>(error: SdkError<E, HttpResponse>) -> Value {
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code().map_or_else(
        || {
            let kind = match &error {
                SdkError::ConstructionFailure(_) => "ConstructionFailure",
                SdkError::TimeoutError(_) => "TimeoutError",
                SdkError::DispatchFailure(_) => "DispatchFailure",
                SdkError::ResponseError(_) => "ResponseError",
                _ => "unknown",
            };
            kind.to_owned()
        },
        str::to_owned,
    );
    object([("code", json!(code)), ("status", json!(status))])
}
