//! A parameter, as a backend returns it.

use std::fmt;

use zeroize::Zeroizing;

/// A parameter with its value.
#[derive(Clone)]
pub struct Parameter {
    pub name: String,
    /// The value, wiped from memory when dropped. For a SecureString that may not be decrypted,
    /// this is the ciphertext or empty.
    pub value: Zeroizing<String>,
    pub secure: bool,
}

/// Omits the value, because a value must never reach a log.
impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter")
            .field("name", &self.name)
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}
