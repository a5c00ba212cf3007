//! placeholder until the base lands
pub mod breaker;
mod window;
