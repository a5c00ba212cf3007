//! Records: a cached parameter holds all that SSM stores about it. `/param` sends its value, and
//! `/parameter` all of it.

use cache::{CachedBody, Served};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::contract::wire::{ParameterRecord, Record, Value, Versioned};

use crate::parameter::{Details, Parameter};

/// The facts of a record beside the body of `/param`, in the annotation of that body.
#[derive(Serialize, Deserialize)]
struct Annotation {
    #[serde(rename = "n")]
    name: String,
    #[serde(flatten)]
    details: Details,
}

/// Builds the body of `/param`, which holds the record as its annotation.
pub(crate) fn value_body(version: &str, parameter: &Parameter) -> CachedBody {
    let value = Value { value: parameter.value.as_str() };
    let body = json(&Versioned { version: version.to_owned(), body: value }, parameter.secure);
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
    let record = Versioned { version: stored.version, body: Record { parameter } };
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
