//! Which requests are plain enough for the fast path.
//!
//! The parser is the one that hyper uses, with hyper's settings. Whatever it does not take, or may
//! mean more than a plain `GET`, is told apart and left to hyper: nothing is refused here.

use std::mem::MaybeUninit;

use axum::http::{HeaderMap, HeaderValue, header};
use httparse::{Header, Status};

use crate::{
    http::EXPECTED_TIMEOUT,
    telemetry::{REQUEST_ID, TRACEPARENT, TRACESTATE},
};

/// A request with more headers than this is not plain. hyper takes up to a hundred.
const MOST_HEADERS: usize = 32;

/// What has come at the front of a connection's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front<'a> {
    /// The header has not come to its end.
    Incomplete,
    /// A plain `GET` of so many bytes.
    Plain(Request<'a>, usize),
    /// Another request, of so many bytes, and without a body.
    Other(usize),
    /// Where it ends is for hyper to say, and what comes after it too.
    Unclear,
}

/// A plain `GET`: HTTP/1.1, no body, and nothing that could change how it is answered but this.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Printable ASCII without a query, without percent-encoding, without an empty segment.
    pub(crate) path: &'a str,
    pub(crate) authorization: Option<&'a [u8]>,
    pub(crate) if_none_match: Option<&'a [u8]>,
    pub(crate) request_id: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    tracestate: Option<&'a [u8]>,
    expected_timeout: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// With nothing but its path.
    pub(crate) fn of(path: &'a str) -> Self {
        Self {
            path,
            authorization: None,
            if_none_match: None,
            request_id: None,
            traceparent: None,
            tracestate: None,
            expected_timeout: None,
        }
    }

    /// What whoever works for it must know. `None`: one of them is no header value.
    pub(crate) fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::IF_NONE_MATCH, self.if_none_match),
            (REQUEST_ID, self.request_id),
            (TRACEPARENT, self.traceparent),
            (TRACESTATE, self.tracestate),
            (EXPECTED_TIMEOUT, self.expected_timeout),
        ] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_bytes(value).ok()?);
            }
        }
        Some(headers)
    }
}

impl<'a> Front<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let mut space = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut head = httparse::Request::new(&mut []);
        let length = match head.parse_with_uninit_headers(bytes, &mut space) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Self::Incomplete,
            Err(_) => return Self::Unclear,
        };
        let (Some(method), Some(path)) = (head.method, head.path) else { return Self::Unclear };
        // A method that turns the connection into something else.
        if method == "CONNECT" {
            return Self::Unclear;
        }
        let mut request = Request::of(path);
        let mut plain = method == "GET" && head.version == Some(1) && is_plain(path);
        for Header { name, value } in head.headers.iter() {
            let slot = match Name::of(name) {
                Name::Framing => return Self::Unclear,
                Name::Unwanted => {
                    plain = false;
                    continue;
                }
                Name::Connection => {
                    plain &= value.eq_ignore_ascii_case(b"keep-alive");
                    continue;
                }
                Name::Other => continue,
                Name::Authorization => &mut request.authorization,
                Name::IfNoneMatch => &mut request.if_none_match,
                Name::RequestId => &mut request.request_id,
                Name::Traceparent => &mut request.traceparent,
                Name::Tracestate => &mut request.tracestate,
                Name::ExpectedTimeout => &mut request.expected_timeout,
            };
            // What two lines of one name mean is up to the layers.
            plain &= slot.replace(value).is_none();
        }
        if plain { Self::Plain(request, length) } else { Self::Other(length) }
    }
}

/// Whether the path can be a key of the cache as it is.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    // The last three are for hyper to refuse.
    let plain = |byte: &u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'<' | b'>' | b'`')
    };
    bytes.starts_with(b"/")
        && bytes.iter().all(plain)
        && !bytes.windows(2).any(|pair| pair == b"//")
}

/// What a header has to do with the fast path.
enum Name {
    Authorization,
    IfNoneMatch,
    RequestId,
    Traceparent,
    Tracestate,
    ExpectedTimeout,
    Connection,
    /// There may be a body.
    Framing,
    /// The answer may depend on it.
    Unwanted,
    Other,
}

