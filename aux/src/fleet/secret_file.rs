//! A file that holds one secret, such as a password or a key.

use std::{fmt, io, path::Path, str::FromStr, sync::Arc};

use service::auth::read_regular_file;
use zeroize::Zeroizing;

const MAX_BYTES: u64 = 64 << 10;

/// A file whose content was read. The content is never printed. Clones share it.
#[derive(Clone)]
pub struct SecretFile {
    path: Arc<Path>,
    content: Arc<Zeroizing<Vec<u8>>>,
}

/// The reason for rejecting a file. It never contains the file's content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("it cannot be read: {0}; name a file that this process can read")]
    Unreadable(#[from] io::Error),
    #[error("it is no regular file; name a file")]
    NotAFile,
    #[error("it is empty; write the secret into it")]
    Empty,
    #[error("it has more than {MAX_BYTES} bytes; check that it is the right file")]
    TooLarge,
    #[error("it is no UTF-8 text; write the password as text")]
    NotText,
    #[error("it holds no certificate; it must have a line `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    #[error("it has fewer than {0} bytes; make one with `openssl rand -hex 32`")]
    TooShort(usize),
}

impl SecretFile {
    /// Returns the content as it was at the start, without the line break at its end.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Reads the file again, because a secret may be replaced while the process runs.
    pub(super) fn read_again(&self) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
        read(&self.path)
    }
}

impl FromStr for SecretFile {
    type Err = SecretFileError;

    fn from_str(path: &str) -> Result<Self, SecretFileError> {
        let path = Path::new(path);
        Ok(Self { path: path.into(), content: Arc::new(read(path)?) })
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Parses the path of a key file. A shorter key could be guessed.
pub(super) fn key_file(path: &str) -> Result<SecretFile, SecretFileError> {
    const MIN_BYTES: usize = 32;
    let file: SecretFile = path.parse()?;
    match file.content().len() {
        MIN_BYTES.. => Ok(file),
        _ => Err(SecretFileError::TooShort(MIN_BYTES)),
    }
}

/// Parses the path of a password file.
pub(super) fn password_file(path: &str) -> Result<SecretFile, SecretFileError> {
    let file: SecretFile = path.parse()?;
    text(file.content())?;
    Ok(file)
}

/// Parses the path of a file of certificates. Their content is checked later.
pub(super) fn certificate_file(path: &str) -> Result<SecretFile, SecretFileError> {
    let file: SecretFile = path.parse()?;
    let begins = |line: &[u8]| line.trim_ascii() == b"-----BEGIN CERTIFICATE-----";
    match file.content().split(|byte| *byte == b'\n').any(begins) {
        true => Ok(file),
        false => Err(SecretFileError::NoCertificate),
    }
}

/// Returns a content as text.
pub(super) fn text(content: &[u8]) -> Result<Zeroizing<String>, SecretFileError> {
    let text = str::from_utf8(content).map_err(|_| SecretFileError::NotText)?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let mut content = read_regular_file(path, MAX_BYTES)?.ok_or(SecretFileError::NotAFile)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(SecretFileError::TooLarge);
    }
    while content.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        content.pop();
    }
    if content.is_empty() { Err(SecretFileError::Empty) } else { Ok(content) }
}
