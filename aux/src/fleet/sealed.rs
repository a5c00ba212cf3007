//! The authentication of records: whoever can write to the engine could otherwise change responses.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::config::SecretFile;

/// Computes and checks the authentication codes of records (HMAC with SHA-256, RFC 2104). Without a
/// key file, every record is accepted.
#[derive(Clone)]
pub(super) struct Seal(Option<Arc<Hmac<Sha256>>>);

/// The parts of a record that its code covers. The remaining time is not among them, because it
/// changes.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) key: &'a str,
    /// The lifetime, the time for background refreshes, the total time and the time of the load.
    pub(super) times: [u64; 4],
    pub(super) body: &'a [u8],
}

impl Seal {
    pub(super) fn new(key: Option<&SecretFile>) -> Self {
        let code = |file: &SecretFile| {
            Hmac::new_from_slice(file.content()).expect("HMAC takes keys of any length")
        };
        Self(key.map(code).map(Arc::new))
    }

    /// Returns the code of a record, which is empty without a key.
    pub(super) fn code(&self, parts: Parts<'_>) -> Vec<u8> {
        let Some(keyed) = &self.0 else { return Vec::new() };
        absorb(keyed, parts).finalize().into_bytes().to_vec()
    }

    /// Whether a record has the code that this key gives it.
    pub(super) fn verify(&self, parts: Parts<'_>, code: &[u8]) -> bool {
        let Some(keyed) = &self.0 else { return true };
        absorb(keyed, parts).verify_slice(code).is_ok()
    }
}

/// Feeds the parts to a copy of the keyed hash. The lengths keep the parts apart.
fn absorb(keyed: &Hmac<Sha256>, parts: Parts<'_>) -> Hmac<Sha256> {
    let mut code = keyed.clone();
    code.update(&(parts.key.len() as u64).to_be_bytes());
    code.update(parts.key.as_bytes());
    parts.times.iter().for_each(|time| code.update(&time.to_be_bytes()));
    code.update(parts.body);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &[u8]) -> Seal {
        Seal(Some(Arc::new(Hmac::new_from_slice(key).expect("a key"))))
    }

    #[test]
    fn a_code_is_valid_for_its_record_and_key_alone() {
        let parts = Parts { key: "/param/a", times: [1, 2, 3, 0], body: b"value" };
        let ours = seal(b"0123456789abcdef0123456789abcdef");
        let code = ours.code(parts);
        assert!(ours.verify(parts, &code));
        for changed in [
            Parts { key: "/param/b", ..parts },
            Parts { times: [1, 2, 4, 0], ..parts },
            Parts { body: b"other", ..parts },
            Parts { key: "/param/av", body: b"alue", ..parts },
        ] {
            assert!(!ours.verify(changed, &code));
        }
        assert!(!seal(b"another key of thirty-two bytes.").verify(parts, &code));
        assert!(!ours.verify(parts, b""));
    }

    #[test]
    fn without_a_key_every_record_is_accepted() {
        let parts = Parts { key: "/param/a", times: [1, 2, 3, 0], body: b"value" };
        assert!(Seal(None).code(parts).is_empty());
        assert!(Seal(None).verify(parts, b"any"));
    }
}
