//! What both services must agree on, or must do in the same way.

pub mod cache;
pub mod http_cache;
