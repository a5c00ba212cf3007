//! The cache by itself.

use std::hint::black_box;

use gungraun::prelude::*;
use http::{HeaderMap, header};
use shared::cache::{Cache, Mode};
use tokio::runtime::Runtime;

use crate::{
    TIMES,
    filled::{self, NoSuchThing},
    traffic::runtime,
};

/// So that one turn after another goes to another part of a filled cache.
const STRIDE: usize = 7919;

struct Filled {
    cache: Cache<NoSuchThing>,
    keys: Vec<String>,
    request: HeaderMap,
}

impl Filled {
    fn new(keys: usize, bytes: usize) -> Self {
        let keys = filled::keys(keys);
        let cache = filled::filled(&runtime(), &keys, bytes);
        Self { cache, keys, request: HeaderMap::new() }
    }

    /// With a request that knows the answer already: each key's is the same.
    fn known(keys: usize, bytes: usize) -> Self {
        let mut filled = Self::new(keys, bytes);
        let served = filled.cache.fresh(&filled.keys[0]).expect("it is kept");
        let tag = served.answer().etag().expect("a tag").clone();
        filled.request.insert(header::IF_NONE_MATCH, tag);
        filled
    }

    fn some_keys(&self) -> impl Iterator<Item = &str> {
        (0..TIMES).map(|turn| black_box(self.keys[turn * STRIDE % self.keys.len()].as_str()))
    }
}

#[library_benchmark]
#[bench::of_10_000_keys(Filled::new(10_000, 1024))]
fn fresh(filled: Filled) -> Filled {
    for key in filled.some_keys() {
        black_box(filled.cache.fresh(key).expect("it is kept"));
    }
    filled
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
    for key in filled.some_keys() {
        let served = filled.cache.fresh(key).expect("it is kept");
        black_box(served.response(&filled.request));
    }
    filled
}

struct Asked {
    runtime: Runtime,
    cache: Cache<NoSuchThing>,
    keys: Vec<String>,
    storable: bool,
}

impl Asked {
    /// A thousand names of which nothing is known yet, asked of a cache that knows others.
    fn for_new_names(storable: bool) -> Self {
        let runtime = runtime();
        let mut keys = filled::keys(10_000 + TIMES);
        let new = keys.split_off(10_000);
        let cache = filled::filled(&runtime, &keys, 1024);
        Self { runtime, cache, keys: new, storable }
    }

    /// A thousand names that are known not to exist.
    fn for_no_names() -> Self {
        let asked = Self::for_new_names(true);
        for key in &asked.keys {
            let load = |_| async { Err(NoSuchThing) };
            assert!(asked.runtime.block_on(asked.cache.get(key, Mode::Normal, load)).is_err());
        }
        asked
    }
}

#[library_benchmark]
#[bench::of_11_000_keys(Asked::for_no_names())]
fn negative(asked: Asked) -> Asked {
    asked.runtime.block_on(async {
        for key in &asked.keys {
            let load = |_| async { panic!("it is known already") };
            let failed = asked.cache.get(black_box(key), Mode::Normal, load).await;
            black_box(failed.err().expect("no such thing"));
        }
    });
    asked
}

// The source has answered, and takes no time: what the answer itself costs to make is not in it.
// Between the two lies what it costs to keep it.
#[library_benchmark]
#[bench::kept(Asked::for_new_names(true))]
#[bench::not_kept(Asked::for_new_names(false))]
fn miss(asked: Asked) -> Asked {
    let mut loaded = filled::loaded(1024);
    loaded.storable = asked.storable;
    asked.runtime.block_on(async {
        for key in &asked.keys {
            let loaded = loaded.clone();
            let load = |_| async move { Ok(loaded) };
            let served = asked.cache.get(black_box(key), Mode::Normal, load).await;
            black_box(served.ok().expect("the source has answered"));
        }
    });
    asked
}

library_benchmark_group!(name = lookups, benchmarks = [fresh, response, negative, miss]);
