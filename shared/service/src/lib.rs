//! The parts that make a process of this project a service, the same in both.
//!
//! Imports go one way: `server` → {`changes`, `config`} → `auth` → `contract` → `observe`.
//!
//! - [`contract`]: routes, bodies, errors and documents that clients rely on.
//! - [`observe`]: logs, request IDs, traces and metrics.
//! - [`auth`]: bearer tokens.
//! - [`changes`]: the changes of parameters that a process has learned of.
//! - [`config`]: the flags that every service has.
//! - [`server`]: listeners, the one stack of layers, probes, and the end of the process.

pub mod observe;
pub mod contract;
pub mod auth;
pub mod changes;
pub mod config;
pub mod server;
