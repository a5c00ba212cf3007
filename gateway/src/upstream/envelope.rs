//! The body of our response, made of the body of aux-service's response: the same members, and the
//! versions of both services. A body in AWS's protocol has no version and stays as it is.

use std::collections::BTreeMap;

use cache::CachedBody;
use http::HeaderValue;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;
use service::contract::{
    routes::RouteId,
    ssm,
    wire::{Aggregated, Buckets, ParameterRecord, Parameters, Record, Value, Values},
};
use zeroize::Zeroizing;

/// A body. It may hold a secret, so it is wiped from memory when it is dropped.
pub type Body = Zeroizing<Vec<u8>>;

/// Makes our body out of the upstream's body and our version. Returns `None` if the upstream's body
/// is not one of its route.
pub type BodyTransform = fn(&[u8], &str) -> Option<Body>;

/// The content type of the bodies of a route: the upstream's, and ours.
pub(crate) fn content_type_of(route: RouteId) -> HeaderValue {
    if route.route().is_aws() { ssm::CONTENT_TYPE } else { CachedBody::JSON }
}

/// The transform of a route. A route that main-api does not call has no valid body.
pub fn transform_of(route: RouteId) -> BodyTransform {
    match route {
        RouteId::Buckets => |upstream, version| {
            wrap(upstream, version, |UpstreamBuckets { version, buckets }| {
                (version, Buckets { buckets })
            })
        },
        RouteId::Params => |upstream, version| {
            wrap(upstream, version, |UpstreamParameters { version, parameters }| {
                (version, Parameters { parameters })
            })
        },
        RouteId::Param => |upstream, version| {
            wrap(upstream, version, |UpstreamValue { version, value }| (version, Value { value }))
        },
        RouteId::Parameter => |upstream, version| {
            wrap(upstream, version, |UpstreamRecord { version, parameter }| {
                (version, Record { parameter })
            })
        },
        RouteId::Values => |upstream, version| {
            wrap(upstream, version, |UpstreamValues { version, path, values, omitted }| {
                (version, Values { path, values, omitted })
            })
        },
        // `/status` is passed on as it is.
        RouteId::Status => |upstream, _| {
            let status: serde_json::Value = serde_json::from_slice(upstream).ok()?;
            status.is_object().then(|| upstream.to_vec().into())
        },
        RouteId::SsmGetParameter => |upstream, _| unchanged::<SsmParameter<'_>>(upstream),
        RouteId::SsmGetParameters | RouteId::SsmGetParametersByPath => {
            |upstream, _| unchanged::<SsmList<NameAndValue<'_>>>(upstream)
        }
        RouteId::SsmDescribeParameters => |upstream, _| unchanged::<SsmList<Name<'_>>>(upstream),
        _ => |_, _| None,
    }
}

/// Passes on a body in AWS's protocol as it is, if it has the members of its operation. Clients and
/// AWS know more members than this service, so none is left out.
fn unchanged<'a, T: Deserialize<'a>>(upstream: &'a [u8]) -> Option<Body> {
    if !upstream.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    // The parser's message may quote a value, so it is dropped.
    serde_json::from_slice::<T>(upstream).ok()?;
    Some(upstream.to_vec().into())
}

/// A string in the upstream's spelling, quotes and escapes included. It is not decoded, so the only
/// copy of a value is the one in our body.
#[derive(Serialize)]
#[serde(transparent)]
struct RawText<'a>(&'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for RawText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json: &RawValue = Deserialize::deserialize(deserializer)?;
        // `RawValue` accepts any four hex digits after `\u`, so a lone surrogate passes. Parse the
        // string to reject it.
        let parse = |json| serde_json::from_str::<Zeroizing<String>>(json);
        if json.get().starts_with('"') && (!json.get().contains("\\u") || parse(json.get()).is_ok())
        {
            Ok(Self(json))
        } else {
            Err(D::Error::custom("a value is a string"))
        }
    }
}

// The upstream's bodies are one object each. With a type for the envelope around a type for its
// content, the parser would copy every member before it knows which type has it.

#[derive(Deserialize)]
struct UpstreamBuckets {
    version: String,
    buckets: Vec<String>,
}

#[derive(Deserialize)]
struct UpstreamParameters {
    version: String,
    parameters: Vec<String>,
}

#[derive(Deserialize)]
struct UpstreamValue<'a> {
    version: String,
    #[serde(borrow)]
    value: RawText<'a>,
}

#[derive(Deserialize)]
struct UpstreamRecord<'a> {
    version: String,
    #[serde(borrow)]
    parameter: ParameterRecord<RawText<'a>>,
}

#[derive(Deserialize)]
struct UpstreamValues<'a> {
    version: String,
    path: String,
    #[serde(borrow)]
    values: BTreeMap<String, RawText<'a>>,
    omitted: Vec<String>,
}

// The members of AWS's protocol without which a response is none of its operation.

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "the parser checks the members, and the body is passed on as it is")]
struct SsmParameter<'a> {
    #[serde(borrow)]
    parameter: NameAndValue<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "the parser checks the members, and the body is passed on as it is")]
struct SsmList<T> {
    parameters: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "the parser checks the members, and the body is passed on as it is")]
struct NameAndValue<'a> {
    #[serde(borrow)]
    name: RawText<'a>,
    #[serde(borrow)]
    value: RawText<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(dead_code, reason = "the parser checks the members, and the body is passed on as it is")]
struct Name<'a> {
    #[serde(borrow)]
    name: RawText<'a>,
}

/// The number of bytes that our envelope has and the upstream's lacks, without our version.
const ENVELOPE_BYTES: usize = r#""main_version":"","aux_"#.len();

