//! The flags that every service has, and how a configuration is read and refused.

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use url::Url;

use crate::auth::TokenFile;

/// A configuration that can tell what is wrong with it as a whole.
pub trait Checked: Parser {
    /// What no single flag can check. The error is one sentence that names the flags.
    fn check(&self) -> Result<(), String>;
}

/// Reads flags and variables. Ends the process with status 2 and one sentence if a value is
/// missing, makes no sense, or contradicts another.
pub fn load<C: Checked>() -> C {
    let config = C::parse();
    if let Err(reason) = config.check() {
        C::command().error(ErrorKind::ValueValidation, reason).exit();
    }
    config
}

/// Ends the process with status 2 because a value, though well-formed, cannot be used:
/// a file that is missing or broken, for example.
pub fn refuse<C: CommandFactory>(reason: impl std::fmt::Display) -> ! {
    C::command().error(ErrorKind::ValueValidation, reason).exit()
}

#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Address of a listener of its own for probes and /metrics [default: they are on the public one]
    #[arg(long, env = "ADMIN_ADDR", value_name = "ADDR")]
    pub admin_addr: Option<SocketAddr>,

    /// File of the bearer tokens that callers must show, one a line, re-read when it changes [default: anybody may call]
    #[arg(long, env = "AUTH_TOKEN_FILE", value_name = "FILE")]
    pub auth_token_file: Option<TokenFile>,

    /// Whether answers are remembered
    #[arg(long, env = "CACHE", value_name = "MODE", default_value = "on")]
    pub cache: Switch,

    /// Memory that remembered answers may take, keys and headers included
    #[arg(long, env = "CACHE_MAX_BYTES", value_name = "SIZE", default_value = "64MiB")]
    pub cache_max_bytes: ByteSize,

    /// Requests beyond this many at once are refused with 503 instead of queued; 1024 more connections may be open
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "N", default_value_t = 1024, value_parser = at_least_one)]
    pub max_in_flight: usize,

    /// The first response after this age of its connection closes it, so that clients spread over new replicas; shortened by up to a fifth at random; 0s means never
    #[arg(long, env = "MAX_CONNECTION_AGE", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub max_connection_age: Duration,

    /// After SIGTERM: how long to keep serving while load balancers take notice
    #[arg(long, env = "SHUTDOWN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub shutdown_delay: Duration,

    /// After that: how long open requests may take to finish
    #[arg(long, env = "SHUTDOWN_GRACE", value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub shutdown_grace: Duration,

    /// Where traces go: an OpenTelemetry collector that takes OTLP over plain HTTP [default: nowhere]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = plain_http)]
    pub otel_exporter_otlp_endpoint: Option<Url>,

    /// How log lines look [default: json, or pretty on a terminal]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Which requests get a log line: 5xx and those slower than a second, all, or none
    #[arg(long, env = "ACCESS_LOG", value_name = "WHICH", default_value = "errors")]
    pub access_log: AccessLog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Json,
    Pretty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    Errors,
    All,
    Off,
}

impl Common {
    /// Whether clients are known by their tokens. Only then may they demand a revalidation: from an
    /// open service anybody could use up the quota of AWS that way.
    pub fn trusts_clients(&self) -> bool {
        self.auth_token_file.is_some()
    }

    /// The part of [`Checked::check`] that every service has.
    pub fn check(&self, listen_addr: SocketAddr) -> Result<(), String> {
        if let Some(admin_addr) = self.admin_addr
            && overlap(admin_addr, listen_addr)
        {
            return Err(format!(
                "--admin-addr ({admin_addr}) and --listen-addr ({listen_addr}) want the same port; give each its own, or leave --admin-addr out"
            ));
        }
        if self.cache_max_bytes > LARGEST_CACHE {
            return Err(format!(
                "--cache-max-bytes is {}; no machine has that, give it at most {LARGEST_CACHE}",
                self.cache_max_bytes
            ));
        }
        if self.cache == Switch::On && self.cache_max_bytes < SMALLEST_CACHE {
            return Err(format!(
                "--cache-max-bytes is {}, too small to hold one answer; give it at least {SMALLEST_CACHE}, or say --cache off",
                self.cache_max_bytes
            ));
        }
        Ok(())
    }
}

/// Less could not hold one list of a thousand names, and every answer would be a miss.
const SMALLEST_CACHE: ByteSize = ByteSize::mib(1);

/// No client of ours but the AWS SDK has TLS: inside a cluster that is the mesh's work, or the
/// network policy's.
pub fn plain_http(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write it as http://host:port"))?;
    if url.scheme() != "http" || !url.has_host() {
        return Err("only http:// URLs are spoken to".to_owned());
    }
    let user = !url.username().is_empty() || url.password().is_some();
    if url.query().is_some() || url.fragment().is_some() || user {
        return Err("it must be no more than a scheme, a host, a port and a path".to_owned());
    }
    Ok(url)
}

const LARGEST_CACHE: ByteSize = ByteSize::tib(1);

/// Whether two addresses cannot be listened on at once.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (everywhere || a.ip() == b.ip())
}

/// Nothing here takes longer, and the clock could not be added to much more.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A duration, as people write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("it must not be longer than a year".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it as 500ms, 5s or 1h")),
    }
}

/// A duration that bounds something, and so cannot be nothing.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0s".to_owned()),
        duration => Ok(duration),
    }
}

/// Checks that a list of named durations grows: each must be shorter than the next.
pub fn ascending(timeouts: &[(&str, Duration)]) -> Result<(), String> {
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
        assert!(ascending(&[("--a", second), ("--b", minute)]).is_ok());
        let refused = ascending(&[("--a", second), ("--b", second)]).expect_err("equal");
        assert!(refused.contains("--a (1s)") && refused.contains("--b (1s)"), "{refused}");
    }
}
