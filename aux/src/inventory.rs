//! The interface of the backends, AWS and memory, and the choice between them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use cache::Priority;
use zeroize::Zeroizing;

use crate::{
    aws::Aws,
    config::{Backend, Config},
    embedded::Embedded,
    error::Error,
    name::{ParameterName, ParameterPath},
};

/// A backend. Each list is complete and in the order of the backend, or the method returns an
/// error.
#[async_trait]
pub trait Inventory: Send + Sync {
    /// Returns the names of all buckets.
    async fn buckets(&self, priority: Priority) -> Result<Vec<String>, Error>;

    /// Returns the names of all parameters, spelled as in the backend.
    async fn parameters(&self, priority: Priority) -> Result<Vec<String>, Error>;

    /// Returns one parameter.
    async fn parameter(&self, name: &ParameterName, priority: Priority)
    -> Result<Parameter, Error>;

    /// Returns every parameter below a path, recursively.
    async fn values(
        &self,
        path: &ParameterPath,
        priority: Priority,
    ) -> Result<Vec<Parameter>, Error>;

    /// Returns the recent health of each dependency, by name, for `/readyz`.
    fn health(&self) -> serde_json::Value;

    /// Returns the calls that the quota has left, for `/status`; null for a backend without a
    /// quota.
    fn quota(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

#[derive(Clone)]
pub struct Parameter {
    pub name: String,
    /// The value, wiped from memory when dropped. For a SecureString that may not be decrypted,
    /// this is the ciphertext or empty.
    pub value: Zeroizing<String>,
    pub secure: bool,
}

/// Builds the backend that the configuration names. Ends the process with status 2 if that fails.
pub async fn connect(config: &Config) -> Arc<dyn Inventory> {
    match config.backend {
        Backend::Aws => Arc::new(Aws::connect(config).await),
        Backend::Embedded => Arc::new(Embedded::load(config.embedded_file.as_deref())),
    }
}

/// Omits the value, because a value must never reach a log.
impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter")
            .field("name", &self.name)
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}
