//! Parsers of values. Each error says how to write the value.

use std::{fmt, net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use url::Url;

/// Upper bound of a duration. No setting needs more, and adding a much longer time to the clock
/// would overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Upper bound of a size. A larger one is a mistake.
const LARGEST: ByteSize = ByteSize::tib(1);

/// Parses a duration such as `500ms`, `5s` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("it must be at most a year".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write it as a number and a unit, like 500ms, 5s or 1h".to_owned()),
    }
}

/// Parses a duration that must be longer than zero, because it limits something.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0s, like 500ms, 5s or 1h".to_owned()),
        duration => Ok(duration),
    }
}

/// Parses a size such as `64MiB`.
pub fn size(text: &str) -> Result<ByteSize, String> {
    match text.parse() {
        Ok(size) if size > LARGEST => Err(format!("it must be at most {LARGEST}")),
        Ok(size) => Ok(size),
        Err(_) => Err("write it as a number and a unit, like 64MiB or 1GiB".to_owned()),
    }
}

/// Parses an IP address with a port.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write it as an IP address and a port, like 0.0.0.0:5000 or 127.0.0.1:5000".to_owned()
    })
}

/// Parses a whole number from `MIN` to `MAX`.
pub fn whole_number<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    text: &str,
) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("it must be a whole number from {MIN} to {MAX}"))
}

/// Parses an `http://` URL. Only the AWS SDK's client supports TLS. Inside a cluster, the service
/// mesh or the network policy protects the traffic.
pub fn plain_http(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.has_host());
    let Some(url) = url else {
        return Err("write it as http://HOST:PORT; https:// is not supported".to_owned());
    };
    let user = !url.username().is_empty() || url.password().is_some();
    if url.query().is_some() || url.fragment().is_some() || user {
        return Err("write it as http://HOST:PORT or http://HOST:PORT/PATH, without a user, a password or a query".to_owned());
    }
    Ok(url)
}

/// Checks that the named durations of a list increase: each must be shorter than the next.
pub fn ensure_increasing(timeouts: &[(&str, Duration)]) -> Result<(), String> {
    for pair in timeouts.windows(2) {
        let ((inner, shorter), (outer, longer)) = (pair[0], pair[1]);
        if shorter >= longer {
            return Err(format!(
                "{inner} ({}) must be shorter than {outer} ({}); lower the first, or raise the second",
                shown(shorter),
                shown(longer),
            ));
        }
    }
    Ok(())
}

/// Returns a duration as a configuration has it.
pub fn shown(duration: Duration) -> impl fmt::Display {
    humantime::format_duration(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_of_no_time_is_refused() {
        assert!(positive_duration("0s").is_err());
        assert!(positive_duration("5").is_err());
        assert!(positive_duration("1000000years").is_err());
        assert_eq!(positive_duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn a_whole_number_outside_its_range_is_refused_with_the_range() {
        assert_eq!(whole_number::<u32, 1, 10>("10"), Ok(10));
        for text in ["0", "11", "-1", "1.5", "many", ""] {
            let reason = whole_number::<u32, 1, 10>(text).expect_err(text);
            assert_eq!(reason, "it must be a whole number from 1 to 10");
        }
    }

    #[test]
    fn a_timeout_must_be_shorter_than_the_one_around_it() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(ensure_increasing(&[("--a", second), ("--b", minute)]).is_ok());
        let refused = ensure_increasing(&[("--a", second), ("--b", second)]).expect_err("equal");
        assert!(refused.contains("--a (1s)") && refused.contains("--b (1s)"), "{refused}");
    }
}
