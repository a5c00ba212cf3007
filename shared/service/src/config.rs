//! The flags that both services share, and the parsing and validation of a configuration.

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use url::Url;

use crate::{auth::TokenFile, observe::log::LogFormat};

pub mod heading;
mod values;
mod misspelled;
mod command_line;

pub use command_line::{exit_with_usage_error, warn_of_misspelled_variables};
pub use values::{
    duration, ensure_increasing, plain_http, positive_duration, shown, size, socket_address,
    whole_number,
};

/// A configuration that can check itself as a whole.
pub trait Validate: Parser {
    /// Checks the rules that no single flag can check. The error is one sentence that names the
    /// flags and the remedy.
    fn check(&self) -> Result<(), String>;
}

/// Reads flags and environment variables. Ends the process with status 2 and one sentence if a
/// value is missing, invalid, or contradicts another.
pub fn load<C: Validate>() -> C {
    let command = command_line::command::<C>();
    let parsed = command.clone().try_get_matches();
    let config = parsed
        .and_then(|matches| C::from_arg_matches(&matches))
        .unwrap_or_else(|error| command_line::exit(&command, &error));
    config.check().unwrap_or_else(|reason| exit_with_usage_error(reason));
    config
}

// The flags of every service. A doc comment here would replace the description in `--help`.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Address of a second listener, for probes and /metrics
    ///
    /// Without it they are on the public one.
    #[arg(long, env = "ADMIN_ADDR", value_name = "IP:PORT", value_parser = socket_address, help_heading = heading::ADDRESS)]
    pub admin_addr: Option<SocketAddr>,

    /// Whether responses are cached
    ///
    /// While it is off, every request causes a call, and responses of aux-service have `no-store`.
    #[arg(long, env = "CACHE", value_name = "MODE", default_value = "on", help_heading = heading::CACHE, display_order = 0)]
    pub cache: Switch,

    /// Maximum memory of the cache, keys and headers included
    #[arg(long, env = "CACHE_MAX_BYTES", value_name = "SIZE", default_value = "64MiB", value_parser = size, help_heading = heading::CACHE, display_order = 1)]
    pub cache_max_bytes: ByteSize,

    /// File of the bearer tokens that clients must send, one a line
    ///
    /// It is read again when it changes. Without it every client is served.
    #[arg(long, env = "AUTH_TOKEN_FILE", value_name = "FILE", help_heading = heading::CLIENTS)]
    pub auth_token_file: Option<TokenFile>,

    /// Maximum number of concurrent requests
    ///
    /// More are rejected with 503 instead of queued. 1024 more connections may be open.
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "REQUESTS", default_value_t = 1024, value_parser = whole_number::<usize, 1, 10_000_000>, help_heading = heading::CLIENTS)]
    pub max_in_flight: usize,

    /// Maximum number of requests that wait for a change, streams of /changes included
    ///
    /// More are rejected with 503. They do not count for MAX_IN_FLIGHT.
    #[arg(long, env = "MAX_WAITING", value_name = "REQUESTS", default_value_t = 4096, value_parser = whole_number::<usize, 1, 10_000_000>, help_heading = heading::CLIENTS)]
    pub max_waiting: usize,

    /// Age after which the next response closes its connection; 0s means never
    ///
    /// Clients then spread over new replicas. The age is shortened at random by up to a fifth.
    #[arg(long, env = "MAX_CONNECTION_AGE", value_name = "DURATION", default_value = "30s", value_parser = duration, help_heading = heading::CLIENTS)]
    pub max_connection_age: Duration,

    /// Time after SIGTERM for which requests are still accepted
    ///
    /// Load balancers need this time to remove the replica.
    #[arg(long, env = "SHUTDOWN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = duration, help_heading = heading::SHUTDOWN)]
    pub shutdown_delay: Duration,

    /// Time after SHUTDOWN_DELAY for the requests in progress to finish
    #[arg(long, env = "SHUTDOWN_GRACE", value_name = "DURATION", default_value = "15s", value_parser = duration, help_heading = heading::SHUTDOWN)]
    pub shutdown_grace: Duration,

    /// Format of log lines
    ///
    /// Without it the format is pretty on a terminal and json elsewhere.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", help_heading = heading::TELEMETRY)]
    pub log_format: Option<LogFormat>,

    /// Requests that get a log line
    ///
    /// `errors` are the 5xx responses and those slower than a second.
    #[arg(long, env = "ACCESS_LOG", value_name = "REQUESTS", default_value = "errors", help_heading = heading::TELEMETRY)]
    pub access_log: AccessLog,

    /// URL of an OpenTelemetry collector that receives traces: OTLP over http://
    ///
    /// A trace spans both services and the call to AWS. Without the URL there are no traces.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = plain_http, help_heading = heading::TELEMETRY)]
    pub otel_exporter_otlp_endpoint: Option<Url>,
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

/// Returns whether two addresses cannot be bound at the same time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (everywhere || a.ip() == b.ip())
}
