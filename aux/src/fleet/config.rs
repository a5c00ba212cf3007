//! The flags of the shared cache and the shared quota.

use std::{convert::Infallible, time::Duration};

use service::config::{heading, positive_duration};

use super::secret_file::{certificate_file, key_file, password_file};
pub use super::{engine_url::EngineUrl, secret_file::SecretFile};

// A doc comment here would replace the description in `--help`.
#[derive(Clone, Debug, clap::Args)]
pub struct FleetConfig {
    /// URL of a Valkey or Redis on which all replicas share what they load, and the quota
    ///
    /// The URL is redis://HOST:6379, redis-cluster://HOST:6379 or redis-sentinel://HOST:26379/MASTER,
    /// with rediss for TLS. It holds no password. Without it each replica is on its own.
    #[arg(long, env = "SHARED_CACHE_URL", value_name = "URL", value_parser = url, help_heading = heading::SHARED_CACHE)]
    pub shared_cache_url: Option<ParsedUrl>,

    /// File with the password of the shared cache
    ///
    /// It is read again at each connection. Without it no password is sent.
    #[arg(long, env = "SHARED_CACHE_PASSWORD_FILE", value_name = "FILE", value_parser = password_file, help_heading = heading::SHARED_CACHE)]
    pub shared_cache_password_file: Option<SecretFile>,

    /// File with the certificates (PEM) of the authorities that the shared cache is checked against
    ///
    /// Without it those of the system are used.
    #[arg(long, env = "SHARED_CACHE_CA_FILE", value_name = "FILE", value_parser = certificate_file, help_heading = heading::SHARED_CACHE)]
    pub shared_cache_ca_file: Option<SecretFile>,

    /// File with a key of 32 bytes or more that authenticates the records in the shared cache
    ///
    /// Every replica needs the same key. Without it, whoever can write to the shared cache can change
    /// responses.
    #[arg(long, env = "SHARED_CACHE_KEY_FILE", value_name = "FILE", value_parser = key_file, help_heading = heading::SHARED_CACHE)]
    pub shared_cache_key_file: Option<SecretFile>,

    /// Prefix of all keys in the shared cache
    ///
    /// Two deployments, or two accounts, on one engine need two prefixes.
    #[arg(long, env = "SHARED_CACHE_PREFIX", value_name = "PREFIX", default_value = "aux-service", value_parser = prefix, help_heading = heading::SHARED_CACHE)]
    pub shared_cache_prefix: String,

    /// Maximum time for which a miss waits for the shared cache
    ///
    /// The replica then continues alone. Half of the time is for the lookup of a record, half for the
    /// quota of a call.
    #[arg(long, env = "SHARED_CACHE_TIMEOUT", value_name = "DURATION", default_value = "100ms", value_parser = positive_duration, help_heading = heading::SHARED_CACHE)]
    pub shared_cache_timeout: Duration,
}

/// A URL, or the reason for refusing it. The check of the whole configuration reports the reason: the
/// error of a value parser would show the value, which may hold a password.
pub type ParsedUrl = Result<EngineUrl, String>;

fn url(text: &str) -> Result<ParsedUrl, Infallible> {
    Ok(text.parse())
}

impl FleetConfig {
    /// Returns the URL of the engine.
    pub fn url(&self) -> Option<&EngineUrl> {
        self.shared_cache_url.as_ref()?.as_ref().ok()
    }

    /// Checks the URL, and that no flag lacks the URL that gives it a meaning.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(Err(reason)) = &self.shared_cache_url {
            return Err(format!("the value of --shared-cache-url cannot be used: {reason}"));
        }
        let Some(url) = self.url() else {
            let companions = [
                ("--shared-cache-password-file", &self.shared_cache_password_file),
                ("--shared-cache-ca-file", &self.shared_cache_ca_file),
                ("--shared-cache-key-file", &self.shared_cache_key_file),
            ];
            return match companions.into_iter().find(|(_, file)| file.is_some()) {
                Some((flag, _)) => Err(format!(
                    "{flag} is given, but --shared-cache-url is not; set the URL, or remove the file"
                )),
                None => Ok(()),
            };
        };
        if self.shared_cache_ca_file.is_some() && !url.tls {
            return Err("--shared-cache-ca-file is given, but --shared-cache-url has no TLS; write it as rediss://, or remove the file".to_owned());
        }
        Ok(())
    }
}

/// Parses the prefix of keys. A brace would change the slot of a key in a Cluster.
fn prefix(text: &str) -> Result<String, String> {
    let valid = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
    if text.is_empty() || text.len() > 256 || !text.bytes().all(valid) {
        return Err("it must be 1 to 256 visible ASCII characters without braces".to_owned());
    }
    Ok(text.to_owned())
}
