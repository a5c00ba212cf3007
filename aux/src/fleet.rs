//! Replicas as one: all replicas of aux-service share the records that they load, and the account's
//! quota, on an engine (Valkey or Redis).
//!
//! The engine is never needed. While it does not work, each replica loads for itself and keeps to
//! its own share of the quota.
//!
//! Imports go one way: `shared_changes` → `shared_cache`, `shared_quota` → `engine`, `sealed`, `compression` → `scripts` → `connection`, `metrics` →
//! `config` → `engine_url`, `secret_file`.

use std::sync::Arc;

use cache::hex;
use sha2::{Digest, Sha256};

mod engine_url;
mod secret_file;
pub mod config;
mod metrics;
mod connection;
mod scripts;
mod engine;
mod sealed;
mod compression;
mod shared_cache;
mod shared_changes;
mod shared_quota;

pub(crate) use self::shared_quota::SharedBucket;
use self::{config::FleetConfig, connection::Connector, engine::Engine, sealed::Seal};
pub use self::{
    connection::ConfigError,
    shared_cache::{Claim, Demand, Lock, RecordKey, SharedCache, SharedRecord, Wait},
    shared_changes::{FollowChanges, Mark, NotShared, SharedChange, SharedChanges},
};

/// The version of the format of records, locks and buckets. Replicas of different versions share
/// nothing.
const FORMAT: &str = "v2";

/// The replicas of this deployment, as they meet on an engine. Cloning is shallow.
#[derive(Clone)]
pub struct Fleet {
    engine: Engine,
    /// The beginning of all keys.
    prefix: Arc<str>,
    seal: Seal,
}

impl Fleet {
    /// Connects to the engine, if the configuration names one. An engine that does not work delays
    /// the start by a second at most, and is connected later.
    ///
    /// # Errors
    ///
    /// A certificate or an address that the client library rejects.
    pub async fn start(config: &FleetConfig) -> Result<Option<Self>, ConfigError> {
        let Some(url) = config.url() else { return Ok(None) };
        let connector = Connector::new(url, config)?;
        let prefix = format!("{}:{FORMAT}", config.shared_cache_prefix);
        let probe_key = format!("{prefix}:probe");
        // A miss waits for two commands: its lookup, and the quota of its call.
        let engine = Engine::start(connector, probe_key, config.shared_cache_timeout / 2).await;
        let seal = Seal::new(config.shared_cache_key_file.as_ref());
        Ok(Some(Self { engine, prefix: prefix.into(), seal }))
    }

    /// Returns the shared cache of the replicas with this scope.
    pub fn cache(&self, scope: &Scope<'_>) -> SharedCache {
        let keys = format!("{}:{}:{}", self.prefix, scope.region, scope.digest());
        SharedCache::new(self.engine.clone(), keys, self.seal.clone())
    }

    /// Returns the token bucket that all replicas share for a quota of this region.
    pub(crate) fn bucket(&self, region: &str, quota: &str, rate: f64) -> SharedBucket {
        let key = format!("{}:{region}:quota:{{{quota}}}", self.prefix);
        SharedBucket::new(self.engine.clone(), key, rate)
    }

    /// Returns the state of the engine: `ok`, or `degraded` while it does not work.
    pub fn state(&self) -> &'static str {
        if self.engine.degraded_since().is_some() { "degraded" } else { "ok" }
    }

    /// Returns the time since which the engine has not worked, as in RFC 3339; `None` while it
    /// works.
    pub fn degraded_since(&self) -> Option<String> {
        let since = self.engine.degraded_since()?;
        Some(humantime::format_rfc3339_seconds(since).to_string())
    }
}

/// Everything that decides what a record holds, besides its key. Replicas that differ in it never
/// read each other's records.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region of AWS, or the name of another backend.
    pub region: &'a str,
    /// The origin of the data, if it is not AWS itself.
    pub origin: &'a str,
    /// The allowed prefixes.
    pub prefixes: &'a str,
    pub allow_secure_strings: bool,
}

impl Scope<'_> {
    /// Returns a digest of the parts that are too long for a key.
    fn digest(&self) -> String {
        let Self { region: _, origin, prefixes, allow_secure_strings } = self;
        let text = format!("{origin}\n{prefixes}\n{allow_secure_strings}");
        hex::encode(&Sha256::digest(text)[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_scope_changes_its_digest() {
        let scope = Scope { region: "a", origin: "", prefixes: "/", allow_secure_strings: false };
        let others = [
            Scope { origin: "http://localhost", ..scope },
            Scope { prefixes: "/app", ..scope },
            Scope { allow_secure_strings: true, ..scope },
        ];
        assert_eq!(scope.digest().len(), 16);
        for other in others {
            assert_ne!(other.digest(), scope.digest(), "{other:?}");
        }
    }
}
