//! The errors "not found" and "access denied".

use super::*;

#[tokio::test(start_paused = true)]
async fn that_there_is_no_such_thing_is_remembered_for_a_while() {
    let (cache, source) = (cache(), Source::default());
    let learnt = source.get(&cache, Err(Error::NotFound)).await;
    assert_eq!(told(&learnt), error(Error::NotFound, Outcome::Miss));
    assert_eq!(learnt.err().unwrap().expires_in, Some(NEGATIVE_TTL));

    sleep(4 * SECOND).await;
    let remembered = source.get(&cache, Ok("a")).await;
    assert_eq!(told(&remembered), error(Error::NotFound, Outcome::Negative));
    let failed = remembered.err().unwrap();
    assert_eq!(failed.expires_in, Some(6 * SECOND));
    assert_eq!(failed.cache_status(), "here; hit; ttl=6");
    assert_eq!(source.calls(), 1);

    sleep(6 * SECOND).await;
    assert_eq!(told(&source.get(&cache, Ok("a")).await), is("a", Outcome::Miss));
}

#[tokio::test(start_paused = true)]
async fn not_found_and_denied_replace_a_stale_answer_at_once() {
    for refusal in [Error::NotFound, Error::Denied] {
        let (cache, source) = (cache(), Source::default());
        source.get(&cache, Ok("a")).await.unwrap();
        sleep(FRESH_FOR).await;
        let stale = source.get(&cache, Err(refusal.clone())).await;
        assert_eq!(told(&stale), is("a", Outcome::Stale), "the refresh has only begun");
        sleep(NEGATIVE_TTL + 2 * LATENCY).await;
        let result = source.get(&cache, Err(Error::Down)).await;
        assert_eq!(told(&result), error(Error::Down, Outcome::Error), "after {refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_to_who_waits_although_a_stale_answer_was_there() {
    for (refusal, outcome) in [(Error::NotFound, Outcome::Miss), (Error::Denied, Outcome::Error)] {
        let (cache, source) = (cache(), Source::default());
        source.get(&cache, Ok("a")).await.unwrap();
        sleep(FRESH_FOR + STALE_FOR).await;
        let result = source.get(&cache, Err(refusal.clone())).await;
        assert_eq!(told(&result), error(refusal, outcome));
    }
}

#[tokio::test(start_paused = true)]
async fn denied_is_asked_again_each_time() {
    let (cache, source) = (cache(), Source::default());
    for _ in 0..3 {
        let denied = source.get(&cache, Err(Error::Denied)).await.err().unwrap();
        assert_eq!(denied.expires_in, None);
        assert_eq!(denied.cache_status(), "here; fwd=miss");
    }
    assert_eq!(source.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_forced_revalidation_looks_past_a_negative_answer_and_clears_it() {
    let (cache, source) = (cache(), Source::default());
    let _ = source.get(&cache, Err(Error::NotFound)).await;
    let forced = cache.get("key", Mode::Revalidate, source.says(Ok(loaded("a")))).await;
    assert_eq!(told(&forced), is("a", Outcome::Miss));
    cache.invalidate("key");
    assert_eq!(told(&source.get(&cache, Ok("b")).await), is("b", Outcome::Miss));
}
