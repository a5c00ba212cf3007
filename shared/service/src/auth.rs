//! Bearer tokens (RFC 6750): those that clients must send, and the one that this service sends to
//! another service.
//!
//! Tokens live in files, one per line, as Kubernetes mounts a Secret. A file is read when the
//! configuration is parsed, so a broken file prevents the start. The service then watches the file,
//! so tokens can be rotated without a restart: add the new token beside the old one, distribute it,
//! remove the old one.

mod bearer;
mod token_file;
mod regular_file;

pub use bearer::{TokenSource, TokenVerifier};
pub use regular_file::read_regular_file;
#[doc(hidden)]
pub use token_file::count_tokens;
pub use token_file::{TokenFile, TokenFileError};
