//! The questions that this service asks of its source.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use shared::cache::Urgency;
use zeroize::Zeroizing;

use crate::{
    aws::Aws,
    config::{Backend, Config},
    embedded::Embedded,
    error::Error,
    name::{ParameterName, ParameterPath},
};

/// Every list is complete and in the source's order, or it is an error.
#[async_trait]
pub trait Inventory: Send + Sync {
    /// The names of all buckets.
    async fn buckets(&self, urgency: Urgency) -> Result<Vec<String>, Error>;

    /// The names of all parameters, as the source writes them.
    async fn parameters(&self, urgency: Urgency) -> Result<Vec<String>, Error>;

    /// One parameter.
    async fn parameter(&self, name: &ParameterName, urgency: Urgency) -> Result<Parameter, Error>;

    /// Every parameter below a path, recursively.
    async fn values(&self, path: &ParameterPath, urgency: Urgency)
    -> Result<Vec<Parameter>, Error>;

    /// How the source did lately, for `/readyz`: its parts by name.
    fn health(&self) -> serde_json::Value;

    /// What is left of the quota of calls, for `/status`; null where there is none.
    fn quota(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

#[derive(Clone)]
pub struct Parameter {
    pub name: String,
    /// Wiped from memory when dropped. Of a SecureString that may not be decrypted, it is the
    /// ciphertext, or nothing.
    pub value: Zeroizing<String>,
    pub secure: bool,
}

/// The source that the configuration names. Ends the process with status 2 if there is none such.
pub async fn connect(config: &Config) -> Arc<dyn Inventory> {
    match config.backend {
        Backend::Aws => Arc::new(Aws::connect(config).await),
        Backend::Embedded => Arc::new(Embedded::load(config.embedded_file.as_deref())),
    }
}

/// A value must never reach a log.
impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter")
            .field("name", &self.name)
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}
