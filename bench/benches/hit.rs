//! Costs of a hit in time, on one thread and on two at once, and in allocations.
//!
//! `cargo bench -p bench --bench hit` prints both.

use std::sync::LazyLock;

use axum::{body::Body, response::Response};
use cache::{Cache, Mode, Served};
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderMap, header};
use service::observe::metrics::Exporter;
use tokio::{runtime::Runtime, time::Instant};

#[path = "counts/filled.rs"]
mod filled;

use filled::{NotFound, filled, keys};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const KEYS: usize = 10_000;
const BODY: usize = 1024;

struct Bench {
    runtime: Runtime,
    cache: Cache<NotFound>,
    keys: Vec<String>,
    plain: HeaderMap,
    conditional: HeaderMap,
}

/// A cache with ten thousand entries, with the metrics of a service that runs.
static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let exporter = Exporter::install("bench", "0").expect("the only recorder");
    let runtime = Runtime::new().expect("a runtime");
    runtime.spawn(exporter.upkeep());
    let keys = keys(KEYS);
    let cache = filled(&runtime, &keys, BODY);
    let mut conditional = HeaderMap::new();
    let served = cache.lookup(&keys[0], Instant::now()).expect("it is cached").ok().expect("a hit");
    conditional.insert(header::IF_NONE_MATCH, served.body().etag().expect("a tag").header());
    Bench { runtime, cache, keys, plain: HeaderMap::new(), conditional }
});

fn main() {
    LazyLock::force(&BENCH);
    divan::main();
}

fn fresh(key: &str) -> Served {
    BENCH.cache.lookup(black_box(key), Instant::now()).expect("it is cached").ok().expect("a hit")
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
    let load = |_| async { Err(NotFound) };
    bencher.bench(|| {
        BENCH.runtime.block_on(BENCH.cache.get(black_box(&BENCH.keys[0]), Mode::Normal, load)).ok()
    });
}

#[divan::bench(threads = [1, 2], sample_size = 1000)]
fn with_its_response(bencher: Bencher) {
    bencher.bench(|| -> Response { fresh(&BENCH.keys[0]).response(&BENCH.plain).map(Body::from) });
}

#[divan::bench(sample_size = 1000)]
fn with_its_304(bencher: Bencher) {
    bencher.bench(|| -> Response {
        fresh(&BENCH.keys[0]).response(&BENCH.conditional).map(Body::from)
    });
}
