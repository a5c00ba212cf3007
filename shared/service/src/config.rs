//! The flags that both services share, and the parsing and validation of a configuration.

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use url::Url;

use crate::{auth::TokenFile, observe::log::LogFormat};

/// A configuration that can check itself as a whole.
pub trait Validate: Parser {
    /// Checks the rules that no single flag can check. The error is one sentence that names the
    /// flags.
    fn check(&self) -> Result<(), String>;
}

/// Reads flags and environment variables. Ends the process with status 2 and one sentence if a
/// value is missing, invalid, or contradicts another.
pub fn load<C: Validate>() -> C {
    let config = C::parse();
    if let Err(reason) = config.check() {
        C::command().error(ErrorKind::ValueValidation, reason).exit();
    }
    config
}

/// Ends the process with status 2 because a well-formed value is unusable: for example, its file is
/// missing or broken.
pub fn exit_with_usage_error<C: CommandFactory>(reason: impl std::fmt::Display) -> ! {
    C::command().error(ErrorKind::ValueValidation, reason).exit()
}

// The flags of every service. A doc comment here would replace the description in `--help`.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Address of a separate listener for probes and /metrics [default: they are on the public one]
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDR")]
    pub admin_addr: Option<SocketAddr>,

    /// File of the bearer tokens that clients must send, one per line, re-read when it changes [default: no authentication]
    #[arg(long, env = "AUTH_TOKEN_FILE", value_name = "FILE")]
    pub auth_token_file: Option<TokenFile>,

    /// Whether responses are cached
    #[arg(long, env = "CACHE", value_name = "MODE", default_value = "on")]
    pub cache: Switch,

    /// Maximum memory of the cache, keys and headers included
    #[arg(long, env = "CACHE_MAX_BYTES", value_name = "SIZE", default_value = "64MiB")]
    pub cache_max_bytes: ByteSize,

    /// Maximum number of concurrent requests; more are rejected with 503 instead of queued, and 1024 more connections may be open
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "N", default_value_t = 1024, value_parser = at_least_one)]
    pub max_in_flight: usize,

    /// Maximum number of requests that wait for a change, open streams included; more are rejected with 503. They count as connections, but not as concurrent requests
    #[arg(long, env = "MAX_WAITING", value_name = "N", default_value_t = 4096, value_parser = at_least_one)]
    pub max_waiting: usize,

    /// Age after which the next response closes its connection, so that clients spread over new replicas; shortened at random by up to a fifth; 0s means never
    #[arg(long, env = "MAX_CONNECTION_AGE", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub max_connection_age: Duration,

    /// Time after SIGTERM during which requests are still served, so that load balancers can remove the replica
    #[arg(long, env = "SHUTDOWN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub shutdown_delay: Duration,

    /// Time after the shutdown delay that requests in progress may take to finish
    #[arg(long, env = "SHUTDOWN_GRACE", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub shutdown_grace: Duration,

    /// URL of an OpenTelemetry collector that receives traces as OTLP over plain HTTP [default: no traces]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = plain_http)]
    pub otel_exporter_otlp_endpoint: Option<Url>,

    /// Format of log lines [default: json, or pretty on a terminal]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Requests that are logged: errors (5xx and those slower than a second), all, or off (none)
    #[arg(long, env = "ACCESS_LOG", value_name = "WHICH", default_value = "errors")]
    pub access_log: AccessLog,
}

/// A setting that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// The requests that get a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    Errors,
    All,
    Off,
}

impl Common {
    /// Returns whether clients are authenticated by tokens. Only authenticated clients may demand a
    /// revalidation, because any client of a service without authentication could exhaust
    /// the AWS quota that way.
    pub fn trusts_clients(&self) -> bool {
        self.auth_token_file.is_some()
    }

    /// Returns the upper bound of the cache in bytes, 0 when the cache is off.
    pub fn cache_bytes(&self) -> u64 {
        if self.cache == Switch::On { self.cache_max_bytes.as_u64() } else { 0 }
    }

    /// Checks the shared flags, as part of [`Validate::check`].
    pub fn check(&self, listen_addr: SocketAddr) -> Result<(), String> {
        if let Some(admin_addr) = self.admin_addr
            && overlap(admin_addr, listen_addr)
        {
            return Err(format!(
                "--admin-addr ({admin_addr}) and --listen-addr ({listen_addr}) use the same port; give each its own, or leave --admin-addr out"
            ));
        }
        if self.cache_max_bytes > LARGEST_CACHE {
            return Err(format!(
                "--cache-max-bytes is {}, which is above the maximum of {LARGEST_CACHE}",
                self.cache_max_bytes
            ));
        }
        if self.cache == Switch::On && self.cache_max_bytes < SMALLEST_CACHE {
            return Err(format!(
                "--cache-max-bytes is {}, which is below the minimum of {SMALLEST_CACHE}; raise it, or set --cache off",
                self.cache_max_bytes
            ));
        }
        Ok(())
    }
}

/// Minimum size of the cache. A smaller cache could not hold one list of a thousand names, and
/// every request would be a miss.
const SMALLEST_CACHE: ByteSize = ByteSize::mib(1);

/// Parses an `http://` URL. Only the AWS SDK's client supports TLS. Inside a cluster, the service
/// mesh or the network policy protects the traffic.
pub fn plain_http(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write it as http://host:port"))?;
    if url.scheme() != "http" || !url.has_host() {
        return Err("the scheme must be http".to_owned());
    }
    let user = !url.username().is_empty() || url.password().is_some();
    if url.query().is_some() || url.fragment().is_some() || user {
        return Err("it must be no more than a scheme, a host, a port and a path".to_owned());
    }
    Ok(url)
}

const LARGEST_CACHE: ByteSize = ByteSize::tib(1);

/// Returns whether two addresses cannot be bound at the same time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (everywhere || a.ip() == b.ip())
}

/// Upper bound of a duration. No setting needs more, and adding a much longer time to the clock
/// would overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Parses a duration such as `500ms`, `5s` or `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("it must not be longer than a year".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it as 500ms, 5s or 1h")),
    }
}

/// Parses a duration that must be longer than zero, because it limits something.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0s".to_owned()),
        duration => Ok(duration),
    }
}

/// Checks that the named durations of a list increase: each must be shorter than the next.
pub fn ensure_increasing(timeouts: &[(&str, Duration)]) -> Result<(), String> {
    for pair in timeouts.windows(2) {
        let ((inner, shorter), (outer, longer)) = (pair[0], pair[1]);
        if shorter >= longer {
            return Err(format!(
                "{inner} ({}) must be shorter than {outer} ({}), which surrounds it",
                humantime::format_duration(shorter),
                humantime::format_duration(longer),
            ));
        }
    }
    Ok(())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) if number > 10_000_000 => Err("it must be at most ten million".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
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
    fn a_timeout_must_be_shorter_than_the_one_around_it() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(ensure_increasing(&[("--a", second), ("--b", minute)]).is_ok());
        let refused = ensure_increasing(&[("--a", second), ("--b", second)]).expect_err("equal");
        assert!(refused.contains("--a (1s)") && refused.contains("--b (1s)"), "{refused}");
    }
}
