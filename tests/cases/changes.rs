//! Changes of parameters that take effect before the lifetime of an entry ends.

mod queue;
mod propagation;
mod streams;
mod examples;
