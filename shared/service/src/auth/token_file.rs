//! The file of bearer tokens: its format, and the watch for its changes.

use std::{fmt, io, path::Path, str::FromStr, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use zeroize::Zeroizing;

use super::regular_file::read_regular_file;

/// Interval between two reads of a file. Reading a few hundred bytes costs less than any
/// notification. It also detects every kind of change: an overwrite, a rename, and a changed
/// symbolic link.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

const MAX_FILE_BYTES: u64 = 64 << 10;

/// Upper bound of the tokens in a file, because each request is compared with every token.
const MAX_TOKENS: usize = 64;

/// Minimum length of a token in bytes. A shorter token could be guessed.
const MIN_TOKEN_LENGTH: usize = 16;

const MAX_TOKEN_LENGTH: usize = 512;

/// A file of tokens that was read and is valid. Clones share the tokens.
#[derive(Clone)]
pub struct TokenFile {
    path: Arc<Path>,
    tokens: Tokens,
}

/// The tokens of a file, at least one.
pub(super) type Tokens = Arc<[Zeroizing<String>]>;

/// The reason for rejecting a file. It never contains the file's content.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("it cannot be read: {0}; name a file that this process can read")]
    Unreadable(#[from] io::Error),
    #[error("it is no regular file; name a file")]
    NotAFile,
    #[error("it has more than {MAX_FILE_BYTES} bytes; check that it is the right file")]
    TooLarge,
    #[error("it holds no token; write one a line, made with `openssl rand -hex 32`")]
    Empty,
    #[error("it holds more than {MAX_TOKENS} tokens; remove old ones")]
    TooMany,
    #[error(
        "line {0} is no token; write {MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} letters, digits and -._~+/ (with = at the end), and nothing else"
    )]
    InvalidToken(usize),
}

impl TokenFile {
    fn open(path: &Path) -> Result<Self, TokenFileError> {
        Ok(Self { path: path.into(), tokens: read(path)? })
    }

    /// Returns the result of `derive` for the current tokens and updates it on each change. If the
    /// new content is invalid, the old tokens stay, and one warning is logged.
    pub(super) fn watch<T: Send + Sync + 'static>(
        &self,
        derive: fn(&Tokens) -> T,
    ) -> watch::Receiver<T> {
        let Self { path, tokens: mut current } = self.clone();
        let (sender, receiver) = watch::channel(derive(&current));
        tokio::spawn(async move {
            let mut polls = interval(POLL_INTERVAL);
            polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut last_warning = String::new();
            while !sender.is_closed() {
                polls.tick().await;
                let reading = Arc::clone(&path);
                let Ok(found) = spawn_blocking(move || read(&reading)).await else { return };
                let file = path.display();
                match found {
                    Ok(tokens) => {
                        last_warning.clear();
                        if tokens != current {
                            tracing::info!(%file, tokens = tokens.len(), "the token file changed; its tokens are in use");
                            current = tokens;
                            sender.send_replace(derive(&current));
                        }
                    }
                    Err(reason) if last_warning != reason.to_string() => {
                        last_warning = reason.to_string();
                        tracing::warn!(%file, reason = last_warning, "the token file is invalid; the previous tokens stay in use");
                    }
                    Err(_) => (),
                }
            }
        });
        receiver
    }
}

impl FromStr for TokenFile {
    type Err = TokenFileError;

    fn from_str(path: &str) -> Result<Self, TokenFileError> {
        Self::open(Path::new(path))
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Tokens, TokenFileError> {
    let content = read_regular_file(path, MAX_FILE_BYTES)?.ok_or(TokenFileError::NotAFile)?;
    parse(&content)
}

/// Parses the tokens of a file, one per line. Blank lines and lines that begin with `#` are
/// skipped.
fn parse(content: &[u8]) -> Result<Tokens, TokenFileError> {
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(TokenFileError::TooLarge);
    }
    let mut tokens = Vec::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let token = token(line).ok_or(TokenFileError::InvalidToken(index + 1))?;
        tokens.push(Zeroizing::new(token.to_owned()));
    }
    match tokens.len() {
        0 => Err(TokenFileError::Empty),
        1..=MAX_TOKENS => Ok(tokens.into()),
        _ => Err(TokenFileError::TooMany),
    }
}

/// Parses a `b64token` (RFC 6750) of an acceptable length.
fn token(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let body = text.trim_end_matches('=');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    let valid = (MIN_TOKEN_LENGTH..=MAX_TOKEN_LENGTH).contains(&text.len())
        && !body.is_empty()
        && body.bytes().all(allowed);
    valid.then_some(text)
}

/// Counts the tokens of a file with this content. Only fuzzing uses it.
#[doc(hidden)]
pub fn count_tokens(content: &[u8]) -> Option<usize> {
    parse(content).ok().map(|tokens| tokens.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use axum::http::HeaderValue;

    use super::*;

    const OLD: &str = "the-old-token-0123456789";
    const NEW: &str = "the+new/token~9876543210==";

    fn tokens(content: &str) -> Vec<String> {
        let tokens = parse(content.as_bytes()).expect("usable");
        tokens.iter().map(|token| token.to_string()).collect()
    }

    #[test]
    fn a_file_may_hold_blank_lines_comments_and_the_line_ends_of_windows() {
        let content = format!("# clients\r\n\r\n  {OLD}\t\r\n   # the next one\n{NEW}");
        assert_eq!(tokens(&content), [OLD, NEW]);
    }

    #[test]
    fn a_file_that_holds_anything_else_is_unusable_and_its_content_is_not_reported() {
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
            assert!(
                matches!(error, TokenFileError::InvalidToken(at) if at == line),
                "{content}: {error}"
            );
            assert!(!error.to_string().contains(&content), "{error}");
        }
        assert!(matches!(parse(b"\n# nothing\n"), Err(TokenFileError::Empty)));
        assert!(matches!(parse(&[0xff; 20]), Err(TokenFileError::InvalidToken(1))));
        assert!(matches!(parse(&vec![b'\n'; 65537]), Err(TokenFileError::TooLarge)));
        assert!(matches!(
            parse(format!("{OLD}\n").repeat(65).as_bytes()),
            Err(TokenFileError::TooMany)
        ));
    }

    #[test]
    fn debug_output_contains_no_token() {
        let tokens: Tokens = parse(OLD.as_bytes()).expect("usable");
        let file = TokenFile { path: Path::new("/run/tokens").into(), tokens };
        assert_eq!(format!("{file:?}"), r#"TokenFile { path: "/run/tokens", .. }"#);
    }

    proptest! {
        #[test]
        fn an_accepted_token_is_a_line_of_the_file_and_a_header_value(
            content in "([ \t]*(#.{0,9}|[-a-zA-Z0-9._~+/]{0,40}={0,3}|\\PC{0,20})[ \t\r]*\n){0,8}"
        ) {
            if let Ok(tokens) = parse(content.as_bytes()) {
                let lines: Vec<_> = content.split('\n').map(|line| line.trim_ascii()).collect();
                for token in tokens.iter() {
                    prop_assert!(lines.contains(&token.as_str()));
                    prop_assert!(HeaderValue::from_str(token).is_ok());
                }
                let token_lines = lines.iter().filter(|line| !line.is_empty() && !line.starts_with('#'));
                prop_assert_eq!(tokens.len(), token_lines.count());
            }
        }
    }
}
