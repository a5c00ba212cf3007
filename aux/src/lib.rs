//! aux-service asks AWS, so that nobody else has to.
//!
//! A request comes in through [`routes`]; its name is checked by [`name`]; the question goes to an
//! [`Inventory`](inventory::Inventory), which is [`aws`] or, for trying it out, [`embedded`];
//! what goes wrong is an [`Error`](error::Error), which knows what the caller is told.

pub mod config;
pub mod routes;
pub mod name;
pub mod inventory;
pub mod shield;
pub mod batch;
pub mod embedded;
pub mod aws;
pub mod error;
pub mod status;
pub mod openapi;
