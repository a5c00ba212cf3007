//! main-api is the door that stays open.
//!
//! A request comes in through [`routes`]; [`upstream`] asks aux-service for what it needs;
//! what goes wrong is an [`Error`](error::Error), which knows what the caller is told.

pub mod config;
pub mod routes;
pub mod upstream;
pub mod error;
pub mod status;
pub mod openapi;
