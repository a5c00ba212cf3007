//! Tokens on the wire: the verification of a client's token, and the source of the token for another
//! service. A token is a bearer token (RFC 6750), or the session token of AWS's protocol.

use std::fmt;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::token_file::TokenFile;
use crate::contract::{problem::Problem, ssm::SECURITY_TOKEN};

/// The tokens that clients may send. Clones share the tokens.
#[derive(Clone)]
pub struct TokenVerifier(watch::Receiver<Box<[Fingerprint]>>);

/// The SHA-256 of a token. All fingerprints have one length, so a comparison reveals nothing about
/// a token's length. They do not resemble the tokens, so the duration of a comparison reveals
/// nothing about a token.
type Fingerprint = [u8; 32];

/// The reason for rejecting a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InvalidBearer {
    Missing,
    Wrong,
}

impl TokenVerifier {
    /// Accepts the tokens of a file and watches it for changes.
    pub fn watch(file: &TokenFile) -> Self {
        Self(file.watch(|tokens| tokens.iter().map(|t| fingerprint(t.as_bytes())).collect()))
    }

    /// Checks the token of a request. Returns the response to send if the token is missing or
    /// wrong.
    // The response is large, but it is built only for rejected requests.
    #[allow(clippy::result_large_err)]
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Response> {
        self.verify(headers).map_err(InvalidBearer::into_response)
    }

    /// Checks the session token of a request in AWS's protocol, like [`check`](Self::check).
    #[allow(clippy::result_large_err)]
    pub fn check_session_token(&self, headers: &HeaderMap) -> Result<(), Response> {
        // The error in AWS's form has no challenge.
        self.verify_session_token(headers).map_err(|_| Problem::wrong_token().into_response())
    }

    fn verify(&self, headers: &HeaderMap) -> Result<(), InvalidBearer> {
        let value = only_value(headers, &header::AUTHORIZATION)?;
        self.verify_token(bearer(value).ok_or(InvalidBearer::Missing)?)
    }

    fn verify_session_token(&self, headers: &HeaderMap) -> Result<(), InvalidBearer> {
        self.verify_token(only_value(headers, &SECURITY_TOKEN)?)
    }

    fn verify_token(&self, token: &[u8]) -> Result<(), InvalidBearer> {
        let received = fingerprint(token);
        // Every token is compared to its end, even after a match, so that the duration reveals
        // nothing.
        let accepted = self.0.borrow();
        let found =
            accepted.iter().fold(Choice::from(0), |found, one| found | one.ct_eq(&received));
        if found.into() { Ok(()) } else { Err(InvalidBearer::Wrong) }
    }
}

/// Returns the value of a header that occurs once.
fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], InvalidBearer> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        (None, _) => Err(InvalidBearer::Missing),
        // Another hop may use either of two values, so neither is accepted.
        (Some(_), Some(_)) => Err(InvalidBearer::Wrong),
    }
}

/// Returns the token of a `Bearer` value. The scheme's name is case-insensitive (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn fingerprint(token: &[u8]) -> Fingerprint {
    Sha256::digest(token).into()
}

