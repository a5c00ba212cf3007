//! main-api, the resilient gateway in front of aux-service.
//!
//! A request comes in through [`api`]. [`upstream`] calls aux-service for it. A failed call is
//! an [`Error`](error::Error), which becomes the problem that the client gets.

pub mod config;
pub mod upstream;
pub mod error;
pub mod api;
