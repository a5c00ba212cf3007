//! The bodies of successful responses, with AWS's member names.

use cache::CachedBody;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::CONTENT_TYPE;

/// A point in time. AWS's JSON writes it as seconds since 1970 with fractions, exact to
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The milliseconds since 1970.
    pub milliseconds: i64,
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A float holds the milliseconds of the next 200,000 years exactly.
        serializer.serialize_f64(self.milliseconds as f64 / 1e3)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // A number out of range becomes the nearest one.
        Ok(Self { milliseconds: (seconds * 1e3).round() as i64 })
    }
}

/// The description of a parameter, without its value: `ParameterMetadata`
/// (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ParameterMetadata.html>).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ParameterMetadata {
    #[serde(rename = "ARN", skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified_date: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified_user: Option<String>,
    pub name: String,
    /// AWS sends an empty list for a parameter without policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<Policy>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

/// A policy of a parameter, such as its expiration: `ParameterInlinePolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Policy {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_type: Option<String>,
}

/// The parts of a JSON text. Joined without a copy in between, because a part may be a secret.
type Parts<'a> = Vec<&'a str>;

/// Appends a parameter with its value: an object of facts, as JSON, and a value, as JSON.
///
/// # Panics
///
/// `facts` is no object with members.
pub fn object_with_value<'a>(facts: &'a str, value: &'a RawValue, parts: &mut Parts<'a>) {
    let open = facts.strip_suffix('}').expect("an object");
    parts.extend([open, ",\"Value\":", value.get(), "}"]);
}

/// Returns the body of `GetParameter`: `parts` are those of one parameter.
pub fn parameter(parts: &[&str], confidential: bool) -> CachedBody {
    body(&[&["{\"Parameter\":"], parts, &["}"]], confidential)
}

/// Returns the body of `GetParameters`: the parts of each parameter, and the names that AWS does not
/// have.
pub fn parameters(found: &[Parts<'_>], invalid: &[&str], confidential: bool) -> CachedBody {
    let invalid = serde_json::to_string(invalid).expect("strings are JSON");
    let list = separated(found);
    body(
        &[&["{\"InvalidParameters\":", &invalid, ",\"Parameters\":["], &list, &["]}"]],
        confidential,
    )
}

/// Returns the body of a page: the parts of each parameter, and the token of the next page.
pub fn page(found: &[Parts<'_>], next_token: Option<&str>, confidential: bool) -> CachedBody {
    // A token consists of letters, digits, - and _.
    let next = next_token.map(|token| format!("\"NextToken\":\"{token}\","));
    let list = separated(found);
    body(
        &[&["{", next.as_deref().unwrap_or_default(), "\"Parameters\":["], &list, &["]}"]],
        confidential,
    )
}

fn separated<'a>(objects: &[Parts<'a>]) -> Parts<'a> {
    let mut list = Vec::with_capacity(objects.len() * 5);
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            list.push(",");
        }
        list.extend(object);
    }
    list
}

/// Joins the parts in one buffer of the right size. A growing buffer would leave copies of a secret
/// in freed memory.
fn body(parts: &[&[&str]], confidential: bool) -> CachedBody {
    let parts = || parts.iter().copied().flatten();
    let mut bytes = Vec::with_capacity(parts().map(|part| part.len()).sum());
    parts().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    if confidential {
        CachedBody::confidential(CONTENT_TYPE, Zeroizing::new(bytes))
    } else {
        CachedBody::untagged(CONTENT_TYPE, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &CachedBody) -> serde_json::Value {
        serde_json::from_slice(body.bytes()).expect("JSON")
    }

    #[test]
    fn dates_are_seconds_with_fractions() {
        for (milliseconds, text) in
            [(1_700_000_000_123, "1700000000.123"), (-1_500, "-1.5"), (0, "0.0")]
        {
            let written = serde_json::to_string(&Timestamp { milliseconds }).expect("a number");
            assert_eq!(written, text);
            let read: Timestamp = serde_json::from_str(&written).expect("a number");
            assert_eq!(read.milliseconds, milliseconds);
        }
    }

    #[test]
    fn bodies_have_the_members_of_aws() {
        let value: Box<RawValue> = serde_json::from_str(r#""a\"b\u00e9""#).expect("JSON");
        let mut parts = Vec::new();
        object_with_value(r#"{"Name":"/a"}"#, &value, &mut parts);
        let object = serde_json::json!({ "Name": "/a", "Value": "a\"b\u{e9}" });
        let one = parameter(&parts, false);
        assert_eq!(json(&one), serde_json::json!({ "Parameter": object }));
        assert_eq!((one.content_type(), one.etag()), (&CONTENT_TYPE, None));
        assert!(!one.is_confidential());
        let found = [parts.clone(), parts];
        let several = parameters(&found, &["/\"b"], true);
        let expected =
            serde_json::json!({ "InvalidParameters": ["/\"b"], "Parameters": [object, object] });
        assert_eq!(json(&several), expected);
        assert!(several.is_confidential());
        assert_eq!(json(&page(&[], None, false)), serde_json::json!({ "Parameters": [] }));
        let token = serde_json::json!({ "Parameters": [object], "NextToken": "MTph" });
        assert_eq!(json(&page(&found[..1], Some("MTph"), false)), token);
    }
}
