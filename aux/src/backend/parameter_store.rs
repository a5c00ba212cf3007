//! The interface of the backends.

use async_trait::async_trait;
use cache::Priority;
use service::contract::ssm::ParameterMetadata;

use crate::{
    batch::GroupMember,
    error::Error,
    name::ParameterName,
    parameter::{Parameter, PathQuery, PathValues, SecretForm},
    progress::ListProgress,
};

/// A store of parameters and buckets. Each list is complete and in the order of the store, or the
/// method returns an error. A method that returns a list records its pages in a [`ListProgress`].
#[async_trait]
pub trait ParameterStore: Send + Sync {
    /// Returns the names of all buckets.
    async fn buckets(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<String>, Error>;

    /// Returns the descriptions of all parameters, with names spelled as in the store.
    async fn parameters(
        &self,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<Vec<ParameterMetadata>, Error>;

    /// Returns one parameter. `member` is the place of this load among those that start together
    /// with it; a store may read all of them at once.
    async fn parameter(
        &self,
        name: &ParameterName,
        form: SecretForm,
        priority: Priority,
        member: Option<GroupMember>,
    ) -> Result<Parameter, Error>;

    /// Returns the parameters below a path. SecureStrings that cannot be decrypted are only named.
    async fn values(
        &self,
        query: &PathQuery,
        priority: Priority,
        progress: &ListProgress,
    ) -> Result<PathValues, Error>;

    /// Returns the region whose parameters this store reads; `None` for a store without regions.
    fn region(&self) -> Option<&str> {
        None
    }

    /// Returns the origin of the data, if it is not AWS itself: other endpoints, or a digest of the
    /// content. Two stores with one region and one origin hold the same data.
    fn origin(&self) -> &str {
        ""
    }

    /// Returns the recent health of each dependency, by name, for `/readyz`.
    fn health(&self) -> serde_json::Value;

    /// Returns the calls that the quota has left, for `/status`; null for a store without a quota.
    fn quota(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}
