//! Compares the memory that the allocator provides for the cache with the size that the cache
//! reports.
//!
//! This is a separate program that runs one test at a time. Any thread may free moka's garbage, so
//! a parallel test would distort the measurement. `--nocapture` shows the measurements.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{ops::Range, time::Duration};

use allocation_counter::measure;
use cache::{
    Cache, CacheableError, CachedBody, Disposition, Loaded, Mode, Settings, http::Freshness,
};
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

static ALONE: Mutex<()> = Mutex::new(());

const MAX_BYTES: u64 = 16 << 20;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct NotFound;

impl CacheableError for NotFound {
    fn disposition(&self) -> Disposition {
        Disposition::Negative { ttl: MINUTE }
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

fn cache(max_bytes: u64) -> Cache<NotFound> {
    Cache::new(Settings { name: "test", hop: "here", max_bytes })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn loaded(body: &str) -> Loaded {
    Loaded::new(CachedBody::json(&body).unwrap(), Freshness::new(MINUTE, MINUTE, MINUTE))
}

/// Returns a name of the maximum length that SSM allows.
fn longest_name(number: usize) -> String {
    let number = number.to_string();
    "x".repeat(2048 - number.len()) + &number
}

/// Loads each key and returns the allocated bytes that are still held.
fn fill(
    cache: &Cache<NotFound>,
    keys: impl Iterator<Item = String>,
    result: &Result<Loaded, NotFound>,
) -> u64 {
    let runtime = runtime();
    // A copy would share its body with the other entries.
    let fresh = |result: &Result<Loaded, NotFound>| {
        let text =
            result.as_ref().map(|loaded| serde_json::from_slice::<String>(loaded.body.bytes()));
        text.map(|text| loaded(&text.unwrap())).map_err(Clone::clone)
    };
    let held = measure(|| {
        for key in keys {
            let result = fresh(result);
            let _ = runtime.block_on(cache.get(&key, Mode::Normal, |_| async { result }));
            assert!(cache.stats().bytes <= MAX_BYTES, "the bound holds at every moment");
        }
        cache.sync();
    });
    u64::try_from(held.bytes_current).unwrap()
}

#[test]
fn a_hundred_thousand_negative_entries_stay_within_their_share() {
    let _alone = ALONE.lock();
    let cache = cache(MAX_BYTES);
    let real = || (0..100).map(|number| format!("/app/{number}"));
    fill(&cache, real(), &Ok(loaded("a")));
    let held = fill(&cache, (0..100_000).map(longest_name), &Err(NotFound));
    let counted = cache.stats().bytes;
    println!("100,000 names of 2,048 characters: {counted} bytes counted, {held} held");
    assert!(counted > MAX_BYTES / 10, "they fill their share");
    assert!(held < MAX_BYTES / 6, "{held} bytes are held");
    assert!(
        real().all(|key| cache.lookup(&key, Instant::now()).is_some()),
        "real names are still there"
    );
}

#[test]
fn entries_with_long_names_stay_within_the_bound() {
    let _alone = ALONE.lock();
    let cache = cache(MAX_BYTES);
    let held = fill(&cache, (0..20_000).map(longest_name), &Ok(loaded("a")));
    let counted = cache.stats().bytes;
    println!("20,000 responses: {counted} bytes counted, {held} held");
    assert!(counted > MAX_BYTES / 2, "they fill it");
    assert!(held < MAX_BYTES, "{held} bytes are held");
}

#[test]
fn the_counted_size_is_the_held_size() {
    let _alone = ALONE.lock();
    const ENTRIES: u64 = 2000;
    let keys = |range: Range<u64>| range.map(|number| format!("/app/{number:08}"));
    for (what, result) in [("response", Ok(loaded(&"x".repeat(300)))), ("error", Err(NotFound))] {
        let cache = cache(MAX_BYTES);
        // The first entries allocate moka's tables once: a quarter of a megabyte.
        fill(&cache, keys(0..ENTRIES / 2), &result);
        let before = cache.stats();
        let held = fill(&cache, keys(ENTRIES..2 * ENTRIES), &result) / ENTRIES;
        let after = cache.stats();
        assert_eq!(after.entries - before.entries, ENTRIES);
        let counted = (after.bytes - before.bytes) / ENTRIES;
        println!("{what}: {counted} bytes counted for each, {held} held");
        assert!(counted >= held, "{what}: {counted} bytes are counted for each, {held} held");
        assert!(counted <= held * 5 / 4, "{what}: {counted} are counted for each, {held} held");
    }
}

#[test]
fn a_hit_allocates_nothing_and_its_response_little() {
    let _alone = ALONE.lock();
    let (cache, request) = (cache(MAX_BYTES), HeaderMap::new());
    fill(&cache, ["key".to_owned()].into_iter(), &Ok(loaded("a")));
    let hit = || cache.lookup("key", Instant::now()).unwrap().unwrap();
    // The first clone of a body makes it shared, and moka's first maintenance allocates its tables.
    for _ in 0..1000 {
        let _ = hit().response(&request);
    }
    let hits = measure(|| (0..1000).for_each(|_| drop(hit()))).count_total;
    let responses = measure(|| (0..1000).for_each(|_| drop(hit().response(&request)))).count_total;
    println!("1,000 hits: {hits} allocations, with their responses {responses}");
    assert!(hits <= 10, "{hits} in 1,000 hits: no more than moka's upkeep");
    assert!(responses <= 9_010, "{responses} in 1,000 responses");
}
