//! The backends, AWS and memory, and the choice between them.

use std::sync::Arc;

mod parameter_store;
mod embedded;
mod aws;

pub use self::parameter_store::ParameterStore;
use self::{aws::Aws, embedded::Embedded};
use crate::{
    config::{Backend, Config},
    fleet::Fleet,
};

/// Builds the backend that the configuration names. Ends the process with status 2 if that fails.
pub async fn from_config(config: &Config, fleet: Option<&Fleet>) -> Arc<dyn ParameterStore> {
    match config.backend {
        Backend::Aws => Arc::new(Aws::from_config(config, fleet).await),
        Backend::Embedded => Arc::new(Embedded::from_file(config.embedded_file.as_deref())),
    }
}
