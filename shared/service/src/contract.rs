//! The contract on the network: routes, bodies, errors, and the documents that describe them.

pub mod problem;
pub mod name;
pub mod wire;
pub mod ssm;
pub mod routes;
pub mod page;
pub mod status;
pub mod openapi;
