//! Subscriptions to the events of a key.

use tokio::time::timeout;

use super::*;

/// Waits for an event that is due at once. Returns whether there was one.
async fn event(subscription: &mut cache::Subscription) -> bool {
    timeout(Duration::from_millis(1), subscription.event()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_subscription_reports_each_load_of_its_key_and_each_change() {
    let (cache, upstream) = (cache(), Upstream::default());
    let mut subscription = cache.subscribe("key").unwrap();
    assert!(!event(&mut subscription).await);

    upstream.get(&cache, Ok("a")).await.unwrap();
    assert!(event(&mut subscription).await, "a load ended");
    assert!(!event(&mut subscription).await, "each event is reported once");
    upstream.get(&cache, Ok("b")).await.unwrap();
    assert!(!event(&mut subscription).await, "a hit is no event");

    for effect in [Effect::MarkStale, Effect::Expire, Effect::Drop] {
        change(&cache, effect);
        assert!(event(&mut subscription).await, "{effect:?}");
    }
    assert!(upstream.get(&cache, Err(Error::Down)).await.is_err());
    assert!(event(&mut subscription).await, "a load failed");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_reports_changes_alone_if_asked() {
    let (cache, upstream) = (cache(), Upstream::default());
    let mut subscription = cache.subscribe("key").unwrap();
    upstream.get(&cache, Ok("a")).await.unwrap();
    let load = timeout(Duration::from_millis(1), subscription.change()).await;
    assert!(load.is_err(), "a load is no change");
    change(&cache, Effect::Expire);
    upstream.get(&cache, Ok("b")).await.unwrap();
    timeout(Duration::from_millis(1), subscription.change()).await.expect("a change");
    let again = timeout(Duration::from_millis(1), subscription.change()).await;
    assert!(again.is_err(), "each change is reported once");
    change(&cache, Effect::Expire);
    assert!(event(&mut subscription).await);
    let known = timeout(Duration::from_millis(1), subscription.change()).await;
    assert!(known.is_err(), "a change was reported as an event");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_does_not_report_other_keys() {
    let (cache, upstream) = (cache(), Upstream::default());
    let mut subscription = cache.subscribe("other").unwrap();
    upstream.get(&cache, Ok("a")).await.unwrap();
    change(&cache, Effect::Expire);
    assert!(!event(&mut subscription).await);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_of_one_key_are_independent() {
    let (cache, upstream) = (cache(), Upstream::default());
    let mut first = cache.subscribe("key").unwrap();
    let second = cache.subscribe("key").unwrap();
    drop(second);
    upstream.get(&cache, Ok("a")).await.unwrap();
    assert!(event(&mut first).await);
    drop(first);
    let mut third = cache.subscribe("key").unwrap();
    assert!(!event(&mut third).await, "events before the subscription do not count");
}

#[tokio::test]
async fn a_cache_that_is_off_has_no_events() {
    let settings = Settings { name: "test", hop: "here", max_bytes: 0 };
    assert!(Cache::<Error>::off(settings).subscribe("key").is_none());
}