impl IntoResponse for InvalidBearer {
    fn into_response(self) -> Response {
        let (challenge, problem) = match self {
            Self::Missing => (r#"Bearer realm="api""#, Problem::missing_token()),
            Self::Wrong => (r#"Bearer realm="api", error="invalid_token""#, Problem::wrong_token()),
        };
        ([(header::WWW_AUTHENTICATE, challenge)], problem).into_response()
    }
}

/// The token that this service sends to another service. Clones share the token.
#[derive(Clone)]
pub struct TokenSource(watch::Receiver<HeaderValue>);

impl TokenSource {
    /// Uses the first token of a file and watches it for changes.
    pub fn watch(file: &TokenFile) -> Self {
        Self(file.watch(|tokens| {
            let text = Zeroizing::new(format!("Bearer {}", tokens[0].as_str()));
            let mut value = HeaderValue::from_str(&text).expect("a token is plain ASCII");
            // `Debug` does not print a sensitive value, and HTTP/2's header compression does not
            // store it.
            value.set_sensitive(true);
            value
        }))
    }

    /// Returns the value of `Authorization`.
    pub fn header(&self) -> HeaderValue {
        self.0.borrow().clone()
    }

    /// Returns the value of `X-Amz-Security-Token`, for a call in AWS's protocol.
    pub fn session_token(&self) -> HeaderValue {
        let header = self.0.borrow();
        let token = bearer(header.as_bytes()).expect("the source writes the scheme");
        let mut value = HeaderValue::from_bytes(token).expect("a part of a header value");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenSource").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "the-old-token-0123456789";
    const NEW: &str = "the+new/token~9876543210==";

    fn verifier(tokens: &[&str]) -> TokenVerifier {
        let fingerprints = tokens.iter().map(|token| fingerprint(token.as_bytes())).collect();
        TokenVerifier(watch::channel(fingerprints).1)
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| HeaderValue::from_str(text).expect("a header value");
        values.iter().map(|text| (header::AUTHORIZATION, value(text))).collect()
    }

    #[test]
    fn every_token_of_the_file_is_accepted() {
        let verifier = verifier(&[OLD, NEW]);
        for token in [OLD, NEW] {
            for scheme in ["Bearer ", "bearer ", "BEARER  "] {
                let sent = headers(&[&format!("{scheme}{token}")]);
                assert_eq!(verifier.verify(&sent), Ok(()), "{sent:?}");
            }
        }
    }

    #[test]
    fn other_values_are_rejected() {
        let verifier = verifier(&[OLD, NEW]);
        let right = format!("Bearer {OLD}");
        for (sent, reason) in [
            (&[][..], InvalidBearer::Missing),
            (&[""], InvalidBearer::Missing),
            (&["Bearer"], InvalidBearer::Missing),
            (&["Basic dXNlcjpwYXNzd29yZA=="], InvalidBearer::Missing),
            (&[OLD], InvalidBearer::Missing),
            (&["Bearer "], InvalidBearer::Wrong),
            (&["Bearer the-old-token-012345678"], InvalidBearer::Wrong),
            (&["Bearer the-old-token-01234567890"], InvalidBearer::Wrong),
            (&["Bearer The-old-token-0123456789"], InvalidBearer::Wrong),
            (&[&right, &right], InvalidBearer::Wrong),
        ] {
            assert_eq!(verifier.verify(&headers(sent)), Err(reason), "{sent:?}");
        }
    }

    #[test]
    fn a_session_token_is_the_token_itself_and_occurs_once() {
        let verifier = verifier(&[OLD, NEW]);
        let headers = |values: &[&str]| -> HeaderMap {
            let value = |text: &&str| HeaderValue::from_str(text).expect("a header value");
            values.iter().map(|text| (SECURITY_TOKEN, value(text))).collect()
        };
        assert_eq!(verifier.verify_session_token(&headers(&[NEW])), Ok(()));
        for (sent, reason) in [
            (&[][..], InvalidBearer::Missing),
            (&["Bearer the-old-token-0123456789"], InvalidBearer::Wrong),
            (&[""], InvalidBearer::Wrong),
            (&[OLD, OLD], InvalidBearer::Wrong),
        ] {
            assert_eq!(verifier.verify_session_token(&headers(sent)), Err(reason), "{sent:?}");
        }
        let mut bearer = HeaderMap::new();
        bearer.insert(
            header::AUTHORIZATION,
            HeaderValue::from_static("Bearer the-old-token-0123456789"),
        );
        assert_eq!(verifier.verify_session_token(&bearer), Err(InvalidBearer::Missing));
    }

    #[test]
    fn a_source_sends_its_token_in_the_form_of_either_protocol() {
        let value = HeaderValue::from_static("Bearer the-old-token-0123456789");
        let source = TokenSource(watch::channel(value.clone()).1);
        assert_eq!(source.header(), value);
        let token = source.session_token();
        assert_eq!(token, OLD);
        assert!(token.is_sensitive(), "`Debug` does not print it");
    }

    proptest! {
        #[test]
        fn a_changed_token_is_rejected(at in 0..OLD.len(), to in "[ -~]") {
            let mut sent = OLD.to_owned();
            sent.replace_range(at..=at, &to);
            let verified = verifier(&[OLD]).verify(&headers(&[&format!("Bearer {sent}")]));
            prop_assert_eq!(verified.is_ok(), sent == OLD);
        }
    }
}
