//! The AWS backend. Only this module uses the AWS SDK.
//!
//! Imports go one way: `values` → `client` → `list` → `call`, `retry` → `credentials` → `errors`,
//! `metrics`, `panics` → `operation`. `change_queue` → `call`.

use std::sync::Arc;

use async_trait::async_trait;
use cache::Priority;
use service::contract::ssm::ParameterMetadata;

mod operation;
mod metrics;
mod errors;
mod panics;
mod credentials;
mod retry;
mod call;
mod list;
mod client;
mod values;
mod change_queue;

pub use self::change_queue::{ChangeQueue, QueueHealth};
use self::{
    client::{AwsClient, load_sdk_config},
    operation::Operation,
};
use super::parameter_store::ParameterStore;
use crate::{
    batch::{Batcher, GroupMember, ParameterReader},
    config::Config,
    error::Error,
    fleet::Fleet,
    name::ParameterName,
    parameter::{Parameter, PathQuery, PathValues, SecretForm},
    progress::ListProgress,
};

/// AWS as a store of parameters and buckets. Concurrent misses share calls.
pub(super) struct Aws {
    client: Arc<AwsClient>,
    values: Batcher<Reader>,
    ciphertexts: Batcher<Reader>,
}

/// Reads parameters with SecureStrings in one form. A call of AWS has one form for all its names.
struct Reader {
    client: Arc<AwsClient>,
    form: SecretForm,
}

#[async_trait]
impl ParameterReader for Reader {
    async fn get_one(&self, name: &str, priority: Priority) -> Result<Parameter, Error> {
        self.client.get_parameter(name, self.form, priority).await
    }

    async fn get_many(
        &self,
        names: &[String],
        priority: Priority,
    ) -> Result<Vec<Result<Parameter, Error>>, Error> {
        self.client.get_parameters(names, self.form, priority).await
    }
}

impl Aws {
    /// Returns the store and, if the configuration names one, the queue of its changes. Ends the
    /// process with status 2 if AWS's own configuration is incomplete.
    pub(super) async fn from_config(
        config: &Config,
        fleet: Option<&Fleet>,
    ) -> (Self, Option<ChangeQueue>) {
        let (sdk, credentials) = load_sdk_config(config).await;
        let queue = ChangeQueue::from_config(&sdk, &credentials, config);
        let client = Arc::new(AwsClient::new(&sdk, config, credentials, fleet));
        metrics::describe();
        metrics::describe_operations(&Operation::OF_STORE);
        let batcher = |form| Batcher::new(Reader { client: Arc::clone(&client), form });
        let (values, ciphertexts) = (batcher(SecretForm::Value), batcher(SecretForm::Ciphertext));
        (Self { client, values, ciphertexts }, queue)
    }
}

#[async_trait]
impl ParameterStore for Aws {
    async fn buckets(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<String>, Error> {
        self.client.list_buckets(priority, progress).await
    }

    async fn parameters(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<ParameterMetadata>, Error> {
        self.client.describe_parameters(priority, progress).await
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        form: SecretForm,
        priority: Priority,
        member: Option<GroupMember>,
    ) -> Result<Parameter, Error> {
        let batcher = match form {
            SecretForm::Value => &self.values,
            SecretForm::Ciphertext => &self.ciphertexts,
        };
        if name.can_join_batch() {
            batcher.get(name.as_str(), priority, member).await
        } else {
            // The others must not wait for it.
            drop(member);
            batcher.reader().get_one(name.as_str(), priority).await
        }
    }

    async fn values(
        &self,
        query: &PathQuery,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<PathValues, Error> {
        self.client.get_parameters_by_path(query, priority, progress).await
    }

    fn region(&self) -> Option<&str> {
        Some(self.client.region())
    }

    fn origin(&self) -> &str {
        self.client.endpoints()
    }

    fn health(&self) -> serde_json::Value {
        self.client.policy().health()
    }

    fn quota(&self) -> serde_json::Value {
        self.client.policy().quota()
    }
}
