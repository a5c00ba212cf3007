//! Records: the result of a load, with all that SSM stores about a parameter. `/param` sends its
//! value, `/parameter` all of it, and AWS's protocol the same in AWS's form.
//!
//! The body of an entry is the one of the plain route. The facts of each parameter are the body's
//! annotation: an object in AWS's form, one a line, in AWS's order. In the entry of a path, the
//! position of the value in the body precedes each object, so that a page needs no other part of the
//! body. All representations are made of body and annotation.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    time::{Duration, UNIX_EPOCH},
};

use cache::{CachedBody, Served};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::contract::{
    ssm::{ParameterMetadata, Timestamp},
    wire::{Buckets, ParameterRecord, Parameters, Record as WireRecord, Value, Values, Versioned},
};

pub(crate) mod ssm;

use crate::parameter::{Details, Parameter, PathValues};

/// The result of a load, without what this service may not show.
///
/// The serialised form is the one in the shared cache; its names are short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The names of all buckets.
    #[serde(rename = "b")]
    Buckets(Vec<String>),
    /// The descriptions of all parameters.
    #[serde(rename = "d")]
    Parameters(Vec<ParameterMetadata>),
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
            Self::Buckets(_) | Self::Parameters(_) => true,
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

    /// Builds the body of the route that shows the record, with the facts of its parameters as
    /// annotation. `path` is the path of the values.
    pub(crate) fn body(&self, version: &str, path: &str) -> CachedBody {
        let version = version.to_owned();
        match self {
            Self::Buckets(names) => {
                json(&Versioned { version, body: Buckets { buckets: names.clone() } }, false)
            }
            Self::Parameters(found) => {
                let parameters = found.iter().map(|metadata| metadata.name.clone()).collect();
                json(&Versioned { version, body: Parameters { parameters } }, false)
                    .annotated(&lines(found.iter()))
            }
            Self::Parameter(parameter) => {
                let value = Value { value: parameter.value.as_str() };
                json(&Versioned { version, body: value }, parameter.secure)
                    .annotated(&lines([Facts::of(parameter)].into_iter()))
            }
            Self::Values(PathValues { readable, unreadable }) => {
                // AWS may repeat a parameter on a later page if the list changes between two pages.
                // The last one is the newest.
                let mut names = HashSet::new();
                let mut once: Vec<&Parameter> =
                    readable.iter().rev().filter(|p| names.insert(p.name.as_str())).collect();
                once.reverse();
                let values: BTreeMap<_, _> =
                    once.iter().map(|p| (p.name.clone(), p.value.as_str())).collect();
                let (path, omitted) = (path.to_owned(), unreadable.clone());
                let body = Versioned { version, body: Values { path, values, omitted } };
                let body = json(&body, !self.is_public());
                let lines = ssm::path_lines(&body, &once);
                body.annotated(&lines)
            }
        }
    }
}

/// The facts of a parameter, in AWS's form.
#[derive(Serialize, Deserialize)]
struct Facts<'a> {
    #[serde(rename = "Name")]
    name: Cow<'a, str>,
    #[serde(flatten)]
    details: Cow<'a, Details>,
}

impl<'a> Facts<'a> {
    fn of(parameter: &'a Parameter) -> Self {
        let Parameter { name, details, .. } = parameter;
        Self { name: Cow::Borrowed(name), details: Cow::Borrowed(details) }
    }
}

/// Writes one object a line.
fn lines<T: Serialize>(objects: impl Iterator<Item = T>) -> String {
    let mut lines = String::new();
    for object in objects {
        if !lines.is_empty() {
            lines.push('\n');
        }
        lines += &object_text(&object);
    }
    lines
}

fn object_text(object: &impl Serialize) -> String {
    serde_json::to_string(object).expect("strings and numbers are JSON")
}

/// Reads the annotation of an entry of parameters: one object of facts a line.
fn annotation(body: &CachedBody) -> &str {
    body.annotation().expect("each entry of parameters holds their facts")
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
    let facts: Facts<'_> = serde_json::from_str(annotation(body)).expect("the facts of one");
    let Details { arn, data_type, last_modified_date, kind, version, .. } =
        facts.details.into_owned();
    let parameter = ParameterRecord {
        name: facts.name.into_owned(),
        kind,
        value: stored.value,
        version,
        arn,
        last_modified: last_modified_date.and_then(rfc3339),
        data_type,
    };
    let record = Versioned { version: stored.version, body: WireRecord { parameter } };
    let body = json(&record, body.is_confidential());
    served.represented_by(body)
}

/// Writes a point in time as in RFC 3339, which has years up to 9999. Parameter Store is younger
/// than 1970.
fn rfc3339(Timestamp { milliseconds }: Timestamp) -> Option<String> {
    const YEAR_10000: u64 = 253_402_300_800_000;
    let milliseconds = u64::try_from(milliseconds).ok().filter(|ms| *ms < YEAR_10000)?;
    let time = UNIX_EPOCH + Duration::from_millis(milliseconds);
    Some(match milliseconds % 1000 {
        0 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => {
            let text = humantime::format_rfc3339_millis(time).to_string();
            format!("{}Z", text.trim_end_matches('Z').trim_end_matches('0'))
        }
    })
}

fn json(value: &impl Serialize, confidential: bool) -> CachedBody {
    let body = match confidential {
        true => CachedBody::confidential_json(value),
        false => CachedBody::json(value),
    };
    body.expect("strings and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_as_many_digits_as_it_needs() {
        for (milliseconds, text) in [
            (1_769_860_800_000, Some("2026-01-31T12:00:00Z")),
            (1_769_860_800_120, Some("2026-01-31T12:00:00.12Z")),
            (1_769_860_800_001, Some("2026-01-31T12:00:00.001Z")),
            (-1, None),
            (i64::MAX, None),
        ] {
            assert_eq!(rfc3339(Timestamp { milliseconds }).as_deref(), text);
        }
    }
}
