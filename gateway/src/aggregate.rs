//! The body of our answer, made of that of aux-service's: the same members, and both builds.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny},
};
use serde_json::value::RawValue;
use shared::wire::{Aggregated, Buckets, Parameters, Value, Values};
use zeroize::Zeroizing;

use crate::upstream::Route;

/// A body. It may hold a secret, so it is wiped from memory in the end.
pub(crate) type Body = Zeroizing<Vec<u8>>;

/// Makes ours of theirs, given our build; `None` if theirs is not what its route answers.
pub(crate) type Aggregate = fn(&[u8], &str) -> Option<Body>;

impl Route {
    pub(crate) fn aggregate(self) -> Aggregate {
        match self {
            Self::Buckets => |theirs, ours| {
                aggregate(theirs, ours, |TheirBuckets { version, buckets }| {
                    (version, Buckets { buckets })
                })
            },
            Self::Params => |theirs, ours| {
                aggregate(theirs, ours, |TheirParameters { version, parameters }| {
                    (version, Parameters { parameters })
                })
            },
            Self::Param => |theirs, ours| {
                aggregate(theirs, ours, |TheirValue { version, value }| (version, Value { value }))
            },
            Self::Values => |theirs, ours| {
                aggregate(theirs, ours, |TheirValues { version, path, values, omitted }| {
                    (version, Values { path, values, omitted })
                })
            },
            Self::Status => |theirs, _| {
                let _: IgnoredAny = serde_json::from_slice(theirs).ok()?;
                Some(theirs.to_vec().into())
            },
        }
    }
}

/// A value as it stands in their body, quotes and escapes included: it is never read, and so never
/// copied but into ours.
#[derive(Serialize)]
#[serde(transparent)]
struct Text<'a>(&'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json: &RawValue = Deserialize::deserialize(deserializer)?;
        // Of escapes it has only the digits looked at, which may be half of a character.
        let text = |json| serde_json::from_str::<Zeroizing<String>>(json);
        if json.get().starts_with('"') && (!json.get().contains("\\u") || text(json.get()).is_ok())
        {
            Ok(Self(json))
        } else {
            Err(D::Error::custom("a value is a text"))
        }
    }
}

// Their answers, as one object each: where the envelope is a type of its own, around what it holds,
// the parser has to copy everything before it knows which is which.

#[derive(Deserialize)]
struct TheirBuckets {
    version: String,
    buckets: Vec<String>,
}

#[derive(Deserialize)]
struct TheirParameters {
    version: String,
    parameters: Vec<String>,
}

#[derive(Deserialize)]
struct TheirValue<'a> {
    version: String,
    #[serde(borrow)]
    value: Text<'a>,
}

#[derive(Deserialize)]
struct TheirValues<'a> {
    version: String,
    path: String,
    #[serde(borrow)]
    values: BTreeMap<String, Text<'a>>,
    omitted: Vec<String>,
}

/// What our envelope has around our build and before theirs.
const ENVELOPE: usize = r#""main_version":"","aux_"#.len();

/// A character of a string that needs it takes at most so many bytes more: `\u0000`.
const ESCAPE: usize = 5;

/// `open` takes what is inside out of their envelope, and the build that it tells.
fn aggregate<'a, T: Deserialize<'a>, B: Serialize>(
    theirs: &'a [u8],
    version: &str,
    open: impl FnOnce(T) -> (String, B),
) -> Option<Body> {
    // The parser would take an array of their members as well.
    if !theirs.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    // Its message may quote a value, so it goes no further.
    let (aux_version, body) = open(serde_json::from_slice(theirs).ok()?);
    let ours = Aggregated { main_version: version.to_owned(), aux_version, body };
    // No JSON is shorter than ours of the same, so there is room for all of it: a buffer that grows
    // leaves the outgrown one, with what it held, in freed memory.
    let room = theirs.len() + room_for(version);
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *body, &ours).ok()?;
    Some(body)
}

