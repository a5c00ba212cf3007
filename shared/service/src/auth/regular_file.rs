//! The read of a file that holds a secret.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use zeroize::Zeroizing;

/// Reads a file, but at most one byte more than `max_bytes`, by which the caller notices a file that
/// is too large. Returns `None` for anything but a regular file: opening a pipe would wait for its
/// other end. The content is wiped from memory when it is dropped.
///
/// # Errors
///
/// The file cannot be read.
pub fn read_regular_file(path: &Path, max_bytes: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut content = Zeroizing::new(Vec::new());
    fs::File::open(path)?.take(max_bytes + 1).read_to_end(&mut content)?;
    Ok(Some(content))
}
