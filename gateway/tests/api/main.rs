//! main-api through its public surface, in front of an aux-service that misbehaves on cue.
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
mod metrics;
