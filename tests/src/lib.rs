//! The parts that the end-to-end tests are made of.
//!
//! ```text
//! test ── http ──► main-api ──► [proxy] ──► aux-service ──► [proxy] ──► moto
//!                 (service)                  (service)                (S3 and SSM)
//! ```
//!
//! The services are the real binaries, each a process of its own; [`moto`] speaks the real AWS
//! wire; a [`proxy`] on either connection does what networks and AWS do on a bad day.
//!
//! Every value of a parameter and every credential in these tests holds [`MARK`], and every part
//! that could show one where it does not belong (a log line, an error, a metric) is searched for it.

pub mod moto;
pub mod proxy;
pub mod refusals;
pub mod service;
pub mod stack;
pub mod balancer;
pub mod http;

/// What must never be seen outside the route that serves a value.
pub const MARK: &str = "hush";
