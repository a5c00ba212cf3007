//! Lookups of entries that are fresh, stale, usable for `stale-if-error`, or expired.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_fresh_entry_is_served_without_a_call() {
    let (cache, upstream) = (cache(), Upstream::default());
    assert!(cache.lookup("key", Instant::now()).is_none());
    assert_eq!(summary(&upstream.get(&cache, Ok("a")).await), ok("a", Outcome::Miss));
    sleep(FRESH_FOR - SECOND).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::Hit));
    assert_eq!(
        summary(&Ok(cache.lookup("key", Instant::now()).unwrap().unwrap())),
        ok("a", Outcome::Hit)
    );
    assert_eq!(upstream.calls(), 1);
    sleep(SECOND).await;
    assert!(cache.lookup("key", Instant::now()).is_none(), "it is stale now");
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_is_served_at_once_and_refreshed_once() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR).await;
    let requested_at = Instant::now();
    for _ in 0..50 {
        assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::Stale));
    }
    assert_eq!(requested_at.elapsed(), Duration::ZERO, "no request waits for the refresh");
    sleep(2 * LATENCY).await;
    assert_eq!(upstream.priorities(), [Priority::Miss, Priority::Refresh]);
    assert_eq!(summary(&upstream.get(&cache, Ok("c")).await), ok("b", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn refreshes_back_off_after_failures() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR).await;
    let mut refreshed_at = Vec::new();
    // The loop continues past the stale window, where each request would otherwise wait for its
    // load.
    for tenths in 0..1500 {
        let calls = upstream.calls();
        let (text, outcome) = summary(&upstream.get(&cache, Err(Error::Down)).await);
        assert_eq!(text, "a");
        assert!(matches!(outcome, Outcome::Stale | Outcome::StaleError));
        sleep(2 * LATENCY).await;
        if upstream.calls() > calls {
            refreshed_at.push(tenths);
        }
    }
    let pauses: Vec<i32> = refreshed_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((5..=13).contains(&pauses[0]), "about a second at first: {pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 303), "half a minute at most: {pauses:?}");
    assert!((8..=18).contains(&pauses.len()), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_successful_refresh_ends_the_backoff() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR).await;
    upstream.get(&cache, Err(Error::Down)).await.unwrap();
    sleep(2 * SECOND).await;
    upstream.get(&cache, Ok("b")).await.unwrap();
    sleep(FRESH_FOR + LATENCY).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("c")).await), ok("b", Outcome::Stale));
    sleep(2 * LATENCY).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("d")).await), ok("c", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn after_the_stale_window_a_request_waits_for_the_load() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("b", Outcome::Miss));
    assert_eq!(upstream.last_context().priority, Priority::WithFallback);
}

#[tokio::test(start_paused = true)]
async fn an_entry_replaces_a_failed_load_and_further_loads_back_off() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    for _ in 0..50 {
        let result = upstream.get(&cache, Err(Error::Down)).await;
        assert_eq!(summary(&result), ok("a", Outcome::StaleError));
    }
    assert_eq!(
        upstream.calls(),
        2,
        "the pause after the first failure prevents the other 49 calls"
    );
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_not_served_after_its_bound() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_IF_ERROR_FOR - 2 * LATENCY).await;
    let last = upstream.get(&cache, Err(Error::Down)).await;
    assert_eq!(summary(&last), ok("a", Outcome::StaleError));
    sleep(LATENCY).await;
    let result = upstream.get(&cache, Err(Error::Down)).await;
    assert_eq!(summary(&result), error(Error::Down, Outcome::Error));
    assert_eq!(upstream.last_context().priority, Priority::Miss);
    assert!(upstream.last_context().stored.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_expires_during_a_failing_load_is_not_served() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_IF_ERROR_FOR - LATENCY / 2).await;
    let result = upstream.get(&cache, Err(Error::Down)).await;
    assert_eq!(summary(&result), error(Error::Down, Outcome::Error));
}

#[tokio::test(start_paused = true)]
async fn errors_are_not_stored() {
    let (cache, upstream) = (cache(), Upstream::default());
    for failure in [Error::Down, Error::Denied] {
        let result = upstream.get(&cache, Err(failure.clone())).await;
        assert_eq!(summary(&result), error(failure, Outcome::Error));
    }
    assert_eq!(summary(&upstream.get(&cache, Ok("a")).await), ok("a", Outcome::Miss));
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_revalidation_loads_although_the_entry_is_fresh() {
    let (cache, upstream) = (cache(), Upstream::default());
    let revalidate = |result| cache.get("key", Mode::Revalidate, upstream.load(result));
    upstream.get(&cache, Ok("a")).await.unwrap();
    assert_eq!(summary(&revalidate(Ok(loaded("b"))).await), ok("b", Outcome::Miss));
    assert_eq!(upstream.last_context().priority, Priority::WithFallback);
    assert_eq!(summary(&upstream.get(&cache, Ok("c")).await), ok("b", Outcome::Hit));

    let failed = revalidate(Err(Error::Down)).await;
    assert_eq!(summary(&failed), ok("b", Outcome::Hit), "a fresh entry counts as a hit");
    sleep(FRESH_FOR).await;
    let failed = revalidate(Err(Error::Down)).await;
    assert_eq!(summary(&failed), ok("b", Outcome::StaleError));
}

#[tokio::test(start_paused = true)]
async fn an_unstorable_response_is_not_stored_and_removes_the_entry() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("public")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let unstorable = Loaded { storable: false, ..loaded("private") };
    let result = cache.get("key", Mode::Normal, upstream.load(Ok(unstorable))).await;
    assert_eq!(summary(&result), ok("private", Outcome::Miss));
    let result = upstream.get(&cache, Err(Error::Down)).await;
    assert_eq!(summary(&result), error(Error::Down, Outcome::Error), "the entry is removed");
}

