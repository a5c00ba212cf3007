//! A filled cache, like that of a service that has run for a while.

use std::time::Duration;

use cache::{
    Cache, CacheableError, CachedBody, Disposition, Loaded, Mode, Settings, http::Freshness,
};
use service::observe::metrics::Exporter;
use tokio::runtime::Runtime;

/// The lifetime of entries, long enough that none becomes stale during a measurement.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The error for a name that does not exist.
#[derive(Clone)]
pub(crate) struct NotFound;

impl CacheableError for NotFound {
    fn disposition(&self) -> Disposition {
        Disposition::Negative { ttl: HOUR }
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// Builds an empty cache with room for all entries of these benchmarks, and with the metrics of a
/// service.
pub(crate) fn empty() -> Cache<NotFound> {
    Exporter::install("bench", "0").expect("the only recorder");
    Cache::new(Settings { name: "bench", hop: "main-api", max_bytes: 1 << 30 })
}

/// Returns names of a realistic form.
pub(crate) fn keys(number: usize) -> Vec<String> {
    (0..number).map(|number| format!("/team/app-{number}/name")).collect()
}

/// Builds the result of a load: a body of this many bytes, and the upstream's `Cache-Status`.
pub(crate) fn loaded(bytes: usize) -> Loaded {
    let body = CachedBody::json(&"x".repeat(bytes)).expect("a string is JSON");
    let mut loaded = Loaded::new(body, Freshness::new(HOUR, HOUR, HOUR));
    loaded.cache_status = Some("aux-service; fwd=miss; stored".into());
    loaded
}

/// Builds a cache with an entry of this many bytes for each key.
pub(crate) fn filled(runtime: &Runtime, keys: &[String], bytes: usize) -> Cache<NotFound> {
    let cache = empty();
    for key in keys {
        let load = move |_| async move { Ok(loaded(bytes)) };
        let served = runtime.block_on(cache.get(key, Mode::Normal, load));
        assert!(served.is_ok());
    }
    cache
}
