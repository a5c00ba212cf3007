//! The configuration of main-api, from flags and environment variables. It is parsed and validated
//! once, at the start.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use service::{
    auth::TokenFile,
    config::{
        Common, Validate, ensure_increasing, heading, plain_http, positive_duration, shown,
        socket_address, whole_number,
    },
};
use url::Url;

const ABOUT: &str = "The gateway in front of aux-service: it retries, and serves its own cache when aux-service fails";

const LONG_ABOUT: &str = "\
The gateway in front of aux-service: it retries failed calls, stops calling a
service that keeps failing, and serves its own cache meanwhile. Clients send
their requests here, not to aux-service.

With an aux-service on this machine:
  main-api --aux-url http://127.0.0.1:5000
  curl http://127.0.0.1:6000/param/challenge/kantox";

/// The settings of main-api.
#[derive(Clone, Debug, Parser)]
#[command(name = "main-api", version, about = ABOUT, long_about = LONG_ABOUT)]
pub struct Config {
    /// Address of the public API
    #[arg(long, env = "LISTEN_ADDR", value_name = "IP:PORT", default_value = "0.0.0.0:6000", value_parser = socket_address, help_heading = heading::ADDRESS)]
    pub listen_addr: SocketAddr,

    /// Version of this service that responses report
    #[arg(long, env = "MAIN_VERSION", value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"), help_heading = heading::ADDRESS)]
    pub main_version: String,

    /// URL of aux-service
    #[arg(long, env = "AUX_URL", value_name = "URL", default_value = "http://aux-service:5000", value_parser = plain_http, help_heading = heading::UPSTREAM)]
    pub aux_url: Url,

    /// File of bearer tokens, whose first token is sent to aux-service
    ///
    /// It is read again when it changes. Without it no token is sent.
    #[arg(long, env = "AUX_TOKEN_FILE", value_name = "FILE", help_heading = heading::UPSTREAM)]
    pub aux_token_file: Option<TokenFile>,

    /// Timeout of one attempt of a call to aux-service
    #[arg(long, env = "ATTEMPT_TIMEOUT", value_name = "DURATION", default_value = "4s", value_parser = positive_duration, help_heading = heading::UPSTREAM)]
    pub attempt_timeout: Duration,

    /// Attempts of one call to aux-service, the first included; 1 means no retry
    #[arg(long, env = "RETRY_MAX_ATTEMPTS", value_name = "ATTEMPTS", default_value_t = 3, value_parser = whole_number::<u32, 1, 10>, help_heading = heading::UPSTREAM)]
    pub retry_max_attempts: u32,

    /// Upper bound of the random pause before the first retry
    ///
    /// It doubles with each further retry.
    #[arg(long, env = "RETRY_BACKOFF", value_name = "DURATION", default_value = "50ms", value_parser = positive_duration, help_heading = heading::UPSTREAM)]
    pub retry_backoff: Duration,

    /// Share of all calls that may be retried
    ///
    /// Three retries a second are always allowed in addition.
    #[arg(long, env = "RETRY_BUDGET", value_name = "SHARE", default_value_t = 0.2, value_parser = share, help_heading = heading::UPSTREAM)]
    pub retry_budget: f64,

    /// Consecutive failures that open the circuit of a route
    #[arg(long, env = "BREAKER_CONSECUTIVE_FAILURES", value_name = "FAILURES", default_value_t = 5, value_parser = whole_number::<u32, 1, { u32::MAX as u64 }>, help_heading = heading::CIRCUIT)]
    pub breaker_consecutive_failures: u32,

    /// Share of failed and throttled calls that opens the circuit, above 0
    #[arg(long, env = "BREAKER_FAILURE_RATE", value_name = "SHARE", default_value_t = 0.5, value_parser = positive_share, help_heading = heading::CIRCUIT)]
    pub breaker_failure_rate: f64,

    /// Time window over which that share is measured, at most 1h
    #[arg(long, env = "BREAKER_WINDOW", value_name = "DURATION", default_value = "10s", value_parser = positive_duration, help_heading = heading::CIRCUIT)]
    pub breaker_window: Duration,

