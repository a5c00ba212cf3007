//! Entity tags and their comparison with `If-None-Match` (RFC 9110, 8.8.3 and 13.1.2).

use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::list::{Quoting, members_of};
use crate::hex;

/// Length of a tag in bytes. Half of a SHA-256 is enough to prevent equal tags of different bodies,
/// by accident or by attack.
const TAG_BYTES: usize = 16;

/// Length of the header's value: two hexadecimal digits per byte, and two quotes.
const TEXT_BYTES: usize = 2 * TAG_BYTES + 2;

/// A strong entity tag. Equal bodies have equal tags, on every replica and after every restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag([u8; TAG_BYTES]);

impl EntityTag {
    /// Returns the tag of a body.
    pub fn of(body: &[u8]) -> Self {
        Self::derived_from(&[body])
    }

    /// Returns the tag of a body that is built from these parts alone, always in the same way.
    /// Hashing the parts saves time if the body is longer than they are.
    pub fn derived_from(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let (tag, _) = digest.split_first_chunk().expect("a digest is longer");
        Self(*tag)
    }

    /// Returns the value of `ETag`.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.to_bytes()).expect("quotes and digits are a header value")
    }

    /// Returns the header's value: lower-case hexadecimal digits in quotes.
    fn to_bytes(self) -> [u8; TEXT_BYTES] {
        let mut text = [b'"'; TEXT_BYTES];
        hex::write(&self.0, &mut text[1..TEXT_BYTES - 1]);
        text
    }
}

/// Returns whether `If-None-Match` matches the tag, so that a 304 suffices.
///
/// The comparison is weak, as RFC 9110 requires here: `W/"x"` also matches `"x"`.
pub fn matches_if_none_match(request: &HeaderMap, tag: EntityTag) -> bool {
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| matches_etag(line.as_bytes(), tag))
}

/// Compares the tag with one line of `If-None-Match`, as [`matches_if_none_match`] does with all
/// lines.
fn matches_etag(line: &[u8], tag: EntityTag) -> bool {
    let text = tag.to_bytes();
    members_of(line, Quoting::Verbatim).any(|member| {
        let opaque = member.strip_prefix(b"W/").unwrap_or(member);
        member == b"*" || opaque == text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tag of `one`: the first half of `printf one | sha256sum`.
    const ONE: &str = "\"7692c3ad3540bb803c020b3aee66cd88\"";

    /// Checks a condition in which `ONE` stands for that tag.
    fn current(condition: &str) -> bool {
        let mut request = HeaderMap::new();
        let condition = condition.replace("ONE", ONE);
        request.insert(header::IF_NONE_MATCH, condition.parse().expect("a header value"));
        matches_if_none_match(&request, EntityTag::of(b"one"))
    }

    #[test]
    fn a_tag_is_quoted_and_follows_the_body() {
        let tag = EntityTag::of(b"one");
        assert_eq!(tag, EntityTag::derived_from(&[b"o", b"ne"]));
        assert_ne!(tag, EntityTag::of(b"two"));
        assert_eq!(tag.header(), ONE);
    }

    #[test]
    fn a_tag_in_the_list_matches() {
        assert!(current("ONE"));
        assert!(current("\"x,y\", ONE ,\"z\""));
        assert!(current("W/ONE"), "the comparison is weak");
        assert!(current("*"));
    }

    #[test]
    fn a_tag_outside_the_list_does_not_match() {
        assert!(!current("\"a\", \"b\""));
        assert!(!current("7692c3ad3540bb803c020b3aee66cd88"), "a tag without quotes is invalid");
        assert!(!current("\"x,ONE,y\""), "it is a part of another one");
        assert!(!current("w/ONE"), "the weakness prefix is case-sensitive");
        assert!(!current("\"*\""));
        assert!(!current(""));
        assert!(!matches_if_none_match(&HeaderMap::new(), EntityTag::of(b"one")));
    }
}
