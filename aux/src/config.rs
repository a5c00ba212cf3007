//! The configuration of aux-service, from flags and environment variables. It is parsed and
//! validated once, at the start.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Parser, ValueEnum};
use service::config::{
    Common, Switch, Validate, duration, ensure_increasing, heading, positive_duration, shown,
    socket_address,
};
use url::Url;

use crate::{
    change::queue_url::QueueUrl, fleet::config::FleetConfig, name::Prefixes, quota::Rates,
    warm_up::WarmUp,
};

const ABOUT: &str =
    "Serves S3 buckets and SSM parameters over HTTP, with as few calls to AWS as possible";

const LONG_ABOUT: &str = "\
Serves S3 buckets and SSM parameters over HTTP, with as few calls to AWS as
possible. It caches what AWS returns, and serves stale entries while AWS fails.

Without AWS, with one bucket and one parameter in memory:
  aux-service --backend embedded
  curl http://127.0.0.1:5000/param/challenge/kantox

With AWS:
  AWS_REGION=eu-west-2 aux-service";

const OF_AWS: &str = "\
Variables of the AWS SDK, the most common ones:
  AWS_REGION              the region, like eu-west-2; required by --backend aws
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE,
  AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE
                          the credentials
  AWS_ENDPOINT_URL        another endpoint, such as an emulator of AWS";

/// The settings of aux-service.
#[derive(Clone, Debug, Parser)]
#[command(name = "aux-service", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = OF_AWS)]
pub struct Config {
    /// Address of the public API
    #[arg(long, env = "LISTEN_ADDR", value_name = "IP:PORT", default_value = "0.0.0.0:5000", value_parser = socket_address, help_heading = heading::ADDRESS)]
    pub listen_addr: SocketAddr,

    /// Version of this service that responses report
    #[arg(long, env = "AUX_VERSION", value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"), help_heading = heading::ADDRESS)]
    pub aux_version: String,

    /// Source of the data: AWS, or memory for trials without AWS
    #[arg(long, env = "BACKEND", value_name = "BACKEND", default_value = "aws", help_heading = heading::DATA)]
    pub backend: Backend,

    /// YAML file with the buckets and parameters of the embedded backend
    ///
    /// Without it the backend has one bucket and one parameter.
    #[arg(long, env = "EMBEDDED_FILE", value_name = "FILE", help_heading = heading::DATA)]
    pub embedded_file: Option<PathBuf>,

    /// Parameters that may be served: comma-separated paths, each with everything below it
    #[arg(long, env = "PARAMETER_PREFIXES", value_name = "PATHS", default_value = "/", help_heading = heading::DATA)]
    pub parameter_prefixes: Prefixes,

    /// Whether SecureStrings are decrypted and served
    #[arg(long, env = "ALLOW_SECURE_STRINGS", value_name = "BOOL", default_value_t = false,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", help_heading = heading::DATA)]
    pub allow_secure_strings: bool,

    /// Time for which an entry is fresh
    #[arg(long, env = "CACHE_TTL", value_name = "DURATION", default_value = "60s", value_parser = positive_duration, help_heading = heading::CACHE)]
    pub cache_ttl: Duration,

    /// Time after CACHE_TTL for which a stale entry is served at once and refreshed in the background
    #[arg(long, env = "CACHE_STALE_WHILE_REVALIDATE", value_name = "DURATION", default_value = "60s", value_parser = duration, help_heading = heading::CACHE)]
    pub cache_stale_while_revalidate: Duration,

    /// Time after CACHE_TTL for which a stale entry is served if AWS fails or throttles
    ///
    /// No older entry is ever served.
    #[arg(long, env = "CACHE_STALE_IF_ERROR", value_name = "DURATION", default_value = "1h", value_parser = duration, help_heading = heading::CACHE)]
    pub cache_stale_if_error: Duration,

    /// Time for which the cache remembers that a parameter does not exist
    #[arg(long, env = "CACHE_NEGATIVE_TTL", value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = heading::CACHE)]
    pub cache_negative_ttl: Duration,

