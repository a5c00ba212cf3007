//! The scripts that run on the engine. Each is atomic, and costs one round trip.

use std::sync::LazyLock;

use redis::{RedisError, Script};

use super::connection::Connection;

/// A script in the folder `scripts`.
macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $name, ".lua"))))
    };
}

pub(super) static LOOKUP: LazyLock<Script> = script!("lookup");
pub(super) static STORE: LazyLock<Script> = script!("store");
pub(super) static RENEW: LazyLock<Script> = script!("renew");
pub(super) static RELEASE: LazyLock<Script> = script!("release");
pub(super) static TAKE: LazyLock<Script> = script!("quota");
pub(super) static DRAIN: LazyLock<Script> = script!("drain");
pub(super) static MARK: LazyLock<Script> = script!("mark");
pub(super) static ANNOUNCE: LazyLock<Script> = script!("announce");

/// Writes a key of its own, because a full engine or a read-only server still answers a `PING`.
pub(super) static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], '1', 'PX', 10000)"));

/// Loads all scripts, so that the first run of none takes more round trips. The release of a lock
/// would otherwise not follow a lookup that the engine runs late.
pub(super) async fn load(connection: &mut Connection) -> Result<(), RedisError> {
    for script in [&LOOKUP, &STORE, &RENEW, &RELEASE, &TAKE, &DRAIN, &MARK, &ANNOUNCE, &PROBE] {
        script.load_async(connection).await?;
    }
    Ok(())
}
