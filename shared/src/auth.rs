//! Bearer tokens (RFC 6750): those that clients must send, and the one that this service sends to
//! another service.
//!
//! Tokens live in files, one per line, as Kubernetes mounts a Secret. A file is read when the
//! configuration is parsed, so a broken file prevents the start. The service then watches the file,
//! so tokens can be rotated without a restart: add the new token beside the old one, distribute it,
//! remove the old one.

use std::{
    fmt, fs,
    io::{self, Read},
    path::Path,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use zeroize::Zeroizing;

use crate::problem::Problem;

/// Interval between two reads of a file. Reading a few hundred bytes costs less than any
/// notification. It also detects every kind of change: an overwrite, a rename, and a changed
/// symbolic link.
const POLL: Duration = Duration::from_secs(2);

const LARGEST_FILE: u64 = 64 << 10;

/// Upper bound of the tokens in a file, because each request is compared with every token.
const MOST_TOKENS: usize = 64;

/// Minimum length of a token in bytes. A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

const LONGEST_TOKEN: usize = 512;

/// A file of tokens that was read and is valid. Clones share the tokens.
#[derive(Clone)]
pub struct TokenFile {
    path: Arc<Path>,
    tokens: Tokens,
}

type Tokens = Arc<[Zeroizing<String>]>;

/// The reason for rejecting a file. It never contains the file's content.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is no regular file")]
    NoFile,
    #[error("it has more than {LARGEST_FILE} bytes")]
    TooLarge,
    #[error("it holds no token; write one a line, such as `openssl rand -hex 32` makes")]
    Empty,
    #[error("it holds more than {MOST_TOKENS} tokens")]
    TooMany,
    #[error(
        "line {0} is no token: {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits and -._~+/ (with = at the end), and nothing else"
    )]
    NoToken(usize),
}

impl TokenFile {
    fn open(path: &Path) -> Result<Self, Unusable> {
        Ok(Self { path: path.into(), tokens: read(path)? })
    }

    /// Returns the result of `derive` for the current tokens and updates it on each change. If the
    /// new content is invalid, the old tokens stay, and one warning is logged.
    fn follow<T: Send + Sync + 'static>(&self, derive: fn(&Tokens) -> T) -> watch::Receiver<T> {
        let Self { path, tokens: mut current } = self.clone();
        let (sender, receiver) = watch::channel(derive(&current));
        tokio::spawn(async move {
            let mut polls = interval(POLL);
            polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut told = String::new();
            while !sender.is_closed() {
                polls.tick().await;
                let reading = Arc::clone(&path);
                let Ok(found) = spawn_blocking(move || read(&reading)).await else { return };
                let file = path.display();
                match found {
                    Ok(tokens) => {
                        told.clear();
                        if tokens != current {
                            tracing::info!(%file, tokens = tokens.len(), "took new tokens");
                            current = tokens;
                            sender.send_replace(derive(&current));
                        }
                    }
                    Err(reason) if told != reason.to_string() => {
                        told = reason.to_string();
                        tracing::warn!(%file, reason = told, "kept the old tokens, the new file is unusable");
                    }
                    Err(_) => (),
                }
            }
        });
        receiver
    }
}

impl FromStr for TokenFile {
    type Err = Unusable;

    fn from_str(path: &str) -> Result<Self, Unusable> {
        Self::open(Path::new(path))
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Tokens, Unusable> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(Unusable::NoFile);
    }
    let mut content = Zeroizing::new(Vec::new());
    fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut content)?;
    parse(&content)
}

/// Parses the tokens of a file, one per line. Blank lines and lines that begin with `#` are
/// skipped.
fn parse(content: &[u8]) -> Result<Tokens, Unusable> {
    if content.len() as u64 > LARGEST_FILE {
        return Err(Unusable::TooLarge);
    }
    let mut tokens = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let token = token(line).ok_or(Unusable::NoToken(index + 1))?;
        tokens.push(Zeroizing::new(token.to_owned()));
    }
    match tokens.len() {
        0 => Err(Unusable::Empty),
        1..=MOST_TOKENS => Ok(tokens.into()),
        _ => Err(Unusable::TooMany),
    }
}

