//! The `Prefer` header: the time for which a client waits for a change (RFC 7240).

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::list::{Quoting, members};

static PREFER: HeaderName = HeaderName::from_static("prefer");

/// Returns the preference `wait` of a request (RFC 7240, 4.3). The first of several counts. A value
/// that is no number of seconds is ignored, as RFC 7240 demands of unknown preferences.
pub fn preferred_wait(request: &HeaderMap) -> Option<Duration> {
    let mut waits = members(request, &PREFER, Quoting::Escapes).filter_map(|member| {
        let preference = member.split(|&byte| byte == b';').next().unwrap_or_default();
        let equals = preference.iter().position(|&byte| byte == b'=')?;
        let (name, value) = preference.split_at(equals);
        name.trim_ascii().eq_ignore_ascii_case(b"wait").then(|| value[1..].trim_ascii())
    });
    let value = waits.next()?;
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let digits = unquoted.unwrap_or(value);
    let seconds = std::str::from_utf8(digits).ok()?.parse().ok()?;
    digits[0].is_ascii_digit().then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn wait(lines: &[&'static str]) -> Option<u64> {
        let lines = lines.iter().map(|line| (PREFER.clone(), HeaderValue::from_static(line)));
        preferred_wait(&lines.collect()).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_first_wait_among_all_preferences_counts() {
        for (lines, seconds) in [
            (&["wait=10"][..], 10),
            (&["respond-async, wait=10"], 10),
            (&["return=minimal; foo=\"wait=1, wait=2\"", "Wait = 5 ; x=y, wait=6"], 5),
            (&["wait=\"7\""], 7),
            (&["wait=0"], 0),
        ] {
            assert_eq!(wait(lines), Some(seconds), "{lines:?}");
        }
    }

    #[test]
    fn a_value_that_is_no_number_of_seconds_is_ignored() {
        for line in [
            "",
            "wait",
            "wait=",
            "wait=\"\"",
            "wait=-1",
            "wait=+1",
            "wait=1.5",
            "wait=x",
            "await=1",
        ] {
            assert_eq!(wait(&[line]), None, "{line:?}");
        }
        assert_eq!(wait(&["wait=99999999999999999999999"]), None);
    }

    proptest! {
        #[test]
        fn a_header_of_any_bytes_hides_no_earlier_wait(
            line in proptest::collection::vec(any::<u8>(), 0..80),
            seconds: u64,
        ) {
            let Ok(line) = HeaderValue::from_bytes(&line) else { return Ok(()) };
            let mut headers = HeaderMap::from_iter([(PREFER.clone(), line.clone())]);
            let _ = preferred_wait(&headers);
            let first = HeaderValue::try_from(format!("wait={seconds}")).expect("ASCII");
            headers.insert(&PREFER, first);
            headers.append(&PREFER, line);
            prop_assert_eq!(preferred_wait(&headers), Some(Duration::from_secs(seconds)));
        }
    }
}
