//! Changes of the upstream's data, and loads that started before them.

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
async fn an_entry_that_may_have_changed_is_served_once_more_while_it_is_refreshed() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("old")).await.unwrap();
    change(&cache, Effect::MarkStale);
    assert_eq!(summary(&upstream.get(&cache, Ok("new")).await), ok("old", Outcome::Stale));
    sleep(2 * LATENCY).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("unused")).await), ok("new", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_may_have_changed_is_stale_no_longer_than_the_window_and_the_bound() {
    for (age, window) in [(10 * SECOND, STALE_FOR), (FRESH_FOR - SECOND, STALE_FOR)] {
        let (cache, upstream) = (cache(), Upstream::default());
        upstream.get(&cache, Ok("old")).await.unwrap();
        sleep(age).await;
        change(&cache, Effect::MarkStale);
        sleep(window - SECOND).await;
        assert_eq!(summary(&upstream.get(&cache, Err(Error::Down)).await).1, Outcome::Stale);
        sleep(2 * SECOND).await;
        assert_eq!(summary(&upstream.get(&cache, Err(Error::Down)).await).1, Outcome::StaleError);
        sleep(FRESH_FOR + STALE_IF_ERROR_FOR - age - window - SECOND).await;
        assert_eq!(summary(&upstream.get(&cache, Err(Error::Down)).await).1, Outcome::Error);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_entry_is_served_only_if_the_load_fails() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("old")).await.unwrap();
    change(&cache, Effect::Expire);
    let served = upstream.get(&cache, Err(Error::Down)).await;
    assert_eq!(summary(&served), ok("old", Outcome::StaleError));
    let response = served.unwrap().response(&::http::HeaderMap::new());
    let cache_control = response.headers()["cache-control"].to_str().unwrap().to_owned();
    assert!(cache_control.starts_with("max-age=0, stale-while-revalidate=0, stale-if-error=6"));
    sleep(SECOND).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("new")).await), ok("new", Outcome::Miss));
    let outdated_at = upstream.last_context().stored.unwrap().outdated_at;
    assert_eq!(outdated_at.map(|at| at.elapsed()), Some(2 * LATENCY + SECOND));
}

#[tokio::test(start_paused = true)]
async fn an_expired_entry_is_loaded_although_its_last_load_failed() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("old")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    upstream.get(&cache, Err(Error::Down)).await.unwrap();
    change(&cache, Effect::Expire);
    assert_eq!(summary(&upstream.get(&cache, Ok("new")).await), ok("new", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn an_entry_with_a_minimum_interval_is_not_loaded_again_after_each_change() {
    let (cache, upstream) = (cache(), Upstream::default());
    let get = async |text| {
        let loaded = Loaded { min_interval: 10 * SECOND, ..loaded(text) };
        cache.get("key", Mode::Normal, upstream.load(Ok(loaded))).await
    };
    get("first").await.unwrap();
    for _ in 0..3 {
        change(&cache, Effect::Expire);
        assert_eq!(summary(&get("unused").await), ok("first", Outcome::StaleError));
        sleep(3 * SECOND).await;
    }
    sleep(SECOND).await;
    assert_eq!(summary(&get("second").await), ok("second", Outcome::Miss));
    assert_eq!(upstream.calls(), 2);
    change(&cache, Effect::MarkStale);
    assert_eq!(summary(&get("unused").await), ok("second", Outcome::Stale));
    assert_eq!(upstream.calls(), 2, "it is not refreshed either");
}

#[tokio::test(start_paused = true)]
async fn a_change_drops_a_negative_entry() {
    for effect in [Effect::MarkStale, Effect::Expire, Effect::Drop] {
        let (cache, upstream) = (cache(), Upstream::default());
        let missing = upstream.get(&cache, Err(Error::NotFound)).await;
        assert_eq!(summary(&missing), error(Error::NotFound, Outcome::Miss));
        change(&cache, effect);
        assert_eq!(summary(&upstream.get(&cache, Ok("new")).await), ok("new", Outcome::Miss));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_another_key_concerns_no_entry_and_no_load() {
    let (cache, upstream) = (cache(), Upstream::default());
    let waiting = start(&cache, &upstream, Ok("a")).await;
    cache.apply(|key| if key == "key" { Effect::Keep } else { Effect::Drop });
    waiting.await.unwrap().unwrap();
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::Hit));
    cache.apply(|key| if key == "key" { Effect::Keep } else { Effect::Drop });
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn an_older_load_is_served_to_waiting_requests_but_not_stored_as_fresh() {
    for (effect, cache_status, next) in [
        (Effect::MarkStale, "here; fwd=miss; stored", ok("old", Outcome::Stale)),
        (Effect::Expire, "here; fwd=miss; stored", ok("new", Outcome::Miss)),
        (Effect::Drop, "here; fwd=miss", ok("new", Outcome::Miss)),
    ] {
        let (cache, upstream) = (cache(), Upstream::default());
        let waiting = start(&cache, &upstream, Ok("old")).await;
        change(&cache, effect);
        let result = waiting.await.unwrap();
        assert_eq!(summary(&result), ok("old", Outcome::Miss));
        assert_eq!(result.unwrap().cache_status(), cache_status);
        assert_eq!(summary(&upstream.get(&cache, Ok("new")).await), next, "{effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_after_a_change_waits_for_the_end_of_the_older_load_and_makes_its_own() {
    let outcomes = [Ok("old"), Err(Error::NotFound), Err(Error::Denied), Err(Error::Down)];
    for effect in [Effect::Expire, Effect::Drop] {
        for older in outcomes.clone() {
            let (cache, upstream) = (cache(), Upstream::default());
            let before = start(&cache, &upstream, older.clone()).await;
            change(&cache, effect);
            let newer = upstream.get(&cache, Ok("new")).await;
            assert_eq!(summary(&newer), ok("new", Outcome::Miss), "after {older:?}");
            assert!(before.is_finished(), "the loads follow each other");
            let after = upstream.get(&cache, Err(Error::Down)).await;
            assert_eq!(summary(&after), ok("new", Outcome::Hit), "after {older:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_after_a_change_does_not_affect_the_next_load() {
    let (cache, upstream) = (cache(), Upstream::default());
    let older = tokio::spawn({
        let (cache, load) = (cache.clone(), upstream.panics());
        async move { cache.get("key", Mode::Normal, load).await }
    });
    sleep(LATENCY / 2).await;
    change(&cache, Effect::Expire);
    let newer = upstream.get(&cache, Ok("new")).await;
    assert!(older.await.unwrap().is_err());
    assert_eq!(summary(&newer), ok("new", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_an_older_load_keeps_its_deadline() {
    let (cache, upstream) = (cache(), Upstream::default());
    let older = start(&cache, &upstream, Ok("old")).await;
    change(&cache, Effect::Drop);
    let deadline = Instant::now() + LATENCY / 4;
    let late = || Error::Late;
    let load = upstream.load(Ok(loaded("new")));
    let result = cache.get_until("key", Mode::Normal, deadline, late, load).await;
    assert_eq!(summary(&result), error(Error::Late, Outcome::Error));
    older.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_entry_is_not_served_after_a_failed_load() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let waiting = start(&cache, &upstream, Err(Error::Down)).await;
    change(&cache, Effect::Drop);
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
