//! What a hit costs: time and allocations.
//!
//! `cargo bench -p shared` prints both. Under `cargo test --benches` each runs once, as a check.

use std::{sync::LazyLock, time::Duration};

use axum::response::Response;
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderMap, HeaderValue, header};
use metrics_exporter_prometheus::PrometheusBuilder;
use shared::{
    cache::{Answer, Cache, CacheableError, Disposition, Loaded, Mode, Served, Settings},
    http_cache::Freshness,
};
use tokio::{runtime::Runtime, time::Instant};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const KEYS: usize = 10_000;
const BODY: usize = 1024;

#[derive(Clone)]
struct NoError;

impl CacheableError for NoError {
    fn disposition(&self) -> Disposition {
        Disposition::Transient
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

struct Bench {
    runtime: Runtime,
    cache: Cache<NoError>,
    keys: Vec<String>,
    plain: HeaderMap,
    conditional: HeaderMap,
}

/// Ten thousand answers, with the metrics of a service that runs.
static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let exporter = PrometheusBuilder::new().install_recorder().expect("the only recorder");
    let runtime = Runtime::new().expect("a runtime");
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            exporter.run_upkeep();
        }
    });
    let cache = Cache::new(Settings { name: "bench", hop: "main-api", max_bytes: 64 << 20 });
    let keys: Vec<String> = (0..KEYS).map(|number| format!("/team/app-{number}/name")).collect();
    let hour = Duration::from_secs(3600);
    for key in &keys {
        let load = move |_| async move {
            let body = "x".repeat(BODY);
            let mut loaded =
                Loaded::new(Answer::json(&body).expect("JSON"), Freshness::new(hour, hour, hour));
            loaded.cache_status = Some(HeaderValue::from_static("aux-service; fwd=miss; stored"));
            Ok(loaded)
        };
        let loaded = runtime.block_on(cache.get(key, Mode::Normal, load));
        assert!(loaded.is_ok());
    }
    let mut conditional = HeaderMap::new();
    let served = cache.ready(&keys[0], Instant::now()).expect("it is kept");
    conditional.insert(header::IF_NONE_MATCH, served.answer().etag().expect("a tag").clone());
    Bench { runtime, cache, keys, plain: HeaderMap::new(), conditional }
});

fn main() {
    LazyLock::force(&BENCH);
    divan::main();
}

fn fresh(key: &str) -> Served {
    BENCH.cache.ready(black_box(key), Instant::now()).expect("it is kept")
}

#[divan::bench(threads = [1, 2], sample_size = 1000)]
fn one_key(bencher: Bencher) {
    bencher.bench(|| fresh(&BENCH.keys[0]));
}

#[divan::bench(threads = [1, 2], sample_size = 1000)]
fn any_of_10_000_keys(bencher: Bencher) {
    bencher.bench(|| fresh(&BENCH.keys[fastrand::usize(..KEYS)]));
}

#[divan::bench(sample_size = 1000)]
fn through_get(bencher: Bencher) {
    let load = |_| async { Err(NoError) };
    bencher.bench(|| {
        BENCH.runtime.block_on(BENCH.cache.get(black_box(&BENCH.keys[0]), Mode::Normal, load)).ok()
    });
}

#[divan::bench(threads = [1, 2], sample_size = 1000)]
fn with_its_response(bencher: Bencher) {
    bencher.bench(|| -> Response { fresh(&BENCH.keys[0]).response(&BENCH.plain) });
}

#[divan::bench(sample_size = 1000)]
fn with_its_304(bencher: Bencher) {
    bencher.bench(|| -> Response { fresh(&BENCH.keys[0]).response(&BENCH.conditional) });
}
