//! The parts that both services share: contracts, and behaviour that must be the same.
//!
//! Read in this order: [`wire`], [`problem`] and [`routes`] are the contract on the network,
//! [`auth`] and [`server`] bring requests to the responses, which crate [`cache`] holds.

pub mod wire;
pub mod problem;
pub mod routes;
pub mod config;
pub mod telemetry;
pub mod trace;
pub mod metrics;
pub mod auth;
mod hex;
pub mod server;
pub mod status;
pub mod docs;
pub mod page;
