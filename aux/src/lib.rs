//! aux-service: serves S3 buckets and SSM parameters over HTTP, with as few calls to AWS as
//! possible.
//!
//! [`api`] receives a request, and [`name`] validates the name in it. [`store`] responds from the
//! cache, or calls the [`ParameterStore`](backend::ParameterStore). Its [`backend`] is AWS, within
//! the quota of [`quota`] and with the batches of [`batch`], or memory for trials without AWS. A
//! failed request is an [`Error`](error::Error), which becomes the problem that the client gets.
//!
//! Imports go one way: `api` → `store` → `backend` → `batch`, `quota` → `parameter` → `error`,
//! `config` → `name`.

pub mod name;
pub mod config;
pub mod error;
pub mod parameter;
pub mod quota;
pub mod batch;
pub mod backend;
pub mod store;
pub mod api;
