//! The bodies of successful responses, from aux-service to main-api and from main-api to the
//! client.
//!
//! Member names are part of the contract. Changing one is a breaking change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The envelope of aux-service: every response names the build that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Versioned<T> {
    pub version: String,
    #[serde(flatten)]
    pub body: T,
}

/// The envelope of main-api: the builds of both services.
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

/// The value of one parameter. A `StringList` is comma-separated text, as in SSM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Value<T = String> {
    /// The parameter's value. It is borrowed on the sending side, because a secret must not be
    /// copied.
    #[schema(value_type = String)]
    pub value: T,
}

/// One parameter with all that SSM stores about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Record<T = String> {
    pub parameter: ParameterRecord<T>,
}

/// A parameter with its value and its facts. Members are `null` if SSM did not send them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParameterRecord<T = String> {
    pub name: String,
    /// The type: `String`, `StringList` or `SecureString`.
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(value_type = String)]
    pub value: T,
    /// The version, counted from 1.
    pub version: i64,
    pub arn: Option<String>,
    /// The time of the last change, as in RFC 3339.
    pub last_modified: Option<String>,
    pub data_type: Option<String>,
}

/// All parameters below a path, recursively.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Values<T = String> {
    pub path: String,
    #[schema(value_type = BTreeMap<String, String>)]
    pub values: BTreeMap<String, T>,
    /// The names of the SecureStrings that are left out, because they are not allowed or cannot be
    /// decrypted.
    pub omitted: Vec<String>,
}

/// Both lists at once. A part that failed is `null`, and `errors` holds its problem.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Inventory {
    pub buckets: Option<Vec<String>>,
    pub parameters: Option<Vec<String>>,
    /// The problem of each part that failed, by the part's member name.
    pub errors: BTreeMap<String, crate::contract::problem::Problem>,
}

/// The data of an event of `/changes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change<T = String> {
    /// The name of the parameter, with a leading slash.
    #[schema(value_type = String, example = "/challenge/kantox")]
    pub name: T,
    /// Whether the parameter is gone. Absent when `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

// A parameter's value must never reach a log, so `Debug` omits the values of these types.
impl<T> std::fmt::Debug for ParameterRecord<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParameterRecord").field("name", &self.name).finish_non_exhaustive()
    }
}

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
