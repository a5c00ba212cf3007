//! Lookups of entries that are fresh, stale, usable for `stale-if-error`, or expired.

use shared::cache::{Cache, Settings};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_spares_the_source() {
    let (cache, source) = (cache(), Source::default());
    assert!(cache.lookup("key", Instant::now()).is_none());
    assert_eq!(told(&source.get(&cache, Ok("a")).await), is("a", Outcome::Miss));
    sleep(FRESH_FOR - SECOND).await;
    assert_eq!(told(&source.get(&cache, Ok("b")).await), is("a", Outcome::Hit));
    assert_eq!(
        told(&Ok(cache.lookup("key", Instant::now()).unwrap().unwrap())),
        is("a", Outcome::Hit)
    );
    assert_eq!(source.calls(), 1);
    sleep(SECOND).await;
    assert!(cache.lookup("key", Instant::now()).is_none(), "it is stale now");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_given_at_once_and_refreshed_once() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR).await;
    let asked_at = Instant::now();
    for _ in 0..50 {
        assert_eq!(told(&source.get(&cache, Ok("b")).await), is("a", Outcome::Stale));
    }
    assert_eq!(asked_at.elapsed(), Duration::ZERO, "nobody waits for the refresh");
    sleep(2 * LATENCY).await;
    assert_eq!(source.urgencies(), [Urgency::Miss, Urgency::Refresh]);
    assert_eq!(told(&source.get(&cache, Ok("c")).await), is("b", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_repeated_only_after_a_pause_that_grows() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR).await;
    let mut refreshed_at = Vec::new();
    // The loop continues past the stale window, where each request would otherwise wait for its
    // load.
    for tenths in 0..1500 {
        let calls = source.calls();
        let (text, outcome) = told(&source.get(&cache, Err(Error::Down)).await);
        assert_eq!(text, "a");
        assert!(matches!(outcome, Outcome::Stale | Outcome::StaleError));
        sleep(2 * LATENCY).await;
        if source.calls() > calls {
            refreshed_at.push(tenths);
        }
    }
    let pauses: Vec<i32> = refreshed_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((5..=13).contains(&pauses[0]), "about a second at first: {pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 303), "half a minute at most: {pauses:?}");
    assert!((8..=18).contains(&pauses.len()), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_good_refresh_ends_the_pause() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR).await;
    source.get(&cache, Err(Error::Down)).await.unwrap();
    sleep(2 * SECOND).await;
    source.get(&cache, Ok("b")).await.unwrap();
    sleep(FRESH_FOR + LATENCY).await;
    assert_eq!(told(&source.get(&cache, Ok("c")).await), is("b", Outcome::Stale));
    sleep(2 * LATENCY).await;
    assert_eq!(told(&source.get(&cache, Ok("d")).await), is("c", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn past_the_stale_window_a_source_that_works_is_waited_for() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    assert_eq!(told(&source.get(&cache, Ok("b")).await), is("b", Outcome::Miss));
    assert_eq!(source.last_attempt().urgency, Urgency::Revalidation);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_stood_in_for_and_then_left_in_peace() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    for _ in 0..50 {
        let result = source.get(&cache, Err(Error::Down)).await;
        assert_eq!(told(&result), is("a", Outcome::StaleError));
    }
    assert_eq!(source.calls(), 2, "the pause after the first failure spares it the other 49");
}

#[tokio::test(start_paused = true)]
async fn past_its_bound_an_answer_is_gone() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + LAST_RESORT_FOR - 2 * LATENCY).await;
    let last = source.get(&cache, Err(Error::Down)).await;
    assert_eq!(told(&last), is("a", Outcome::StaleError));
    sleep(LATENCY).await;
    let result = source.get(&cache, Err(Error::Down)).await;
    assert_eq!(told(&result), error(Error::Down, Outcome::Error));
    assert_eq!(source.last_attempt().urgency, Urgency::Miss);
    assert!(source.last_attempt().previous.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_outlived_while_the_source_fails_is_not_given() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + LAST_RESORT_FOR - LATENCY / 2).await;
    let result = source.get(&cache, Err(Error::Down)).await;
    assert_eq!(told(&result), error(Error::Down, Outcome::Error));
}

#[tokio::test(start_paused = true)]
async fn errors_are_not_kept() {
    let (cache, source) = (cache(), Source::default());
    for failure in [Error::Down, Error::Denied] {
        let result = source.get(&cache, Err(failure.clone())).await;
        assert_eq!(told(&result), error(failure, Outcome::Error));
    }
    assert_eq!(told(&source.get(&cache, Ok("a")).await), is("a", Outcome::Miss));
    assert_eq!(source.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_forced_revalidation_asks_although_the_answer_is_fresh() {
    let (cache, source) = (cache(), Source::default());
    let force = |says| cache.get("key", Mode::Revalidate, source.says(says));
    source.get(&cache, Ok("a")).await.unwrap();
    assert_eq!(told(&force(Ok(loaded("b"))).await), is("b", Outcome::Miss));
    assert_eq!(source.last_attempt().urgency, Urgency::Revalidation);
    assert_eq!(told(&source.get(&cache, Ok("c")).await), is("b", Outcome::Hit));

    let failed = force(Err(Error::Down)).await;
    assert_eq!(told(&failed), is("b", Outcome::Hit), "what is fresh stands in as it is");
    sleep(FRESH_FOR).await;
    let failed = force(Err(Error::Down)).await;
    assert_eq!(told(&failed), is("b", Outcome::StaleError));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_kept_is_not_and_replaces_what_was() {
    let (cache, source) = (cache(), Source::default());
    source.get(&cache, Ok("open")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let unstorable = Loaded { storable: false, ..loaded("closed") };
    let result = cache.get("key", Mode::Normal, source.says(Ok(unstorable))).await;
    assert_eq!(told(&result), is("closed", Outcome::Miss));
    let result = source.get(&cache, Err(Error::Down)).await;
    assert_eq!(told(&result), error(Error::Down, Outcome::Error), "\"open\" is gone");
}

#[tokio::test(start_paused = true)]
async fn a_load_may_renew_what_is_kept() {
    let (cache, source) = (cache(), Source::default());
    let first = Loaded { validator: Some(b"\"v1\"".as_slice().into()), ..loaded("a") };
    cache.get("key", Mode::Normal, source.says(Ok(first))).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let renew = |attempt: Attempt| async {
        let previous = attempt.previous.ok_or(Error::Down)?;
        assert_eq!(&*previous.validator.unwrap(), b"\"v1\"");
        Ok(Loaded::new(previous.answer, freshness()))
    };
    let renewed = cache.get("key", Mode::Normal, renew).await;
    assert_eq!(told(&renewed), is("a", Outcome::Miss));
    assert_eq!(renewed.unwrap().age(), Duration::ZERO);
    assert_eq!(told(&source.get(&cache, Ok("b")).await), is("a", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_old_has_the_less_left() {
    let (cache, source) = (cache(), Source::default());
    let mut old = loaded("old");
    old.freshness.age_at_load = FRESH_FOR + STALE_FOR - SECOND;
    cache.get("key", Mode::Normal, source.says(Ok(old))).await.unwrap();
    assert_eq!(told(&source.get(&cache, Err(Error::Down)).await), is("old", Outcome::Stale));
    sleep(LAST_RESORT_FOR - STALE_FOR).await;
    let late = source.get(&cache, Err(Error::Down)).await;
    assert_eq!(late.as_ref().unwrap().age(), FRESH_FOR + LAST_RESORT_FOR - SECOND + LATENCY);
    sleep(SECOND).await;
    assert!(
        source.get(&cache, Err(Error::Down)).await.is_err(),
        "its bound counts from the origin"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_off_keeps_nothing_and_lets_everything_through() {
    let settings = Settings { name: "test", hop: "here", max_bytes: 0 };
    let (cache, source) = (Cache::off(settings), Source::default());
    for _ in 0..2 {
        assert_eq!(told(&source.get(&cache, Ok("a")).await), is("a", Outcome::Bypass));
        let missing = source.get(&cache, Err(Error::NotFound)).await;
        assert_eq!(told(&missing), error(Error::NotFound, Outcome::Bypass));
        let down = source.get(&cache, Err(Error::Down)).await;
        assert_eq!(told(&down), error(Error::Down, Outcome::Error));
    }
    assert_eq!(source.calls(), 6);
    assert!(cache.lookup("key", Instant::now()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_keys_of_the_same_second_are_refreshed_over_many() {
    fastrand::seed(7);
    let (cache, source) = (cache_of(16 << 20), Source::default());
    let keys: Vec<String> = (0..1000).map(|number| format!("/app/{number}")).collect();
    for key in &keys {
        let jittered = Loaded { freshness: freshness().jittered(0.1), ..loaded("a") };
        cache.get(key, Mode::Normal, |_| async { Ok(jittered) }).await.unwrap();
    }
    let mut per_second = Vec::new();
    for _ in 0..=FRESH_FOR.as_secs() {
        let before = source.calls();
        for key in &keys {
            cache.get(key, Mode::Normal, source.says(Ok(loaded("b")))).await.unwrap();
        }
        sleep(SECOND).await;
        per_second.push(source.calls() - before);
    }
    // A tenth of a minute is six seconds. An even spread would be 167 keys in each second.
    assert_eq!(per_second.iter().sum::<usize>(), 1000, "each once: {per_second:?}");
    assert!(per_second.iter().all(|calls| *calls < 250), "{per_second:?}");
    assert!(per_second[..53].iter().all(|calls| *calls == 0), "{per_second:?}");
}

/// moka's clock is the real one, so this test waits for real time to pass.
#[tokio::test]
async fn an_answer_outlives_the_end_of_the_one_that_it_replaced() {
    let (cache, source) = (cache(), Source::default());
    let moment = Duration::from_millis(100);
    let mut short = loaded("short");
    short.freshness = Freshness::new(moment, moment, moment);
    cache.get("key", Mode::Normal, |_| async { Ok(short) }).await.unwrap();
    cache.get("key", Mode::Revalidate, |_| async { Ok(loaded("long")) }).await.unwrap();
    sleep(3 * moment).await;
    cache.sync();
    assert_eq!(told(&source.get(&cache, Ok("new")).await), is("long", Outcome::Hit));
}
