//! Invalidations, and loads that began before them.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::task::JoinSet;

use super::*;

/// Begins a load. The load is in progress when this function returns.
async fn begin(
    cache: &Cache<Error>,
    source: &Source,
    says: std::result::Result<&str, Error>,
) -> tokio::task::JoinHandle<Result> {
    let (cache, load) = (cache.clone(), source.says(says.map(loaded)));
    let waiting = tokio::spawn(async move { cache.get("key", Mode::Normal, load).await });
    sleep(LATENCY / 2).await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn an_older_load_answers_who_waits_but_is_not_kept() {
    let (cache, source) = (cache(), Source::default());
    let waiting = begin(&cache, &source, Ok("old")).await;
    cache.invalidate("key");
    let result = waiting.await.unwrap();
    assert_eq!(told(&result), is("old", Outcome::Miss));
    assert_eq!(result.unwrap().cache_status(), "here; fwd=miss");
    assert_eq!(told(&source.get(&cache, Ok("new")).await), is("new", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn whatever_an_older_load_says_a_newer_one_is_not_undone() {
    for older in [Ok("old"), Err(Error::NotFound), Err(Error::Denied), Err(Error::Down)] {
        let (cache, source) = (cache(), Source::default());
        let load = source.says(older.clone().map(loaded));
        let slow = |attempt| async move {
            sleep(5 * LATENCY).await;
            load(attempt).await
        };
        let before = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get("key", Mode::Normal, slow).await }
        });
        sleep(LATENCY).await;
        cache.invalidate("key");
        let newer = source.get(&cache, Ok("new")).await;
        assert_eq!(told(&newer), is("new", Outcome::Miss), "it does not join the older one");
        let _ = before.await.unwrap();
        let after = source.get(&cache, Err(Error::Down)).await;
        assert_eq!(told(&after), is("new", Outcome::Hit), "after {older:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_load_that_panics_leaves_the_newer_one_alone() {
    let (cache, source) = (cache(), Source::default());
    let older = tokio::spawn({
        let (cache, load) = (cache.clone(), source.panics());
        async move { cache.get("key", Mode::Normal, load).await }
    });
    sleep(LATENCY / 2).await;
    cache.invalidate("key");
    let newer = begin(&cache, &source, Ok("new")).await;
    assert!(older.await.unwrap().is_err());
    let joined = source.get(&cache, Ok("another")).await;
    assert_eq!(told(&joined), is("new", Outcome::Coalesced), "the newer one is still under way");
    assert_eq!(told(&newer.await.unwrap()), is("new", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_answer_never_stands_in_for_a_failing_source() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let waiting = begin(&cache, &source, Err(Error::Down)).await;
    cache.invalidate("key");
    let result = waiting.await.unwrap();
    assert_eq!(told(&result), error(Error::Down, Outcome::Error));
}

/// On several threads, no reader sees an older response after a newer one, and a key has one load
/// at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_nobody_steps_back_in_time() {
    const KEYS: [&str; 3] = ["a", "b", "c"];
    let cache = cache();
    let serials: Arc<[AtomicU64; 3]> = Arc::default();
    let under_way: Arc<[AtomicU64; 3]> = Arc::default();
    // Entries are fresh for 20 µs only, so nearly every request loads.
    let freshness = Freshness::new(Duration::from_micros(20), Duration::from_micros(20), SECOND);
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (cache, serials, under_way) = (cache.clone(), serials.clone(), under_way.clone());
        readers.spawn(async move {
            let mut newest = [0; 3];
            for round in 0..3000 {
                let which = round % KEYS.len();
                let (serials, under_way) = (serials.clone(), under_way.clone());
                let load = move |_| async move {
                    assert_eq!(under_way[which].fetch_add(1, SeqCst), 0, "two loads of one key");
                    tokio::task::yield_now().await;
                    let serial = serials[which].fetch_add(1, SeqCst) + 1;
                    under_way[which].fetch_sub(1, SeqCst);
                    Ok(Loaded::new(Answer::json(&serial).unwrap(), freshness))
                };
                let served = cache.get(KEYS[which], Mode::Normal, load).await.unwrap();
                let serial: u64 = serde_json::from_slice(served.answer().body()).unwrap();
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