    /// Maximum share by which CACHE_TTL is shortened at random, below 1
    ///
    /// Entries that were loaded together then do not expire together.
    #[arg(long, env = "CACHE_TTL_JITTER", value_name = "SHARE", default_value = "0.1", value_parser = jitter, help_heading = heading::CACHE)]
    pub cache_ttl_jitter: f64,

    /// Comma-separated names, and paths with a slash at the end, that are loaded at the start and kept fresh
    ///
    /// Without it the cache begins empty.
    #[arg(
        long,
        env = "WARM_UP",
        value_name = "NAMES",
        default_value = "",
        hide_default_value = true,
        help_heading = heading::WARM_UP
    )]
    pub warm_up: WarmUp,

    /// Maximum time for which /readyz waits for the warm-up
    #[arg(long, env = "WARM_UP_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = positive_duration, help_heading = heading::WARM_UP)]
    pub warm_up_timeout: Duration,

    /// Timeout of a load of AWS credentials
    ///
    /// A call waits for credentials at most this long, before its other timeouts begin.
    #[arg(long, env = "AWS_CREDENTIALS_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = positive_duration, help_heading = heading::AWS)]
    pub aws_credentials_timeout: Duration,

    /// Timeout of one attempt of a call to AWS
    #[arg(long, env = "AWS_ATTEMPT_TIMEOUT", value_name = "DURATION", default_value = "1s", value_parser = positive_duration, help_heading = heading::AWS)]
    pub aws_attempt_timeout: Duration,

    /// Timeout of one call to AWS, its second attempt included
    #[arg(long, env = "AWS_OPERATION_TIMEOUT", value_name = "DURATION", default_value = "3s", value_parser = positive_duration, help_heading = heading::AWS)]
    pub aws_operation_timeout: Duration,

    /// Time without a new page after which a list is given up
    ///
    /// Waits for the quota and pauses after throttling do not count, so a list may take far longer.
    /// The load continues after the deadline of its request.
    #[arg(long, env = "AWS_LIST_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = positive_duration, help_heading = heading::AWS)]
    pub aws_list_timeout: Duration,

    /// Limit of this process for reads of parameters; 0 means no limit
    #[arg(long, env = "AWS_RATE_GET", value_name = "CALLS/S", default_value = "40", value_parser = rate, help_heading = heading::QUOTA)]
    pub aws_rate_get: f64,

    /// Limit of this process for lists of parameters, and for lists of buckets; 0 means no limit
    #[arg(long, env = "AWS_RATE_LIST", value_name = "CALLS/S", default_value = "3", value_parser = rate, help_heading = heading::QUOTA)]
    pub aws_rate_list: f64,

    /// Limit of all replicas together for reads of parameters; 0 means no limit
    ///
    /// It holds while they reach the shared cache. AWS_RATE_GET limits a replica that does not.
    #[arg(long, env = "SHARED_AWS_RATE_GET", value_name = "CALLS/S", default_value = "40", value_parser = rate, help_heading = heading::QUOTA)]
    pub shared_aws_rate_get: f64,

    /// Limit of all replicas together for lists of parameters, and for lists of buckets; 0 means no limit
    ///
    /// It holds while they reach the shared cache. AWS_RATE_LIST limits a replica that does not.
    #[arg(long, env = "SHARED_AWS_RATE_LIST", value_name = "CALLS/S", default_value = "3", value_parser = rate, help_heading = heading::QUOTA)]
    pub shared_aws_rate_list: f64,

    #[command(flatten)]
    pub fleet: FleetConfig,

    /// URL of an SQS queue into which EventBridge puts the events of Parameter Store
    ///
    /// The next request for a changed parameter then reads it again. Without the queue a change
    /// reaches clients after CACHE_TTL and a refresh. The queue is in the region of AWS_REGION.
    /// Several replicas also need SHARED_CACHE_URL.
    #[arg(long, env = "CHANGE_QUEUE_URL", value_name = "URL", help_heading = heading::CHANGES)]
    pub change_queue_url: Option<QueueUrl>,

    /// Timeout of a request; a slower request gets a 504 response
    ///
    /// A request can shorten it with the header x-envoy-expected-rq-timeout-ms.
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = positive_duration, help_heading = heading::CLIENTS)]
    pub request_timeout: Duration,

    #[command(flatten)]
    pub common: Common,
}

