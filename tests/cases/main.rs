//! What the two services do, end to end: real binaries, the real AWS wire, faults on cue.
#![allow(clippy::unwrap_used)]

mod harness;

// What they answer.
mod buckets;
mod cache;
mod parameters;
mod values;
mod inventory;
mod embedded;

// What they answer when something is wrong.
mod requests;
mod refusals;
mod faults;
mod deadlines;
mod resilience;
mod outage;

// What an operator meets.
mod configuration;
mod logs;
mod metrics;
mod traces;
mod probes;
mod secrets;
mod tokens;
mod exits;
mod signals;
mod balance;
