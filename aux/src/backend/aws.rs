//! The AWS backend. Only this module uses the AWS SDK.
//!
//! Imports go one way: `values` → `client` → `list` → `call`, `retry` → `credentials` → `errors`,
//! `metrics`, `panics` → `operation`.

use async_trait::async_trait;
use cache::Priority;

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

use self::client::AwsClient;
use super::parameter_store::ParameterStore;
use crate::{
    batch::{Batcher, ParameterReader},
    config::Config,
    error::Error,
    fleet::Fleet,
    name::{ParameterName, ParameterPath},
    parameter::{Parameter, PathValues},
    progress::ListProgress,
};

/// AWS as a store of parameters and buckets. Concurrent misses share calls.
pub(super) struct Aws {
    batcher: Batcher<AwsClient>,
}

impl Aws {
    /// Ends the process with status 2 if AWS's own configuration is incomplete.
    pub(super) async fn from_config(config: &Config, fleet: Option<&Fleet>) -> Self {
        let client = AwsClient::from_config(config, fleet).await;
        metrics::describe();
        Self { batcher: Batcher::new(client) }
    }

    fn client(&self) -> &AwsClient {
        self.batcher.reader()
    }
}

#[async_trait]
impl ParameterStore for Aws {
    async fn buckets(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<String>, Error> {
        self.client().list_buckets(priority, progress).await
    }

    async fn parameters(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<String>, Error> {
        self.client().describe_parameters(priority, progress).await
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        priority: Priority,
    ) -> Result<Parameter, Error> {
        if name.can_join_batch() {
            self.batcher.get(name.as_str(), priority).await
        } else {
            self.client().get_one(name.as_str(), priority).await
        }
    }

    async fn values(
        &self,
        path: &ParameterPath,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<PathValues, Error> {
        self.client().get_parameters_by_path(path, priority, progress).await
    }

    fn region(&self) -> Option<&str> {
        Some(self.client().region())
    }

    fn origin(&self) -> &str {
        self.client().endpoints()
    }

    fn health(&self) -> serde_json::Value {
        self.client().policy().health()
    }

    fn quota(&self) -> serde_json::Value {
        self.client().policy().quota()
    }
}
