//! Costs of the cache alone.

use std::hint::black_box;

use axum::body::Body;
use cache::{Cache, Loaded, Mode, Served};
use gungraun::prelude::*;
use http::{HeaderMap, header};
use tokio::{runtime::Runtime, time::Instant};

use crate::{
    TIMES,
    filled::{self, NotFound},
    traffic::runtime,
};

/// The step between the keys of two turns, so that consecutive turns use distant parts of a filled
/// cache.
const STRIDE: usize = 7919;

struct Filled {
    cache: Cache<NotFound>,
    keys: Vec<String>,
    request: HeaderMap,
}

impl Filled {
    fn new(keys: usize, bytes: usize) -> Self {
        let keys = filled::keys(keys);
        let cache = filled::filled(&runtime(), &keys, bytes);
        // The first lookup of each key pays one-time costs, so it comes before the measurement.
        Self { cache, keys, request: HeaderMap::new() }.answer()
    }

    /// Builds a filled cache and a request with the validator of its entries, which is the same for
    /// each key.
    fn known(keys: usize, bytes: usize) -> Self {
        let mut filled = Self::new(keys, bytes);
        let served = filled
            .cache
            .lookup(&filled.keys[0], Instant::now())
            .expect("it is cached")
            .ok()
            .expect("a hit");
        let tag = served.body().etag().expect("a tag").header();
        filled.request.insert(header::IF_NONE_MATCH, tag);
        filled
    }

    fn look_up(self) -> Self {
        for turn in 0..TIMES {
            black_box(self.fresh(turn));
        }
        self
    }

    fn answer(self) -> Self {
        for turn in 0..TIMES {
            black_box(self.fresh(turn).response(&self.request).map(Body::from));
        }
        self
    }

    fn fresh(&self, turn: usize) -> Served {
        let key = &self.keys[turn * STRIDE % self.keys.len()];
        self.cache
            .lookup(black_box(key), Instant::now())
            .expect("it is cached")
            .ok()
            .expect("a hit")
    }
}

#[library_benchmark]
#[bench::of_10_000_keys(Filled::new(10_000, 1024))]
fn fresh(filled: Filled) -> Filled {
    filled.look_up()
}

#[library_benchmark]
#[bench::of_100_keys(Filled::new(100, 1024))]
#[bench::of_10_000_keys(Filled::new(10_000, 1024))]
#[bench::of_100_000_keys(Filled::new(100_000, 1024))]
#[bench::of_100_bytes(Filled::new(10, 100))]
#[bench::of_10_kb(Filled::new(10, 10_000))]
#[bench::of_1_mb(Filled::new(10, 1_000_000))]
#[bench::with_its_304(Filled::known(10_000, 1024))]
fn response(filled: Filled) -> Filled {
    filled.answer()
}

struct Lookup {
    runtime: Runtime,
    cache: Cache<NotFound>,
    keys: Vec<String>,
    /// The result of a load. It is ready at once, so that the count includes no work of the
    /// upstream.
    outcome: Result<Loaded, NotFound>,
}

impl Lookup {
    /// Builds a thousand names without an entry, in a cache that has entries for others.
    fn new(outcome: Result<Loaded, NotFound>) -> Self {
        let runtime = runtime();
        let mut keys = filled::keys(10_000 + TIMES);
        let new = keys.split_off(10_000);
        let cache = filled::filled(&runtime, &keys, 1024);
        Self { runtime, cache, keys: new, outcome }
    }

    fn of_existing_key(storable: bool) -> Self {
        Self::new(Ok(Loaded { storable, ..filled::loaded(1024) }))
    }

    /// Builds names that have negative entries.
    fn of_missing_key() -> Self {
        Self::new(Err(NotFound)).get()
    }

    fn get(self) -> Self {
        self.runtime.block_on(async {
            for key in &self.keys {
                let outcome = self.outcome.clone();
                let load = |_| async move { outcome };
                let answer = self.cache.get(black_box(key), Mode::Normal, load).await;
                assert_eq!(black_box(answer).is_ok(), self.outcome.is_ok());
            }
        });
        self
    }
}

#[library_benchmark]
#[bench::negative(Lookup::of_missing_key())]
// The difference between the two is the cost of storing an entry.
#[bench::miss(Lookup::of_existing_key(true))]
#[bench::miss_not_stored(Lookup::of_existing_key(false))]
fn get(lookup: Lookup) -> Lookup {
    lookup.get()
}

library_benchmark_group!(name = lookups, benchmarks = [fresh, response, get]);