impl Name {
    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // By length first, since most headers are none of these.
        match name.len() {
            6 if is("expect") => Self::Unwanted,
            7 if is("upgrade") => Self::Unwanted,
            10 if is("connection") => Self::Connection,
            10 if is("tracestate") => Self::Tracestate,
            11 if is("traceparent") => Self::Traceparent,
            12 if is("x-request-id") => Self::RequestId,
            13 if is("authorization") => Self::Authorization,
            13 if is("if-none-match") => Self::IfNoneMatch,
            13 if is("cache-control") => Self::Unwanted,
            14 if is("content-length") => Self::Framing,
            17 if is("transfer-encoding") => Self::Framing,
            30 if is(EXPECTED_TIMEOUT.as_str()) => Self::ExpectedTimeout,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(bytes: &str) -> Option<&str> {
        match Front::of(bytes.as_bytes()) {
            Front::Plain(request, length) => {
                assert_eq!(length, bytes.len());
                Some(request.path)
            }
            _ => None,
        }
    }

    #[test]
    fn a_plain_get_is_told_with_what_its_answer_depends_on() {
        let bytes = b"GET /param/a HTTP/1.1\r\nHost: a\r\nAUTHORIZATION: Bearer t\r\n\
                      if-none-match: \"x\"\r\nX-Request-Id: 7\r\nconnection: Keep-Alive\r\n\r\nGET";
        let Front::Plain(request, length) = Front::of(bytes) else { panic!("it is plain") };
        assert_eq!(length, bytes.len() - "GET".len());
        assert_eq!(request.path, "/param/a");
        assert_eq!(request.authorization, Some(&b"Bearer t"[..]));
        assert_eq!(request.if_none_match, Some(&b"\"x\""[..]));
        assert_eq!(request.request_id, Some(&b"7"[..]));
    }

    #[test]
    fn what_could_be_answered_otherwise_is_not_plain() {
        assert_eq!(plain("GET /a HTTP/1.1\r\n\r\n"), Some("/a"));
        for other in [
            "HEAD /a HTTP/1.1\r\n\r\n",
            "get /a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.0\r\n\r\n",
            "GET /a?b HTTP/1.1\r\n\r\n",
            "GET /a%62 HTTP/1.1\r\n\r\n",
            "GET /a#b HTTP/1.1\r\n\r\n",
            "GET //a HTTP/1.1\r\n\r\n",
            "GET /<a HTTP/1.1\r\n\r\n",
            "GET /a> HTTP/1.1\r\n\r\n",
            "GET /`a HTTP/1.1\r\n\r\n",
            "GET /a//b HTTP/1.1\r\n\r\n",
            "GET http://host/a HTTP/1.1\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nconnection: close\r\n\r\n",
            "GET /a HTTP/1.1\r\nconnection: keep-alive, x\r\n\r\n",
            "GET /a HTTP/1.1\r\ncache-control: no-cache\r\n\r\n",
            "GET /a HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
            "GET /a HTTP/1.1\r\nupgrade: h2c\r\n\r\n",
            "GET /a HTTP/1.1\r\nauthorization: a\r\nauthorization: a\r\n\r\n",
            "GET /a HTTP/1.1\r\nif-none-match: a\r\nIf-None-Match: a\r\n\r\n",
            "GET /a HTTP/1.1\r\nx-request-id: a\r\nx-request-id: a\r\n\r\n",
        ] {
            assert_eq!(Front::of(other.as_bytes()), Front::Other(other.len()), "{other}");
        }
    }

    #[test]
    fn where_the_next_request_begins_is_not_guessed() {
        let many = format!("GET /a HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        for unclear in [
            "GET /a HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
            "GET /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc",
            "GET /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
            "GET /a HTTP/2.0\r\n\r\n",
            "GET /a HTTP/1.1\r\na b: c\r\n\r\n",
            "GET /a HTTP/1.1\r\ncontent-length : 3\r\n\r\n",
            "nonsense\r\n\r\n",
            &many,
        ] {
            assert_eq!(Front::of(unclear.as_bytes()), Front::Unclear, "{unclear}");
        }
        for incomplete in ["", "G", "GET /a HTTP/1.1\r\n", "GET /a HTTP/1.1\r\nhost: a\r\n"] {
            assert_eq!(Front::of(incomplete.as_bytes()), Front::Incomplete, "{incomplete}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_are_more_than_have_come(bytes in any::<Vec<u8>>()) {
            if let Front::Plain(_, length) | Front::Other(length) = Front::of(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
