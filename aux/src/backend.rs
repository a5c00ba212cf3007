//! The backends, AWS and memory, and the choice between them.

use std::sync::Arc;

mod parameter_store;
mod embedded;
mod aws;

use self::{aws::Aws, embedded::Embedded};
pub use self::{
    aws::{ChangeQueue, QueueHealth},
    parameter_store::ParameterStore,
};
use crate::{
    config::{Backend, Config},
    fleet::Fleet,
};

/// The parts of a backend.
pub struct BackendParts {
    pub store: Arc<dyn ParameterStore>,
    /// The queue of changes of the store's parameters; absent if the configuration names none.
    pub change_queue: Option<ChangeQueue>,
}

/// Builds the backend that the configuration names. Ends the process with status 2 if that fails.
pub async fn from_config(config: &Config, fleet: Option<&Fleet>) -> BackendParts {
    match config.backend {
        Backend::Aws => {
            let (store, change_queue) = Aws::from_config(config, fleet).await;
            BackendParts { store: Arc::new(store), change_queue }
        }
        Backend::Embedded => {
            let store = Embedded::from_file(config.embedded_file.as_deref());
            BackendParts { store: Arc::new(store), change_queue: None }
        }
    }
}
