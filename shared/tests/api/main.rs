//! What `shared` does, seen from outside.
#![allow(clippy::unwrap_used)]

mod cache;
mod fast_path;
mod life;
