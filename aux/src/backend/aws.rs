//! The AWS backend. Only this module uses the AWS SDK.
//!
//! Imports go one way: `client` → `call`, `retry` → `credentials` → `errors`, `metrics`, `panics` →
//! `operation`.

use async_trait::async_trait;
use cache::Priority;

mod operation;
mod metrics;
mod errors;
mod panics;
mod credentials;
mod retry;
mod call;
mod client;

use self::client::AwsClient;
use super::parameter_store::ParameterStore;
use crate::{
    batch::{Batcher, ParameterReader},
    config::Config,
    error::Error,
    name::{ParameterName, ParameterPath},
    parameter::Parameter,
};

/// AWS as a store of parameters and buckets. Concurrent misses share calls.
pub(super) struct Aws {
    batcher: Batcher<AwsClient>,
}

impl Aws {
    /// Ends the process with status 2 if AWS's own configuration is incomplete.
    pub(super) async fn from_config(config: &Config) -> Self {
        let client = AwsClient::from_config(config).await;
        metrics::describe();
        Self { batcher: Batcher::new(client) }
    }

    fn client(&self) -> &AwsClient {
        self.batcher.reader()
    }
}

#[async_trait]
impl ParameterStore for Aws {
    async fn buckets(&self, priority: Priority) -> Result<Vec<String>, Error> {
        self.client().list_buckets(priority).await
    }

    async fn parameters(&self, priority: Priority) -> Result<Vec<String>, Error> {
        self.client().describe_parameters(priority).await
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
            Some(_) => self.client().get_one(name.as_str(), priority).await,
        }
    }

    async fn values(
        &self,
        path: &ParameterPath,
        priority: Priority,
    ) -> Result<Vec<Parameter>, Error> {
        self.client().get_parameters_by_path(path, priority).await
    }

    fn health(&self) -> serde_json::Value {
        self.client().policy().health()
    }

    fn quota(&self) -> serde_json::Value {
        self.client().policy().quota()
    }
}