impl Config {
    /// The rates of this process.
    pub fn own_rates(&self) -> Rates {
        Rates { get: self.aws_rate_get, list: self.aws_rate_list }
    }

    /// The rates of all replicas together.
    pub fn fleet_rates(&self) -> Rates {
        Rates { get: self.shared_aws_rate_get, list: self.shared_aws_rate_list }
    }
}

/// The values of `--backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    Aws,
    Embedded,
}

impl Validate for Config {
    fn check(&self) -> Result<(), String> {
        self.common.check(self.listen_addr)?;
        ensure_increasing(&[
            ("--aws-attempt-timeout", self.aws_attempt_timeout),
            ("--aws-operation-timeout", self.aws_operation_timeout),
            ("--request-timeout", self.request_timeout),
        ])?;
        ensure_increasing(&[
            ("--aws-operation-timeout", self.aws_operation_timeout),
            ("--aws-list-timeout", self.aws_list_timeout),
        ])?;
        if self.cache_stale_while_revalidate > self.cache_stale_if_error {
            return Err(format!(
                "--cache-stale-while-revalidate ({}) must not be longer than --cache-stale-if-error ({}); lower the first, or raise the second",
                shown(self.cache_stale_while_revalidate),
                shown(self.cache_stale_if_error),
            ));
        }
        self.warm_up.check(&self.parameter_prefixes)?;
        if !self.warm_up.is_empty() && self.common.cache == Switch::Off {
            return Err("--warm-up needs the cache, but --cache is off; set --cache on, or remove --warm-up".to_owned());
        }
        self.fleet.check()?;
        if self.fleet.url().is_some() && self.common.cache == Switch::Off {
            return Err("--shared-cache-url needs the cache, but --cache is off; set --cache on, or remove the URL".to_owned());
        }
        if self.fleet.url().is_some() {
            ensure_increasing(&[
                ("--shared-cache-timeout", self.fleet.shared_cache_timeout),
                ("--aws-operation-timeout", self.aws_operation_timeout),
            ])?;
        }
        if self.change_queue_url.is_some() && self.backend != Backend::Aws {
            return Err("--change-queue-url is given, but --backend is not aws; set --backend aws, or remove the URL".to_owned());
        }
        if self.change_queue_url.is_some() && self.common.cache == Switch::Off {
            return Err("--change-queue-url needs the cache, but --cache is off; set --cache on, or remove the URL".to_owned());
        }
        if self.embedded_file.is_some() && self.backend != Backend::Embedded {
            return Err("--embedded-file is given, but --backend is not embedded; set --backend embedded, or remove the file".to_owned());
        }
        if self.backend == Backend::Aws {
            check_aws_variables(std::env::vars_os())?;
            check_aws_endpoints(std::env::vars_os())?;
        }
        Ok(())
    }
}

/// The variables of the AWS SDK whose values hold visible ASCII characters only. The SDK sends most
/// of them in headers, and panics at a character that no header can hold.
const VISIBLE_ASCII: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
];

/// Checks the AWS SDK's own variables for characters that they cannot hold, such as the line break
/// of a Secret made with `echo`. The error names the variables and never shows a value.
fn check_aws_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), String> {
    let malformed = variables.filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.to_string_lossy());
        let malformed = if VISIBLE_ASCII.contains(&name.as_str()) {
            !value.bytes().all(|byte| byte.is_ascii_graphic())
        } else {
            name.starts_with("AWS_")
                && (value.trim() != value || value.chars().any(char::is_control))
        };
        malformed.then_some(name)
    });
    let mut names: Vec<String> = malformed.collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort();
    Err(format!(
        "the value of {} holds a space, a line break or another character that does not belong there; write it without, for example with `printf %s` instead of `echo`",
        names.join(" and of ")
    ))
}

