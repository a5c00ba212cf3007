//! aux-service: serves S3 buckets and SSM parameters over HTTP, with as few calls to AWS as
//! possible.
//!
//! [`routes`] receives a request, and [`name`] validates the name in it. [`answers`] responds from
//! the cache, or calls the [`Inventory`](inventory::Inventory). The inventory is [`aws`], within
//! the quota of [`shield`] and with the batches of [`batch`], or [`embedded`] for trials without
//! AWS. A failed request is an [`Error`](error::Error), which becomes the problem that the client
//! gets.

pub mod config;
pub mod routes;
pub mod name;
pub mod answers;
pub mod inventory;
pub mod shield;
pub mod batch;
pub mod embedded;
pub mod aws;
pub mod error;
pub mod status;
pub mod openapi;
