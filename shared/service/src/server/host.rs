//! The `Host` header: a request without exactly one valid value gets 400 (RFC 9112, 3.2).
//!
//! hyper does not check it. Two proxies that read different values of one request could otherwise
//! disagree about its target.

use axum::{
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, Version, header},
    response::IntoResponse,
};
use tower_http::validate_request::ValidateRequest;

use crate::contract::problem::Problem;

/// Rejects requests whose `Host` is missing, repeated or invalid. HTTP/1.0 needs none.
#[derive(Clone, Copy)]
pub(crate) struct ValidHost;

impl<B> ValidateRequest<B> for ValidHost {
    type ResponseBody = Body;

    fn validate(&mut self, request: &mut Request<B>) -> Result<(), Response<Body>> {
        let mut values = request.headers().get_all(header::HOST).iter();
        let valid = match (values.next(), values.next()) {
            (None, _) => request.version() < Version::HTTP_11,
            (Some(value), None) => is_host(value),
            (Some(_), Some(_)) => false,
        };
        if valid { Ok(()) } else { Err(problem().into_response()) }
    }
}

/// Whether a value is a host with an optional port (RFC 3986, 3.2.2 and 3.2.3). The empty value is
/// valid: it belongs to a target without an authority. `http`'s own type would allocate memory for
/// every request.
fn is_host(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let end_of_host = match bytes {
        [b'[', ..] => bytes.iter().position(|&byte| byte == b']').map(|at| at + 1),
        _ => Some(bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len())),
    };
    let Some((host, port)) = end_of_host.map(|end| bytes.split_at(end)) else { return false };
    let valid_host = match host {
        [b'[', ..] => host.iter().all(|&byte| is_address_char(byte)),
        _ => host.iter().all(|&byte| is_host_char(byte)),
    };
    let valid_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    valid_host && valid_port
}

/// Whether a byte may occur in an address, with its brackets.
fn is_address_char(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'[' | b']')
}

/// Whether a byte may occur in a name. A pattern becomes a table, and a search in a list of bytes would
/// take a thirtieth of a cached response.
fn is_host_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'')
        || matches!(byte, b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b'%')
}

fn problem() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-request",
        "Bad Request",
        "A request needs exactly one valid Host header (RFC 9112, 3.2).",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(version: Version, hosts: &[&str]) -> bool {
        let mut request = Request::builder().version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        ValidHost.validate(&mut request.body(()).expect("a request")).is_ok()
    }

    #[test]
    fn a_request_needs_exactly_one_valid_host() {
        for host in ["", "a", "a.example:6000", "127.0.0.1:1", "[::1]:6000", "localhost"] {
            assert!(is_valid(Version::HTTP_11, &[host]), "{host}");
        }
        for hosts in [
            &[][..],
            &["a", "a"],
            &["a b"],
            &["a/b"],
            &["user@a"],
            &["a:x"],
            &["[::1"],
            &["[::1]x"],
        ] {
            assert!(!is_valid(Version::HTTP_11, hosts), "{hosts:?}");
        }
        assert!(is_valid(Version::HTTP_10, &[]), "HTTP/1.0 has no Host");
        assert!(!is_valid(Version::HTTP_10, &["a", "b"]));
    }
}