#[tokio::test(start_paused = true)]
async fn a_load_can_renew_the_stored_response() {
    let (cache, upstream) = (cache(), Upstream::default());
    let first = Loaded { validator: Some(b"\"v1\"".as_slice().into()), ..loaded("a") };
    cache.get("key", Mode::Normal, upstream.load(Ok(first))).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let renew = |context: LoadContext| async {
        let stored = context.stored.ok_or(Error::Down)?;
        assert_eq!(&*stored.validator.unwrap(), b"\"v1\"");
        Ok(Loaded::new(stored.body, freshness()))
    };
    let renewed = cache.get("key", Mode::Normal, renew).await;
    assert_eq!(summary(&renewed), ok("a", Outcome::Miss));
    assert_eq!(renewed.unwrap().age(), Duration::ZERO);
    assert_eq!(summary(&upstream.get(&cache, Ok("b")).await), ok("a", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn the_age_at_load_shortens_the_lifetime() {
    let (cache, upstream) = (cache(), Upstream::default());
    let mut old = loaded("old");
    old.freshness.age_at_load = FRESH_FOR + STALE_FOR - SECOND;
    cache.get("key", Mode::Normal, upstream.load(Ok(old))).await.unwrap();
    assert_eq!(summary(&upstream.get(&cache, Err(Error::Down)).await), ok("old", Outcome::Stale));
    sleep(STALE_IF_ERROR_FOR - STALE_FOR).await;
    let late = upstream.get(&cache, Err(Error::Down)).await;
    assert_eq!(late.as_ref().unwrap().age(), FRESH_FOR + STALE_IF_ERROR_FOR - SECOND + LATENCY);
    sleep(SECOND).await;
    assert!(
        upstream.get(&cache, Err(Error::Down)).await.is_err(),
        "its bound counts from the origin"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_off_stores_nothing_and_passes_every_request() {
    let settings = Settings { name: "test", hop: "here", max_bytes: 0 };
    let (cache, upstream) = (Cache::off(settings), Upstream::default());
    for _ in 0..2 {
        assert_eq!(summary(&upstream.get(&cache, Ok("a")).await), ok("a", Outcome::Bypass));
        let missing = upstream.get(&cache, Err(Error::NotFound)).await;
        assert_eq!(summary(&missing), error(Error::NotFound, Outcome::Bypass));
        let down = upstream.get(&cache, Err(Error::Down)).await;
        assert_eq!(summary(&down), error(Error::Down, Outcome::Error));
    }
    assert_eq!(upstream.calls(), 6);
    assert!(cache.lookup("key", Instant::now()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_entries_of_the_same_second_are_refreshed_over_many() {
    fastrand::seed(7);
    let (cache, upstream) = (cache_of(16 << 20), Upstream::default());
    let keys: Vec<String> = (0..1000).map(|number| format!("/app/{number}")).collect();
    for key in &keys {
        let jittered = Loaded { freshness: freshness().jittered(0.1), ..loaded("a") };
        cache.get(key, Mode::Normal, |_| async { Ok(jittered) }).await.unwrap();
    }
    let mut per_second = Vec::new();
    for _ in 0..=FRESH_FOR.as_secs() {
        let before = upstream.calls();
        for key in &keys {
            cache.get(key, Mode::Normal, upstream.load(Ok(loaded("b")))).await.unwrap();
        }
        sleep(SECOND).await;
        per_second.push(upstream.calls() - before);
    }
    // A tenth of a minute is six seconds. An even spread would be 167 keys in each second.
    assert_eq!(per_second.iter().sum::<usize>(), 1000, "each once: {per_second:?}");
    assert!(per_second.iter().all(|calls| *calls < 250), "{per_second:?}");
    assert!(per_second[..53].iter().all(|calls| *calls == 0), "{per_second:?}");
}

/// moka's clock is the real one, so this test waits for real time to pass.
#[tokio::test]
async fn an_entry_outlives_the_expiry_of_the_entry_that_it_replaced() {
    let (cache, upstream) = (cache(), Upstream::default());
    let moment = Duration::from_millis(100);
    let mut short = loaded("short");
    short.freshness = Freshness::new(moment, moment, moment);
    cache.get("key", Mode::Normal, |_| async { Ok(short) }).await.unwrap();
    cache.get("key", Mode::Revalidate, |_| async { Ok(loaded("long")) }).await.unwrap();
    sleep(3 * moment).await;
    cache.sync();
    assert_eq!(summary(&upstream.get(&cache, Ok("new")).await), ok("long", Outcome::Hit));
}
