//! The bodies of successful answers: what crosses from aux-service to main-api, and out.
//!
//! Member names are part of the contract. Changing one is a breaking change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// aux-service's envelope: every answer says which build made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Versioned<T> {
    pub version: String,
    #[serde(flatten)]
    pub body: T,
}

/// main-api's envelope: the builds of both services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Aggregated<T> {
    pub main_version: String,
    pub aux_version: String,
    #[serde(flatten)]
    pub body: T,
}

/// The names of all S3 buckets, in AWS's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Buckets {
    pub buckets: Vec<String>,
}

/// The names of all SSM parameters that this service may show, in AWS's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Parameters {
    pub parameters: Vec<String>,
}

/// The value of one parameter. A `StringList` is its comma-separated text, as SSM holds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Value<T = String> {
    /// Borrowed where it is sent: a secret must not be copied on its way.
    #[schema(value_type = String)]
    pub value: T,
}

/// Every parameter below a path, recursively.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Values<T = String> {
    pub path: String,
    #[schema(value_type = BTreeMap<String, String>)]
    pub values: BTreeMap<String, T>,
    /// The SecureStrings that were left out because they are not allowed.
    pub omitted: Vec<String>,
}

/// Both lists at once. A part that failed is `None`, and `errors` says why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Inventory {
    pub buckets: Option<Vec<String>>,
    pub parameters: Option<Vec<String>>,
    /// The problem of each part that failed, by the part's member name.
    pub errors: BTreeMap<String, crate::problem::Problem>,
}

// A parameter's value must never reach a log, so these two are printed without theirs.
impl<T> std::fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Value").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values")
            .field("path", &self.path)
            .field("values", &self.values.len())
            .field("omitted", &self.omitted)
            .finish()
    }
}