/// Checks the regions and endpoints in the AWS SDK's own variables, which the SDK would reject at
/// each call. The error shows no value, because an endpoint may hold a password.
fn check_aws_endpoints(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(), String> {
    let region_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for (name, value) in variables {
        let (Ok(name), value) = (name.into_string(), value.to_string_lossy()) else { continue };
        if matches!(name.as_str(), "AWS_REGION" | "AWS_DEFAULT_REGION")
            && !value.chars().all(region_char)
        {
            return Err(format!("the value of {name} is no region; write it like eu-west-2"));
        }
        let is_endpoint = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if name.starts_with("AWS_ENDPOINT_URL") && !Url::parse(&value).is_ok_and(is_endpoint) {
            return Err(format!(
                "the value of {name} is no http:// or https:// URL; correct it, or unset the variable"
            ));
        }
    }
    Ok(())
}

/// The lowest accepted rate, in calls a second: one call in about a quarter of an hour. A lower
/// value is a mistake rather than a quota.
const MIN_RATE: f64 = 0.001;

fn jitter(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fraction) if (0.0..1.0).contains(&fraction) => Ok(fraction),
        _ => Err("it must be a number from 0 to below 1, like 0.1".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate == 0.0 || (MIN_RATE..=1e6).contains(&rate) => Ok(rate),
        Ok(_) => Err(format!("it must be 0, or from {MIN_RATE} to a million calls a second")),
        Err(_) => Err("it must be a number of calls a second, like 40 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn check(flags: &[&str]) -> Result<(), String> {
        let arguments = std::iter::once("aux-service").chain(flags.iter().copied());
        Config::try_parse_from(arguments).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn the_flags_are_well_formed_and_their_defaults_agree() {
        Config::command().debug_assert();
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn values_that_contradict_each_other_are_named() {
        for (flags, named) in [
            (
                &["--aws-attempt-timeout=3s"][..],
                ["--aws-attempt-timeout", "--aws-operation-timeout"],
            ),
            (&["--aws-operation-timeout=5s"], ["--aws-operation-timeout", "--request-timeout"]),
            (&["--aws-list-timeout=3s"], ["--aws-operation-timeout", "--aws-list-timeout"]),
            (
                &["--cache-stale-while-revalidate=2h"],
                ["--cache-stale-while-revalidate", "--cache-stale-if-error"],
            ),
            (&["--warm-up=/a", "--cache=off"], ["--warm-up", "--cache"]),
            (
                &["--warm-up=/app/,/other/key", "--parameter-prefixes=/app"],
                ["/other/key", "--parameter-prefixes"],
            ),
            (&["--shared-cache-url=redis://a", "--cache=off"], ["--shared-cache-url", "--cache"]),
            (
                &["--shared-cache-password-file=Cargo.toml"],
                ["--shared-cache-password-file", "--shared-cache-url"],
            ),
            (
                &["--shared-cache-url=redis://a", "--shared-cache-timeout=3s"],
                ["--shared-cache-timeout", "--aws-operation-timeout"],
            ),
            (
                &["--change-queue-url=https://a/123456789012/b", "--backend=embedded"],
                ["--change-queue-url", "--backend"],
            ),
            (
                &["--change-queue-url=https://a/123456789012/b", "--cache=off"],
                ["--change-queue-url", "--cache"],
            ),
            (&["--embedded-file=x.yaml"], ["--embedded-file", "--backend"]),
            (&["--admin-addr=0.0.0.0:5000"], ["--admin-addr", "--listen-addr"]),
            (&["--admin-addr=127.0.0.1:5000"], ["--admin-addr", "--listen-addr"]),
            (&["--cache-max-bytes=99EiB"], ["--cache-max-bytes", "1.0 TiB"]),
            (&["--cache-max-bytes=1KiB"], ["--cache-max-bytes", "--cache"]),
        ] {
            let reason = check(flags).expect_err("refused");
            assert!(named.iter().all(|name| reason.contains(name)), "{flags:?}: {reason}");
        }
    }

    fn check_variables(variables: &[(&str, &str)]) -> Result<(), String> {
        check_aws_variables(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn a_region_or_an_endpoint_that_the_sdk_would_reject_is_named() {
        let check = |name: &str, value: &str| {
            check_aws_endpoints([(name.into(), value.into())].into_iter())
        };
        for (name, value) in [
            ("AWS_ENDPOINT_URL", ""),
            ("AWS_ENDPOINT_URL_SSM", "not a url"),
            ("AWS_ENDPOINT_URL", "127.0.0.1:1"),
            ("AWS_ENDPOINT_URL", "http://[::1"),
            ("AWS_ENDPOINT_URL", "ftp://hush"),
            ("AWS_REGION", "eu_west/.."),
        ] {
            let reason = check(name, value).expect_err("refused");
            assert!(reason.contains(name) && !reason.contains("hush"), "{value}: {reason}");
        }
        for (name, value) in [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
            ("AWS_ENDPOINT_URL_S3", "https://s3.internal/"),
            ("AWS_REGION", "eusc-de-east-1"),
            ("AWS_REGION", ""),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name} {value}");
        }
    }

    #[test]
    fn a_variable_of_the_sdk_with_whitespace_is_named_without_its_value() {
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "AKIAhush\n"),
            ("AWS_ACCESS_KEY_ID", "AKIA hush"),
            ("AWS_ACCESS_KEY_ID", "AKIAh\u{fc}sh"),
            ("AWS_SECRET_ACCESS_KEY", "hush\r\n"),
            ("SECRET_ACCESS_KEY", "hush\n"),
            ("AWS_SESSION_TOKEN", "\thush"),
            ("AWS_REGION", "hush-1 "),
            ("AWS_DEFAULT_REGION", "hush-1\n"),
            ("AWS_PROFILE", "hush\n"),
            ("AWS_ROLE_ARN", "arn:hush\n"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/hush\n"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://hush\n"),
            ("AWS_ENDPOINT_URL_STS", " http://hush"),
        ] {
            let reason = check_variables(&[(name, value)]).expect_err("refused");
            assert!(reason.contains(name) && !reason.contains("hush"), "{value:?}: {reason}");
            assert!(reason.contains("printf") && !reason.contains('\n'), "{reason}");
        }
        let reason = check_variables(&[("AWS_REGION", "a "), ("AWS_ACCESS_KEY_ID", "b\n")]);
        assert!(reason.expect_err("refused").contains("AWS_ACCESS_KEY_ID and of AWS_REGION"));
    }

    #[test]
    fn other_variables_and_spaces_within_a_name_or_a_path_are_accepted() {
        for variable in [
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "a/b+c="),
            ("AWS_SESSION_TOKEN", ""),
            ("AWS_PROFILE", "my profile"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer abc"),
            ("AWS_CONFIG_FILE", "/home/J\u{fc}rgen/.aws/config"),
            ("GREETING", " hello\n"),
        ] {
            assert_eq!(check_variables(&[variable]), Ok(()), "{variable:?}");
        }
    }

    #[test]
    fn an_invalid_value_is_named() {
        for flag in [
            "--listen-addr=nowhere",
            "--request-timeout=5",
            "--request-timeout=0s",
            "--backend=azure",
            "--parameter-prefixes=app",
            "--allow-secure-strings=maybe",
            "--cache-ttl=0s",
            "--cache-ttl-jitter=1",
            "--aws-rate-get=-1",
            "--aws-rate-list=NaN",
            "--warm-up=a b",
            "--change-queue-url=changes",
            "--warm-up-timeout=0s",
            "--max-in-flight=0",
            "--max-in-flight=18446744073709551615",
            "--cache-max-bytes=lots",
            "--access-log=some",
        ] {
            let reason = check(&[flag]).expect_err("refused");
            let (name, value) = flag.split_once('=').expect("a flag and its value");
            assert!(reason.contains(name) && reason.contains(value), "{flag}: {reason}");
        }
    }
}
