//! Tests of the public API of `shared`.
#![allow(clippy::unwrap_used)]

mod harness;
mod life;
mod requests;
mod ssm;
mod waits;
mod changes;
