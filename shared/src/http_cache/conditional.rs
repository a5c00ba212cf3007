//! Entity tags and the question whether a client has the answer already (RFC 9110, 8.8.3 and 13.1.2).

use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::list::{Quoting, members_of};
use crate::hex;

/// Half of a SHA-256 is enough that two bodies never share a tag, by accident or on purpose.
const TAG_BYTES: usize = 16;

/// As a header: two digits a byte, and quotes.
const TEXT_BYTES: usize = 2 * TAG_BYTES + 2;

/// A strong entity tag: equal for equal bodies, on every replica and after every restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag([u8; TAG_BYTES]);

impl EntityTag {
    pub fn of(body: &[u8]) -> Self {
        Self::of_source(&[body])
    }

    /// The tag of a body that is made of these and of nothing else, always in the same way: for a
    /// body that is longer than they are.
    pub fn of_source(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let (tag, _) = digest.split_first_chunk().expect("a digest is longer");
        Self(*tag)
    }

    pub fn header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.to_bytes()).expect("quotes and digits are a header value")
    }

    /// The header's value: quoted, lower-case hexadecimal digits.
    fn to_bytes(self) -> [u8; TEXT_BYTES] {
        let mut text = [b'"'; TEXT_BYTES];
        for (place, byte) in text[1..].chunks_exact_mut(2).zip(self.0) {
            place.copy_from_slice(&hex::digits(byte));
        }
        text
    }
}

/// Whether `If-None-Match` names this answer, so that a 304 says all.
///
/// The comparison is weak, as RFC 9110 wants it here: `W/"x"` names `"x"` too.
pub fn is_current(request: &HeaderMap, tag: EntityTag) -> bool {
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| names(line.as_bytes(), tag))
}

/// [`is_current`] for one line of `If-None-Match`.
fn names(line: &[u8], tag: EntityTag) -> bool {
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

    /// `ONE` stands for that tag.
    fn current(condition: &str) -> bool {
        let mut request = HeaderMap::new();
        let condition = condition.replace("ONE", ONE);
        request.insert(header::IF_NONE_MATCH, condition.parse().expect("a header value"));
        is_current(&request, EntityTag::of(b"one"))
    }

    #[test]
    fn a_tag_is_quoted_and_follows_the_body() {
        let tag = EntityTag::of(b"one");
        assert_eq!(tag, EntityTag::of_source(&[b"o", b"ne"]));
        assert_ne!(tag, EntityTag::of(b"two"));
        assert_eq!(tag.header(), ONE);
    }

    #[test]
    fn a_client_has_the_answer_when_its_tag_is_in_the_list() {
        assert!(current("ONE"));
        assert!(current("\"x,y\", ONE ,\"z\""));
        assert!(current("W/ONE"), "the comparison is weak");
        assert!(current("*"));
    }

    #[test]
    fn a_client_without_the_answer_gets_it() {
        assert!(!current("\"a\", \"b\""));
        assert!(!current("7692c3ad3540bb803c020b3aee66cd88"), "a tag without quotes is none");
        assert!(!current("\"x,ONE,y\""), "it is a part of another one");
        assert!(!current("w/ONE"), "the weakness prefix is case-sensitive");
        assert!(!current("\"*\""));
        assert!(!current(""));
        assert!(!is_current(&HeaderMap::new(), EntityTag::of(b"one")));
    }
}
