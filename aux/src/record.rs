//! Records: the result of a load, with all that SSM stores about a parameter. `/param` sends its
//! value, and `/parameter` all of it.

use std::collections::BTreeMap;

use cache::{CachedBody, Served};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::contract::wire::{
    Buckets, ParameterRecord, Parameters, Record as WireRecord, Value, Values, Versioned,
};

use crate::parameter::{Details, Parameter, PathValues};

/// The result of a load, without what this service may not show.
///
/// The serialised form is the one in the shared cache; its names are short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The names of all buckets.
    #[serde(rename = "b")]
    Buckets(Vec<String>),
    /// The names of all parameters.
    #[serde(rename = "l")]
    Names(Vec<String>),
    #[serde(rename = "p")]
    Parameter(Parameter),
    /// The parameters below a path.
    #[serde(rename = "v")]
    Values(PathValues),
}

impl Record {
    /// Whether another process may hold the record: it contains no SecureString.
    pub(crate) fn is_public(&self) -> bool {
        match self {
            Self::Buckets(_) | Self::Names(_) => true,
            Self::Parameter(parameter) => !parameter.secure,
            Self::Values(PathValues { readable, .. }) => !readable.iter().any(|p| p.secure),
        }
    }

    /// Whether the record is the empty result of a path. Such a result expires like a negative
    /// entry. Otherwise requests for made-up paths would evict useful entries.
    pub(crate) fn is_empty_path(&self) -> bool {
        matches!(self, Self::Values(PathValues { readable, unreadable })
            if readable.is_empty() && unreadable.is_empty())
    }

    /// Builds the body of the route that shows the record. `path` is the path of the values.
    pub(crate) fn body(&self, version: &str, path: &str) -> CachedBody {
        let version = version.to_owned();
        match self {
            Self::Buckets(names) => {
                json(&Versioned { version, body: Buckets { buckets: names.clone() } }, false)
            }
            Self::Names(names) => {
                json(&Versioned { version, body: Parameters { parameters: names.clone() } }, false)
            }
            Self::Parameter(parameter) => value_body(version, parameter),
            Self::Values(PathValues { readable, unreadable }) => {
                let values: BTreeMap<_, _> =
                    readable.iter().map(|p| (p.name.clone(), p.value.as_str())).collect();
                let (path, omitted) = (path.to_owned(), unreadable.clone());
                json(
                    &Versioned { version, body: Values { path, values, omitted } },
                    !self.is_public(),
                )
            }
        }
    }
}

/// The facts of a record beside the body of `/param`, in the annotation of that body.
#[derive(Serialize, Deserialize)]
struct Annotation {
    #[serde(rename = "n")]
    name: String,
    #[serde(flatten)]
    details: Details,
}

/// Builds the body of `/param`, which holds the record as its annotation.
fn value_body(version: String, parameter: &Parameter) -> CachedBody {
    let value = Value { value: parameter.value.as_str() };
    let body = json(&Versioned { version, body: value }, parameter.secure);
    let (name, details) = (parameter.name.clone(), parameter.details.clone());
    let annotation = serde_json::to_vec(&Annotation { name, details }).expect("strings are JSON");
    body.annotated(&annotation)
}

/// Converts a response of `/param` to the response of `/parameter`. The value keeps its spelling,
/// so no copy of a secret is made besides the one in the new body.
pub(crate) fn as_record(served: Served) -> Served {
    #[derive(Deserialize)]
    struct Stored<'a> {
        version: String,
        #[serde(borrow)]
        value: &'a RawValue,
    }

    let body = served.body();
    let stored: Stored<'_> = serde_json::from_slice(body.bytes()).expect("the body of /param");
    let annotation = body.annotation().expect("each body of /param holds its record");
    let Annotation { name, details } = serde_json::from_slice(annotation).expect("an annotation");
    let Details { kind, version, arn, last_modified, data_type } = details;
    let parameter =
        ParameterRecord { name, kind, value: stored.value, version, arn, last_modified, data_type };
    let record = Versioned { version: stored.version, body: WireRecord { parameter } };
    let body = json(&record, body.is_confidential());
    served.represented_by(body)
}

fn json(value: &impl Serialize, confidential: bool) -> CachedBody {
    let body = match confidential {
        true => CachedBody::confidential_json(value),
        false => CachedBody::json(value),
    };
    body.expect("strings and numbers are JSON")
}
