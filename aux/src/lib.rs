//! aux-service asks AWS, so that nobody else has to.
//!
//! A request comes in through [`routes`]; its name is checked by [`name`]; [`answers`] has the
//! answer, or puts the question to an [`Inventory`](inventory::Inventory). That is [`aws`], within
//! the quota that [`shield`] keeps and in the company that [`batch`] finds; or, for trying it out,
//! [`embedded`]. What goes wrong is an [`Error`](error::Error), which knows what the caller is told.

pub mod config;
pub mod routes;
pub mod name;
pub mod answers;
pub mod inventory;
pub mod shield;
pub mod batch;
pub mod embedded;
pub mod aws;
pub mod error;
pub mod status;
pub mod openapi;
