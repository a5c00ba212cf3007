//! The facts that a service reports about itself: logs, request IDs, traces and metrics.

pub mod context;
pub mod log;
pub mod trace;
mod histogram;
pub mod metrics;
