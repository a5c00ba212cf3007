//! The parts that both services share: contracts, and behaviour that must be the same.
//!
//! Read in this order: [`wire`], [`problem`] and [`routes`] are the contract on the network,
//! [`cache`] and [`http_cache`] hold responses, [`auth`] and [`server`] bring requests to them.

pub mod wire;
pub mod problem;
pub mod routes;
pub mod cache;
pub mod http_cache;
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