/// Exactly what our envelope adds for nearly every build, so that nothing has to be trimmed.
fn room_for(version: &str) -> usize {
    let escaped = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'"' | b'\\');
    let escapes = version.bytes().filter(|byte| escaped(byte)).count();
    ENVELOPE + version.len() + ESCAPE * escapes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use shared::wire::Versioned;

    use super::*;

    fn ours(route: Route, theirs: &str) -> Option<serde_json::Value> {
        let body = route.aggregate()(theirs.as_bytes(), "2")?;
        Some(serde_json::from_slice(&body).expect("JSON"))
    }

    #[test]
    fn the_members_stay_and_both_builds_are_told() {
        assert_eq!(
            ours(Route::Buckets, r#"{"version":"1","buckets":["a"]}"#),
            Some(json!({ "main_version": "2", "aux_version": "1", "buckets": ["a"] }))
        );
        assert_eq!(
            ours(Route::Param, r#" { "value" : "\u00e9\n" , "version" : "1" , "more" : 1 } "#),
            Some(json!({ "main_version": "2", "aux_version": "1", "value": "é\n" }))
        );
    }

    #[test]
    fn what_its_route_does_not_answer_is_refused() {
        for theirs in [
            r#"{"version":"1"}"#,
            r#"{"value":"v"}"#,
            r#"{"version":1,"value":"v"}"#,
            r#"{"version":"1","value":1}"#,
            r#"{"version":"1","value":null}"#,
            r#"{"version":"1","value":["v"]}"#,
            r#"{"version":"1","value":{"v":"v"}}"#,
            r#"{"version":"1","value":"v","value":"w"}"#,
            r#"{"version":"1","value":"\x"}"#,
            r#"{"version":"1","value":"\u12"}"#,
            r#"{"version":"1","value":"\ud800"}"#,
            r#"{"version":"1","value":"v}"#,
            r#"{"version":"1","value":"v"} and more"#,
            r#"["1","v"]"#,
            "{\"version\":\"1\",\"value\":\"a line\nand another\"}",
            "",
        ] {
            assert_eq!(ours(Route::Param, theirs), None, "{theirs}");
        }
        let no_text = b"{\"version\":\"1\",\"value\":\"\xff\"}";
        assert!(Route::Param.aggregate()(no_text, "2").is_none(), "it is not UTF-8");
        let values = r#"{"version":"1","path":"/","values":{"/a":1},"omitted":[]}"#;
        assert_eq!(ours(Route::Values, values), None);
        assert_eq!(ours(Route::Status, "{"), None);
    }

    #[test]
    fn a_value_is_told_as_it_was_written() {
        let theirs = r#"{"version":"1","value":"\u00e9\/\n\"é"}"#;
        let ours = Route::Param.aggregate()(theirs.as_bytes(), "2").expect("a parameter");
        let told = r#"{"main_version":"2","aux_version":"1","value":"\u00e9\/\n\"é"}"#;
        assert_eq!(std::str::from_utf8(&ours), Ok(told));
    }

    proptest! {
        #[test]
        fn there_is_room_for_whatever_is_told(
            version in ".*",
            values in prop::collection::btree_map(".*", ".*", 0..5),
        ) {
            let body = Values { path: version.clone(), values, omitted: vec![version.clone()] };
            let theirs = serde_json::to_vec(&Versioned { version: version.clone(), body }).expect("JSON");
            let ours = Route::Values.aggregate()(&theirs, &version).expect("it is what the route answers");
            let most = theirs.len() + room_for(&version);
            prop_assert_eq!(ours.capacity(), most, "it never grew");
            let read: Aggregated<Values> = serde_json::from_slice(&ours).expect("ours");
            let sent: Versioned<Values> = serde_json::from_slice(&theirs).expect("theirs");
            prop_assert_eq!(read.body, sent.body);
        }
    }
}
