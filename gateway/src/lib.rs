//! placeholder until the base lands
pub mod breaker;
mod attempt;
pub mod retry;
mod window;
