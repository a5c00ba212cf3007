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
pub mod client;

/// What must never be seen outside the route that serves a value.
pub const MARK: &str = "hush";

/// The size of a test that can run for longer than in `cargo test`: the number in this environment
/// variable, or else the default.
#[expect(clippy::disallowed_methods, reason = "tests have no flags of their own")]
pub fn scale(variable: &str, default: u32) -> u32 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number: {text}")),
        Err(_) => default,
    }
}
