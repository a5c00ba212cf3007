//! Which answers are plain enough to be read without an HTTP client.
//!
//! The parser is the one that hyper uses. What it does not take is no HTTP; what it takes and may
//! mean more than a head and a body of a known length is told apart, and left to reqwest.

use std::mem::MaybeUninit;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use httparse::{Error, Header, ParserConfig, Response, Status};
use shared::http_cache::NO_STORE;

/// An answer with more headers than this is not plain.
const MOST_HEADERS: usize = 64;

/// What has come at the front of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Incomplete,
    /// A plain head of so many bytes.
    Plain(Plain, usize),
    /// HTTP, but where it ends is for others to say.
    Unclear,
    NoHttp,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) status: StatusCode,
    /// Those that mean something to us.
    pub(crate) headers: HeaderMap,
    /// The length of the body.
    pub(crate) body: usize,
    /// The connection carries no other answer.
    pub(crate) last: bool,
}

impl Plain {
    /// Whether nobody may keep it, as aux-service says of secrets.
    pub(crate) fn is_secret(&self) -> bool {
        self.headers.get_all(header::CACHE_CONTROL).iter().any(|told| *told == NO_STORE)
    }
}

/// As many as nearly all answers have of the headers that we read.
const HEADERS: usize = 6;

impl Head {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut space = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut head = Response::new(&mut []);
        let parsed = ParserConfig::default()
            .parse_response_with_uninit_headers(&mut head, bytes, &mut space);
        let length = match parsed {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Self::Incomplete,
            Err(Error::TooManyHeaders) => return Self::Unclear,
            Err(_) => return Self::NoHttp,
        };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let (Some(status), Some(1)) = (status, head.version) else { return Self::Unclear };
        let mut headers = HeaderMap::with_capacity(HEADERS);
        let (mut body, mut last) = (None, false);
        for Header { name, value } in head.headers.iter() {
            match Name::of(name) {
                Name::Meant(name) => match HeaderValue::from_bytes(value) {
                    Ok(value) => drop(headers.append(name, value)),
                    Err(_) => return Self::NoHttp,
                },
                Name::Length => match (body, digits(value)) {
                    (None, Some(length)) => body = Some(length),
                    // Two lengths, or none: a way to smuggle one answer into another.
                    _ => return Self::Unclear,
                },
                Name::Coding => return Self::Unclear,
                Name::Connection => last |= !value.eq_ignore_ascii_case(b"keep-alive"),
                Name::Other => {}
            }
        }
        let body = match (status, body) {
            // Others follow it, on what may be no HTTP any more.
            (status, _) if status.is_informational() => return Self::Unclear,
            // Whatever length they tell is not theirs (RFC 9110, 8.6).
            (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED, _) => 0,
            (_, Some(length)) => length,
            (_, None) => return Self::Unclear,
        };
        Self::Plain(Plain { status, headers, body, last }, length)
    }
}

/// `usize::MAX` for whatever is longer.
fn digits(value: &[u8]) -> Option<usize> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = str::from_utf8(value).ok()?;
    Some(text.parse().unwrap_or(usize::MAX))
}

/// What a header has to do with us.
enum Name {
    Meant(HeaderName),
    Length,
    Coding,
    Connection,
    Other,
}

impl Name {
    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // By length first, since there are many others.
        match name.len() {
            3 if is("age") => Self::Meant(header::AGE),
            4 if is("etag") => Self::Meant(header::ETAG),
            10 if is("connection") => Self::Connection,
            11 if is("retry-after") => Self::Meant(header::RETRY_AFTER),
            12 if is("content-type") => Self::Meant(header::CONTENT_TYPE),
            12 if is("cache-status") => Self::Meant(header::CACHE_STATUS),
            13 if is("cache-control") => Self::Meant(header::CACHE_CONTROL),
            14 if is("content-length") => Self::Length,
            17 if is("transfer-encoding") => Self::Coding,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(bytes: &str) -> Plain {
        match Head::of(bytes.as_bytes()) {
            Head::Plain(plain, length) => {
                assert_eq!(length, bytes.find("\r\n\r\n").expect("a whole head") + 4);
                plain
            }
            other => panic!("{other:?}: {bytes}"),
        }
    }

    #[test]
    fn a_plain_answer_is_told_with_what_it_means_to_us() {
        let head = plain(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 7\r\n\
             ETag: \"a\"\r\nage: 3\r\nx-other: b\r\nCache-Control: max-age=1\r\n\
             cache-control: s-maxage=2\r\ncache-status: aux-service; hit\r\nretry-after: 1\r\n\
             Connection: Keep-Alive\r\n\r\n{} and more",
        );
        assert_eq!((head.status, head.body, head.last), (StatusCode::OK, 7, false));
        assert_eq!(head.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(head.headers[header::ETAG], "\"a\"");
        assert_eq!(head.headers.get_all(header::CACHE_CONTROL).iter().count(), 2);
        assert_eq!(head.headers.len(), 7, "and none that means nothing: {:?}", head.headers);
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        for status in ["204 No Content", "304 Not Modified"] {
            assert_eq!(plain(&format!("HTTP/1.1 {status}\r\n\r\n")).body, 0);
            assert_eq!(plain(&format!("HTTP/1.1 {status}\r\ncontent-length: 9\r\n\r\n")).body, 0);
        }
    }

    #[test]
    fn an_answer_may_be_the_last_one() {
        for (line, last) in [
            ("connection: close", true),
            ("Connection: Close", true),
            ("connection: keep-alive, close", true),
            ("connection: x", true),
            ("connection: keep-alive", false),
        ] {
            let head = format!("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n{line}\r\n\r\n");
            assert_eq!(plain(&head).last, last, "{line}");
        }
    }

    #[test]
    fn where_an_answer_ends_is_not_guessed() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        for unclear in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n",
            &many,
        ] {
            assert_eq!(Head::of(unclear.as_bytes()), Head::Unclear, "{unclear}");
        }
        for incomplete in ["", "HTTP", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\na: b\r\n"] {
            assert_eq!(Head::of(incomplete.as_bytes()), Head::Incomplete, "{incomplete}");
        }
        for nonsense in
            ["GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}", "HTTP/1.1 200 OK\r\na b: c\r\n\r\n"]
        {
            assert_eq!(Head::of(nonsense.as_bytes()), Head::NoHttp, "{nonsense}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", "9".repeat(40));
        assert_eq!(plain(&endless).body, usize::MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_are_more_than_have_come(
            bytes in any::<Vec<u8>>(),
            lines in "([a-zA-Z-]{1,17}: ?[ -~]{0,12}\r\n){0,6}",
        ) {
            let likely = [b"HTTP/1.1 200 OK\r\n", lines.as_bytes(), b"\r\n", &bytes].concat();
            for bytes in [bytes, likely] {
                if let Head::Plain(_, length) = Head::of(&bytes) {
                    prop_assert!(length <= bytes.len());
                }
            }
        }
    }
}