/// Parses a `b64token` (RFC 6750) of an acceptable length.
fn token(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let body = text.trim_end_matches('=');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    let valid = (SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&text.len())
        && !body.is_empty()
        && body.bytes().all(allowed);
    valid.then_some(text)
}

/// The tokens that clients may send. Clones share the tokens.
#[derive(Clone)]
pub struct Accepted(watch::Receiver<Box<[Fingerprint]>>);

/// The SHA-256 of a token. All fingerprints have one length, so a comparison reveals nothing about
/// a token's length. They do not resemble the tokens, so the duration of a comparison reveals
/// nothing about a token.
type Fingerprint = [u8; 32];

/// The reason for rejecting a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NoToken,
    WrongToken,
}

impl Accepted {
    /// Accepts the tokens of a file and follows its changes.
    pub fn follow(file: &TokenFile) -> Self {
        Self(file.follow(|tokens| tokens.iter().map(|t| fingerprint(t.as_bytes())).collect()))
    }

    /// Checks the token of a request. Returns the response to send if the token is missing or
    /// wrong.
    // The response is large, but it is built only for rejected requests.
    #[allow(clippy::result_large_err)]
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Response> {
        self.find(headers).map_err(Refused::into_response)
    }

    fn find(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => self.accept(value.as_bytes()),
            (None, _) => Err(Refused::NoToken),
            // Another hop may use either of two values, so neither is accepted.
            (Some(_), Some(_)) => Err(Refused::WrongToken),
        }
    }

    /// Checks the single value of `Authorization`, as [`check`](Self::check) does for a request.
    pub(crate) fn accept(&self, authorization: &[u8]) -> Result<(), Refused> {
        let shown = fingerprint(bearer(authorization).ok_or(Refused::NoToken)?);
        // Every token is compared to its end, even after a match, so that the duration reveals
        // nothing.
        let accepted = self.0.borrow();
        let found = accepted.iter().fold(Choice::from(0), |found, one| found | one.ct_eq(&shown));
        if found.into() { Ok(()) } else { Err(Refused::WrongToken) }
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

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let challenge = match self {
            Self::NoToken => r#"Bearer realm="api""#,
            Self::WrongToken => r#"Bearer realm="api", error="invalid_token""#,
        };
        ([(header::WWW_AUTHENTICATE, challenge)], self.problem()).into_response()
    }
}

impl Refused {
    pub(crate) fn problem(&self) -> Problem {
        let detail = match self {
            Self::NoToken => {
                "This service wants a bearer token: send it as `Authorization: Bearer <token>`."
            }
            Self::WrongToken => {
                "This service does not accept this bearer token; ask its operator for a current one."
            }
        };
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Not authorised", detail)
    }
}

/// The token that this service sends to another service. Clones share the token.
#[derive(Clone)]
pub struct Token(watch::Receiver<HeaderValue>);

