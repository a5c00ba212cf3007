//! main-api is the door that stays open.
//!
//! A request comes in through [`routes`]; [`upstream`] asks aux-service for what it needs,
//! through [`retry`], [`breaker`] and `attempt`, in this order, over a connection that is `kept`;
//! `aggregate` makes ours of what aux-service answers;
//! what goes wrong is an [`Error`](error::Error), which knows what the caller is told.

pub mod config;
pub mod routes;
pub mod upstream;
pub mod retry;
mod attempt;
mod kept;
mod head;
mod aggregate;
pub mod breaker;
mod window;
pub mod error;
pub mod status;
pub mod openapi;
