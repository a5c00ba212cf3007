//! Invalidations, and loads that started before them.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::task::JoinSet;

use super::*;

/// Starts a load. The load is in progress when this function returns.
async fn start(
    cache: &Cache<Error>,
    upstream: &Upstream,
    result: std::result::Result<&str, Error>,
) -> tokio::task::JoinHandle<Result> {
    let (cache, load) = (cache.clone(), upstream.load(result.map(loaded)));
    let waiting = tokio::spawn(async move { cache.get("key", Mode::Normal, load).await });
    sleep(LATENCY / 2).await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn an_older_load_is_served_to_waiting_requests_but_not_stored() {
    let (cache, upstream) = (cache(), Upstream::default());
    let waiting = start(&cache, &upstream, Ok("old")).await;
    cache.invalidate("key");
    let result = waiting.await.unwrap();
    assert_eq!(summary(&result), ok("old", Outcome::Miss));
    assert_eq!(result.unwrap().cache_status(), "here; fwd=miss");
    assert_eq!(summary(&upstream.get(&cache, Ok("new")).await), ok("new", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn an_older_load_never_replaces_a_newer_entry() {
    for older in [Ok("old"), Err(Error::NotFound), Err(Error::Denied), Err(Error::Down)] {
        let (cache, upstream) = (cache(), Upstream::default());
        let load = upstream.load(older.clone().map(loaded));
        let slow = |context| async move {
            sleep(5 * LATENCY).await;
            load(context).await
        };
        let before = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get("key", Mode::Normal, slow).await }
        });
        sleep(LATENCY).await;
        cache.invalidate("key");
        let newer = upstream.get(&cache, Ok("new")).await;
        assert_eq!(summary(&newer), ok("new", Outcome::Miss), "it does not join the older load");
        let _ = before.await.unwrap();
        let after = upstream.get(&cache, Err(Error::Down)).await;
        assert_eq!(summary(&after), ok("new", Outcome::Hit), "after {older:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_load_that_panics_does_not_affect_a_newer_load() {
    let (cache, upstream) = (cache(), Upstream::default());
    let older = tokio::spawn({
        let (cache, load) = (cache.clone(), upstream.panics());
        async move { cache.get("key", Mode::Normal, load).await }
    });
    sleep(LATENCY / 2).await;
    cache.invalidate("key");
    let newer = start(&cache, &upstream, Ok("new")).await;
    assert!(older.await.unwrap().is_err());
    let joined = upstream.get(&cache, Ok("another")).await;
    assert_eq!(
        summary(&joined),
        ok("new", Outcome::Coalesced),
        "the newer one is still in progress"
    );
    assert_eq!(summary(&newer.await.unwrap()), ok("new", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_entry_is_not_served_after_a_failed_load() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let waiting = start(&cache, &upstream, Err(Error::Down)).await;
    cache.invalidate("key");
    let result = waiting.await.unwrap();
    assert_eq!(summary(&result), error(Error::Down, Outcome::Error));
}

/// On several threads, no reader sees an older response after a newer one, and a key has one load
/// at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_thread_sees_an_older_response_after_a_newer_one() {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let cache = cache();
    let serials: Arc<[AtomicU64; 3]> = Arc::default();
    let in_progress: Arc<[AtomicU64; 3]> = Arc::default();
    // Entries are fresh for 20 µs only, so nearly every request loads.
    let freshness = Freshness::new(Duration::from_micros(20), Duration::from_micros(20), SECOND);
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (cache, serials, in_progress) = (cache.clone(), serials.clone(), in_progress.clone());
        readers.spawn(async move {
            let mut newest = [0; 3];
            for round in 0..3000 {
                let which = round % KEYS.len();
                let (serials, in_progress) = (serials.clone(), in_progress.clone());
                let load = move |_| async move {
                    assert_eq!(in_progress[which].fetch_add(1, SeqCst), 0, "two loads of one key");
                    tokio::task::yield_now().await;
                    let serial = serials[which].fetch_add(1, SeqCst) + 1;
                    in_progress[which].fetch_sub(1, SeqCst);
                    Ok(Loaded::new(CachedBody::json(&serial).unwrap(), freshness))
                };
                let served = cache.get(KEYS[which], Mode::Normal, load).await.unwrap();
                let serial: u64 = serde_json::from_slice(served.body().bytes()).unwrap();
                assert!(serial >= newest[which], "{serial} after {}", newest[which]);
                newest[which] = serial;
            }
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    assert!(serials.iter().all(|serial| serial.load(SeqCst) > 100), "it did load");
}
