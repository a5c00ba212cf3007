//! The building blocks of the end-to-end tests.
//!
//! ```text
//! test ── http ──► main-api ──► [proxy] ──► aux-service ──► [proxy] ──► moto
//!                 (service)                  (service)                (S3, SSM and SQS)
//! ```
//!
//! The services are the real binaries, each a process of its own. [`moto`] serves the real AWS
//! protocols. A [`fake_aws`] replaces it where a test needs an AWS that misbehaves. A [`proxy`] on
//! either connection imitates the faults of networks and of AWS.
//!
//! A [`fleet`] is several replicas of aux-service that share an [`engine`], a real Valkey or Redis.
//! A [`relay`] between them is a slow link, or one that breaks.
//!
//! A [`change_queue`] holds the events of changed parameters, which EventBridge would put there.
//!
//! Every value of a parameter and every credential in these tests holds [`MARK`]. The tests search
//! every log line, error and metric for it, because a value must not appear there.

pub mod moto;
pub mod chaos;
pub mod credentials;
pub mod fake_aws;
pub mod proxy;
pub mod refusals;
pub mod service;
pub mod help;
pub mod exposition;
pub mod stack;
pub mod engine;
pub mod relay;
pub mod fleet;
pub mod change_queue;
pub mod events;
pub mod balancer;
pub mod http;
pub mod client;
pub mod load;
pub mod files;
pub mod sdk_clients;

/// The mark in all secrets. It may appear only in the responses of routes that serve values.
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
