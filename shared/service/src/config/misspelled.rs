//! Names that are nearly the name of a setting.

/// The shortest name in which one slip is looked for. Shorter names have too many neighbours that
/// mean something else: a variable `CACHED` may belong to another program.
const MIN_LENGTH: usize = 7;

/// The shortest name in which a replaced character is looked for.
const MIN_LENGTH_REPLACED: usize = 8;

/// Returns the names that are one slip away from a known one, each with the known one.
pub(super) fn misspelled(
    known: &[String],
    names: impl IntoIterator<Item = String>,
) -> Vec<(String, &str)> {
    let meant = |name: &str| known.iter().find(|known| is_slip(name, known)).map(String::as_str);
    names
        .into_iter()
        .filter(|name| !known.contains(name))
        .filter_map(|name| meant(&name).map(|meant| (name, meant)))
        .collect()
}

/// Returns whether two names differ by one slip: a character that is missing, added, replaced, or
/// exchanged with the next one; or only by upper case and dashes.
fn is_slip(name: &str, known: &str) -> bool {
    let (a, b) = (name.as_bytes(), known.as_bytes());
    if normalised(a).eq(normalised(b)) {
        return true;
    }
    let length = a.len().max(b.len());
    if length < MIN_LENGTH {
        return false;
    }
    let begin = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[begin..], &b[begin..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    match (&a[..a.len() - end], &b[..b.len() - end]) {
        ([_], []) | ([], [_]) => true,
        ([_], [_]) => length >= MIN_LENGTH_REPLACED,
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => false,
    }
}

fn normalised(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(name: &str) -> Option<String> {
        let known = ["CACHE", "CACHE_TTL", "REQUEST_TIMEOUT", "AUX_URL", "BACKEND", "WARM_UP"];
        let known = known.map(str::to_owned);
        misspelled(&known, [name.to_owned()]).pop().map(|(_, meant)| meant.to_owned())
    }

    #[test]
    fn a_name_with_one_slip_is_found() {
        for name in ["CACHE_TLL", "CACHE_TT", "CACHE_TTTL", "CACH_ETTL", "CACHETTL", "cache_ttl"] {
            assert_eq!(meant(name).as_deref(), Some("CACHE_TTL"), "{name}");
        }
        for name in ["REQUEST_TIMEOUTS", "REQUEST-TIMEOUT", "REQUSET_TIMEOUT"] {
            assert_eq!(meant(name).as_deref(), Some("REQUEST_TIMEOUT"), "{name}");
        }
        for (name, expected) in [
            ("AUX_ULR", "AUX_URL"),
            ("aux_url", "AUX_URL"),
            ("BAKCEND", "BACKEND"),
            ("WARMUP", "WARM_UP"),
            ("cache", "CACHE"),
        ] {
            assert_eq!(meant(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "CACHE",
            "CACHE_TTL",
            "REQUEST_TIMEOUT",
            "CACHED",
            "APP_URL",
            "AUX_URI",
            "AUX_SERVICE_PORT",
            "CACHE_DIR",
            "CACHE_TTL_JITTER",
            "REQUEST_TIMEOUT_MS",
            "PATH",
            "",
        ] {
            assert_eq!(meant(name), None, "{name}");
        }
    }
}
