//! main-api through its public API, in front of an aux-service that fails on command.
#![allow(clippy::unwrap_used)]

mod aux_double;
mod gateway;
mod process;
mod faults;
mod connections;
mod propagation;
mod outage;
mod inventory;
mod cache;
mod changes;
mod ssm;
mod metrics;
