//! Entity tags and the question whether a client has the answer already (RFC 9110, 8.8.3 and 13.1.2).

use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::list::{Quoting, members_of};
use crate::hex;

/// Half of a SHA-256 is enough that two bodies never share a tag, by accident or on purpose.
const TAG_BYTES: usize = 16;

/// A strong tag: equal for equal bodies, on every replica and after every restart.
pub fn entity_tag(body: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(body);
    let mut tag = Vec::with_capacity(2 * TAG_BYTES + 2);
    tag.push(b'"');
    hex::write(&digest[..TAG_BYTES], &mut tag);
    tag.push(b'"');
    HeaderValue::try_from(tag).expect("quotes and hexadecimal digits are a header value")
}

/// Whether `If-None-Match` names this answer, so that a 304 says all.
///
/// The comparison is weak, as RFC 9110 wants it here: `W/"x"` names `"x"` too.
pub fn is_current(request: &HeaderMap, etag: &HeaderValue) -> bool {
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| names(line.as_bytes(), etag))
}

/// [`is_current`] for one line of `If-None-Match`.
pub(super) fn names(line: &[u8], etag: &HeaderValue) -> bool {
    members_of(line, Quoting::Verbatim).any(|member| {
        let opaque = member.strip_prefix(b"W/").unwrap_or(member);
        member == b"*" || opaque == etag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(condition: &str) -> bool {
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, condition.parse().expect("a header value"));
        is_current(&request, &HeaderValue::from_static("\"a,b\""))
    }

    #[test]
    fn a_tag_is_quoted_and_follows_the_body() {
        let tag = entity_tag(b"one");
        assert_eq!(tag, entity_tag(b"one"));
        assert_ne!(tag, entity_tag(b"two"));
        // The first half of `printf one | sha256sum`.
        assert_eq!(tag, "\"7692c3ad3540bb803c020b3aee66cd88\"");
    }

    #[test]
    fn a_client_has_the_answer_when_its_tag_is_in_the_list() {
        assert!(current("\"a,b\""));
        assert!(current("\"x\", \"a,b\" ,\"y\""));
        assert!(current("W/\"a,b\""), "the comparison is weak");
        assert!(current("*"));
    }

    #[test]
    fn a_client_without_the_answer_gets_it() {
        assert!(!current("\"a\", \"b\""));
        assert!(!current("a,b"), "a tag without quotes is none");
        assert!(!current("w/\"a,b\""), "the weakness prefix is case-sensitive");
        assert!(!current("\"*\""));
        assert!(!current(""));
        assert!(!is_current(&HeaderMap::new(), &HeaderValue::from_static("\"a,b\"")));
    }
}
