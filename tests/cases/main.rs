//! End-to-end tests of the two services: real binaries, the real AWS protocols, faults on command.
#![allow(clippy::unwrap_used)]

mod harness;

// Tests of responses.
mod buckets;
mod cache;
mod parameters;
mod values;
mod warm_up;
mod inventory;
mod lists;
mod embedded;

// Tests of responses when something fails.
mod requests;
mod refusals;
mod faults;
mod deadlines;
mod resilience;
mod credentials;
mod outage;

// Tests of several replicas.
mod fleet;

// Tests of changes that take effect before the end of a lifetime.
mod changes;

// Tests of the operator's view.
mod chaos;
mod status;
mod configuration;
mod help;
mod reference;
mod logs;
mod metrics;
mod traces;
mod probes;
mod secrets;
mod tokens;
mod exits;
mod signals;
mod balance;
mod demo;

// Tests of AWS's own protocol.
mod ssm;
