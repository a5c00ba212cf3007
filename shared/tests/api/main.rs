//! What `shared` does, seen from outside.
#![allow(clippy::unwrap_used)]

mod cache;
mod harness;
mod life;
mod requests;
