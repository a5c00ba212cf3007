//! What both services must agree on, or must do in the same way.
//!
//! Read in this order: [`wire`] and [`problem`] are the contract on the network,
//! [`cache`] and [`http_cache`] are what remembers, [`auth`] and [`http`] are the way in,
//! [`server`] is the life of the process.

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
pub mod http;
mod connections;
mod hex;
pub mod fast_path;
pub mod server;
pub mod status;
pub mod docs;
pub mod page;