    /// Minimum number of calls in that window; with fewer calls the share is ignored
    #[arg(long, env = "BREAKER_MIN_CALLS", value_name = "CALLS", default_value_t = 20, value_parser = whole_number::<u32, 1, { u32::MAX as u64 }>, help_heading = heading::CIRCUIT)]
    pub breaker_min_calls: u32,

    /// Time for which an open circuit refuses calls before it lets one probe pass, at most 1h
    ///
    /// It is twice as long if the probe fails.
    #[arg(long, env = "BREAKER_OPEN_FOR", value_name = "DURATION", default_value = "5s", value_parser = positive_duration, help_heading = heading::CIRCUIT)]
    pub breaker_open_for: Duration,

    /// Timeout of a request; a slower request gets a 504 response
    ///
    /// A request can shorten it with the header x-envoy-expected-rq-timeout-ms.
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = positive_duration, help_heading = heading::CLIENTS)]
    pub request_timeout: Duration,

    #[command(flatten)]
    pub common: Common,
}

impl Validate for Config {
    fn check(&self) -> Result<(), String> {
        self.common.check(self.listen_addr)?;
        ensure_increasing(&[
            ("--attempt-timeout", self.attempt_timeout),
            ("--request-timeout", self.request_timeout),
        ])?;
        ensure_increasing(&[
            ("--retry-backoff", self.retry_backoff),
            ("--request-timeout", self.request_timeout),
        ])?;
        for (flag, duration) in [
            ("--breaker-open-for", self.breaker_open_for),
            ("--breaker-window", self.breaker_window),
        ] {
            if duration > LONGEST_MEMORY {
                return Err(format!("{flag} is {}; it must be at most 1h", shown(duration)));
            }
        }
        Ok(())
    }
}

/// The longest window and the longest pause of the circuit. A longer one helps in no outage and is
/// a mistake.
const LONGEST_MEMORY: Duration = Duration::from_secs(3600);

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("it must be a number from 0 to 1, like 0.2".to_owned()),
    }
}

/// Parses a share above 0. A threshold of 0 would open the circuit at the first call.
fn positive_share(text: &str) -> Result<f64, String> {
    match share(text) {
        Ok(0.0) => {
            Err("it must be above 0, like 0.5, or the first call would open the circuit".to_owned())
        }
        share => share,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn check(flags: &[&str]) -> Result<(), String> {
        let arguments = std::iter::once("main-api").chain(flags.iter().copied());
        Config::try_parse_from(arguments).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn the_flags_are_well_formed_and_their_defaults_agree() {
        Config::command().debug_assert();
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn values_that_contradict_each_other_are_named() {
        for (flag, named) in [
            ("--attempt-timeout=10s", ["--attempt-timeout", "--request-timeout"]),
            ("--retry-backoff=10s", ["--retry-backoff", "--request-timeout"]),
            ("--breaker-open-for=2h", ["--breaker-open-for", "2h"]),
            ("--breaker-window=2h", ["--breaker-window", "2h"]),
        ] {
            let reason = check(&[flag]).expect_err("refused");
            assert!(named.iter().all(|name| reason.contains(name)), "{flag}: {reason}");
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named() {
        for flag in [
            "--retry-max-attempts=0",
            "--retry-max-attempts=11",
            "--retry-backoff=0s",
            "--retry-budget=1.1",
            "--retry-budget=NaN",
            "--retry-budget=some",
            "--breaker-consecutive-failures=0",
            "--breaker-failure-rate=0",
            "--breaker-failure-rate=50",
            "--breaker-window=0s",
            "--breaker-min-calls=0",
            "--breaker-open-for=soon",
        ] {
            let reason = check(&[flag]).expect_err("refused");
            let (name, value) = flag.split_once('=').expect("a flag and its value");
            assert!(reason.contains(name) && reason.contains(value), "{flag}: {reason}");
        }
    }

    #[test]
    fn an_unusable_url_is_rejected() {
        for url in [
            "aux-service:5000",
            "https://aux",
            "http://",
            "http://u:p@aux",
            "http://:p@aux",
            "http://aux/?a",
        ] {
            let reason = check(&[&format!("--aux-url={url}")]).expect_err(url);
            assert!(reason.contains("--aux-url"), "{url}: {reason}");
        }
        assert_eq!(check(&["--aux-url=http://aux:5000/base/"]), Ok(()));
    }
}
