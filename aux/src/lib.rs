//! aux-service: serves S3 buckets and SSM parameters over HTTP, with as few calls to AWS as
//! possible.
//!
//! [`api`] receives a request, and [`name`] validates the name in it. [`store`] responds from the
//! cache, whose entries are records, or calls the [`ParameterStore`](backend::ParameterStore). A
//! [`backend`] is AWS, or memory for trials without AWS. The calls to AWS are combined by [`batch`]
//! and limited by [`quota`]. A failed request is an [`Error`](error::Error), which becomes the
//! problem that the client gets. A [`change`] of a parameter arrives from the queue of AWS's events.
//!
//! Imports go one way: `api` → `keep_fresh` → `store` → `record`, `backend` → `batch`, `quota` →
//! `parameter` → `error`, `config` → `warm_up`, `change` → `name`.

mod backoff;
pub mod name;
pub mod change;
pub mod warm_up;
pub mod config;
pub mod error;
pub mod parameter;
pub mod progress;
pub mod fleet;
pub mod quota;
pub mod batch;
pub mod backend;
mod record;
pub mod store;
mod keep_fresh;
pub mod api;