/// The most bytes that escaping adds to a byte: `\u0000` has six bytes instead of one.
const ESCAPE_BYTES: usize = 5;

/// Wraps the content of the upstream's body in our envelope. `unwrap` splits the body into the
/// upstream's version and the content.
fn wrap<'a, T: Deserialize<'a>, B: Serialize>(
    upstream: &'a [u8],
    version: &str,
    unwrap: impl FnOnce(T) -> (String, B),
) -> Option<Body> {
    // The parser would also accept an array of the members' values.
    if !upstream.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    // The parser's message may quote a value, so it is dropped.
    let (aux_version, body) = unwrap(serde_json::from_slice(upstream).ok()?);
    let wrapped = Aggregated { main_version: version.to_owned(), aux_version, body };
    // No JSON of the same members is shorter than this body, so all of it fits. A buffer that grows
    // would leave the outgrown one, with a secret in it, in freed memory.
    let mut body = Zeroizing::new(Vec::with_capacity(upstream.len() + room_for(version)));
    serde_json::to_writer(&mut *body, &wrapped).ok()?;
    Some(body)
}

/// The bytes that our envelope adds. They are exact for nearly every version.
fn room_for(version: &str) -> usize {
    let escaped = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'"' | b'\\');
    let escapes = version.bytes().filter(|byte| escaped(byte)).count();
    ENVELOPE_BYTES + version.len() + ESCAPE_BYTES * escapes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use service::contract::wire::Versioned;

    use super::*;

    fn wrapped(route: RouteId, upstream: &str) -> Option<serde_json::Value> {
        let body = transform_of(route)(upstream.as_bytes(), "2")?;
        Some(serde_json::from_slice(&body).expect("JSON"))
    }

    #[test]
    fn the_members_stay_and_both_versions_are_added() {
        assert_eq!(
            wrapped(RouteId::Buckets, r#"{"version":"1","buckets":["a"]}"#),
            Some(json!({ "main_version": "2", "aux_version": "1", "buckets": ["a"] }))
        );
        assert_eq!(
            wrapped(RouteId::Param, r#" { "value" : "\u00e9\n" , "version" : "1" , "more" : 1 } "#),
            Some(json!({ "main_version": "2", "aux_version": "1", "value": "é\n" }))
        );
    }

    #[test]
    fn a_body_of_another_kind_is_refused() {
        for upstream in [
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
            assert_eq!(wrapped(RouteId::Param, upstream), None, "{upstream}");
        }
        let no_text = b"{\"version\":\"1\",\"value\":\"\xff\"}";
        assert!(transform_of(RouteId::Param)(no_text, "2").is_none(), "it is not UTF-8");
        let values = r#"{"version":"1","path":"/","values":{"/a":1},"omitted":[]}"#;
        assert_eq!(wrapped(RouteId::Values, values), None);
        for status in ["{", "[]", "null", r#"{"x":1e999}"#, r#"{"x":"\ud800"}"#] {
            assert_eq!(wrapped(RouteId::Status, status), None, "{status}");
        }
    }

    #[test]
    fn a_body_of_aws_protocol_is_passed_on_if_it_has_the_members_of_its_operation() {
        let one = r#" {"New": 1.0, "Parameter":{"Value":"\u00e9\/","Name":"/a","Version":1}}"#;
        let list = r#"{"Parameters":[{"Name":"/a","Value":"1"}],"NextToken":"x"}"#;
        let described = r#"{"Parameters":[{"Name":"/a","Version":2}]}"#;
        let empty = r#"{"Parameters":[]}"#;
        let none = "{}";
        let text_missing = r#"{"Parameter":{"Name":"/a","Value":"\ud800"}}"#;
        for (route, valid) in [
            (RouteId::SsmGetParameter, &[one][..]),
            (RouteId::SsmGetParameters, &[list, empty]),
            (RouteId::SsmGetParametersByPath, &[list, empty]),
            (RouteId::SsmDescribeParameters, &[list, described, empty]),
        ] {
            for upstream in [one, list, described, empty, none, text_missing, "[]", "", "[[]]"] {
                let expected = valid.contains(&upstream).then_some(upstream.as_bytes());
                let passed = transform_of(route)(upstream.as_bytes(), "2");
                assert_eq!(passed.as_ref().map(|body| &***body), expected, "{route:?}: {upstream}");
            }
        }
    }

    #[test]
    fn a_value_keeps_its_spelling() {
        let upstream = r#"{"version":"1","value":"\u00e9\/\n\"é"}"#;
        let wrapped = transform_of(RouteId::Param)(upstream.as_bytes(), "2").expect("a parameter");
        let expected = r#"{"main_version":"2","aux_version":"1","value":"\u00e9\/\n\"é"}"#;
        assert_eq!(std::str::from_utf8(&wrapped), Ok(expected));
    }

    proptest! {
        #[test]
        fn the_buffer_has_room_for_every_body(
            version in ".*",
            values in prop::collection::btree_map(".*", ".*", 0..5),
        ) {
            let body = Values { path: version.clone(), values, omitted: vec![version.clone()] };
            let upstream = serde_json::to_vec(&Versioned { version: version.clone(), body }).expect("JSON");
            let wrapped = transform_of(RouteId::Values)(&upstream, &version).expect("a body of its route");
            let most = upstream.len() + room_for(&version);
            prop_assert_eq!(wrapped.capacity(), most, "it never grew");
            let read: Aggregated<Values> = serde_json::from_slice(&wrapped).expect("our body");
            let sent: Versioned<Values> = serde_json::from_slice(&upstream).expect("the upstream's body");
            prop_assert_eq!(read.body, sent.body);
        }
    }
}