impl Token {
    /// Uses the first token of a file and follows its changes.
    pub fn follow(file: &TokenFile) -> Self {
        Self(file.follow(|tokens| {
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
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").finish_non_exhaustive()
    }
}

/// Counts the tokens of a file with this content. Only fuzzing uses it.
#[doc(hidden)]
pub fn count_tokens(content: &[u8]) -> Option<usize> {
    parse(content).ok().map(|tokens| tokens.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "the-old-token-0123456789";
    const NEW: &str = "the+new/token~9876543210==";

    fn tokens(content: &str) -> Vec<String> {
        let tokens = parse(content.as_bytes()).expect("usable");
        tokens.iter().map(|token| token.to_string()).collect()
    }

    fn accepted(tokens: &[&str]) -> Accepted {
        let prints = tokens.iter().map(|token| fingerprint(token.as_bytes())).collect();
        Accepted(watch::channel(prints).1)
    }

    fn showing(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| HeaderValue::from_str(text).expect("a header value");
        values.iter().map(|text| (header::AUTHORIZATION, value(text))).collect()
    }

    #[test]
    fn a_file_may_hold_blank_lines_comments_and_the_line_ends_of_windows() {
        let content = format!("# clients\r\n\r\n  {OLD}\t\r\n   # the next one\n{NEW}");
        assert_eq!(tokens(&content), [OLD, NEW]);
    }

    #[test]
    fn a_file_that_holds_anything_else_is_unusable_and_its_content_is_not_told() {
        for (content, line) in [
            (format!("{OLD} {NEW}"), 1),
            (format!("{OLD}\nshort"), 2),
            (format!("\n{OLD} # comment"), 2),
            ("=".repeat(16), 1),
            ("x".repeat(513), 1),
            ("caf\u{e9}-caf\u{e9}-caf\u{e9}-caf\u{e9}".to_owned(), 1),
            (format!("\"{OLD}\""), 1),
            (format!("Bearer {OLD}"), 1),
        ] {
            let error = parse(content.as_bytes()).expect_err("unusable");
            assert!(matches!(error, Unusable::NoToken(at) if at == line), "{content}: {error}");
            assert!(!error.to_string().contains(&content), "{error}");
        }
        assert!(matches!(parse(b"\n# nothing\n"), Err(Unusable::Empty)));
        assert!(matches!(parse(&[0xff; 20]), Err(Unusable::NoToken(1))));
        assert!(matches!(parse(&vec![b'\n'; 65537]), Err(Unusable::TooLarge)));
        assert!(matches!(parse(format!("{OLD}\n").repeat(65).as_bytes()), Err(Unusable::TooMany)));
    }

    #[test]
    fn any_token_of_the_file_opens_the_door() {
        let accepted = accepted(&[OLD, NEW]);
        for token in [OLD, NEW] {
            for scheme in ["Bearer ", "bearer ", "BEARER  "] {
                let headers = showing(&[&format!("{scheme}{token}")]);
                assert_eq!(accepted.find(&headers), Ok(()), "{headers:?}");
            }
        }
    }

    #[test]
    fn nothing_else_opens_the_door() {
        let accepted = accepted(&[OLD, NEW]);
        let right = format!("Bearer {OLD}");
        for (shown, refusal) in [
            (&[][..], Refused::NoToken),
            (&[""], Refused::NoToken),
            (&["Bearer"], Refused::NoToken),
            (&["Basic dXNlcjpwYXNzd29yZA=="], Refused::NoToken),
            (&[OLD], Refused::NoToken),
            (&["Bearer "], Refused::WrongToken),
            (&["Bearer the-old-token-012345678"], Refused::WrongToken),
            (&["Bearer the-old-token-01234567890"], Refused::WrongToken),
            (&["Bearer The-old-token-0123456789"], Refused::WrongToken),
            (&[&right, &right], Refused::WrongToken),
        ] {
            assert_eq!(accepted.find(&showing(shown)), Err(refusal), "{shown:?}");
        }
    }

    #[test]
    fn nothing_that_is_printed_shows_a_token() {
        let tokens: Tokens = parse(OLD.as_bytes()).expect("usable");
        let file = TokenFile { path: Path::new("/run/tokens").into(), tokens };
        assert_eq!(format!("{file:?}"), r#"TokenFile { path: "/run/tokens", .. }"#);
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_a_line_of_the_file_and_a_header_value(
            content in "([ \t]*(#.{0,9}|[-a-zA-Z0-9._~+/]{0,40}={0,3}|\\PC{0,20})[ \t\r]*\n){0,8}"
        ) {
            if let Ok(tokens) = parse(content.as_bytes()) {
                let lines: Vec<_> = content.split('\n').map(|line| line.trim_ascii()).collect();
                for token in tokens.iter() {
                    prop_assert!(lines.contains(&token.as_str()));
                    prop_assert!(HeaderValue::from_str(token).is_ok());
                    let header = format!("Bearer {}", token.as_str());
                    prop_assert_eq!(bearer(header.as_bytes()), Some(token.as_bytes()));
                }
                let kept = lines.iter().filter(|line| !line.is_empty() && !line.starts_with('#'));
                prop_assert_eq!(tokens.len(), kept.count());
            }
        }

        #[test]
        fn a_token_with_anything_changed_is_refused(at in 0..OLD.len(), to in "[ -~]") {
            let mut shown = OLD.to_owned();
            shown.replace_range(at..=at, &to);
            let found = accepted(&[OLD]).find(&showing(&[&format!("Bearer {shown}")]));
            prop_assert_eq!(found.is_ok(), shown == OLD);
        }
    }
}
