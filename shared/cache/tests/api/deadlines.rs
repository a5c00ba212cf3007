//! Deadlines: a load that outlasts a request continues, and the request gets the best that there is.

use super::*;

/// The duration of a load that outlasts several requests.
const LONG: Duration = Duration::from_secs(100);
const DEADLINE: Duration = Duration::from_secs(5);

/// Requests the key with a deadline. A load that this request starts takes [`LONG`].
async fn get_until(
    cache: &Cache<Error>,
    upstream: &Upstream,
    mode: Mode,
    result: std::result::Result<&str, Error>,
) -> Result {
    let load = upstream.load(result.map(loaded));
    let slow = move |context| {
        let load = load(context);
        async move {
            sleep(LONG - LATENCY).await;
            load.await
        }
    };
    cache.get_until("key", mode, Instant::now() + DEADLINE, || Error::Late, slow).await
}

async fn normal(cache: &Cache<Error>, upstream: &Upstream, text: &str) -> Result {
    get_until(cache, upstream, Mode::Normal, Ok(text)).await
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_entry_gets_its_own_error_at_the_deadline() {
    let (cache, upstream) = (cache(), Upstream::default());
    for collapsed in ["", "; collapsed"] {
        let requested_at = Instant::now();
        let late = normal(&cache, &upstream, "a").await;
        assert_eq!(summary(&late), error(Error::Late, Outcome::Error));
        assert_eq!(requested_at.elapsed(), DEADLINE);
        let status = late.err().unwrap().cache_status();
        assert_eq!(status, format!("here; fwd=miss{collapsed}"));
    }
    sleep(LONG).await;
    assert_eq!(summary(&normal(&cache, &upstream, "b").await), ok("a", Outcome::Hit));
    assert_eq!(upstream.calls(), 1, "the load has outlived both requests");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_ends_before_the_deadline_is_served() {
    let (cache, upstream) = (cache(), Upstream::default());
    normal(&cache, &upstream, "a").await.err().unwrap();
    sleep(LONG - DEADLINE - SECOND).await;
    assert_eq!(summary(&normal(&cache, &upstream, "b").await), ok("a", Outcome::Coalesced));
}

#[tokio::test(start_paused = true)]
async fn a_usable_entry_is_served_at_the_deadline_and_then_at_once() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let requested_at = Instant::now();
    let late = normal(&cache, &upstream, "b").await;
    assert_eq!(summary(&late), ok("a", Outcome::StaleError));
    assert_eq!(requested_at.elapsed(), DEADLINE);
    let status = late.ok().unwrap().cache_status();
    assert_eq!(status, "here; fwd=stale; ttl=-35; detail=stale-if-error");

    let requested_at = Instant::now();
    for _ in 0..50 {
        assert_eq!(summary(&normal(&cache, &upstream, "c").await), ok("a", Outcome::StaleError));
    }
    assert_eq!(requested_at.elapsed(), Duration::ZERO, "the load has taken that long already");
    sleep(LONG).await;
    assert_eq!(summary(&normal(&cache, &upstream, "d").await), ok("b", Outcome::Hit));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_at_its_deadline_gets_the_entry_and_the_load_continues() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let load = || upstream.load(Ok(loaded("b")));
    let now = Instant::now();
    let first = cache.get_until("key", Mode::Normal, now, || Error::Late, load()).await;
    assert_eq!(summary(&first), ok("a", Outcome::StaleError));
    let second = cache.get_until("key", Mode::Normal, now + SECOND, || Error::Late, load()).await;
    assert_eq!(summary(&second), ok("b", Outcome::Coalesced));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_expires_before_the_deadline_is_not_served() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_IF_ERROR_FOR - SECOND).await;
    let late = normal(&cache, &upstream, "b").await;
    assert_eq!(summary(&late), error(Error::Late, Outcome::Error));
}

#[tokio::test(start_paused = true)]
async fn a_revalidation_waits_until_its_deadline() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    for _ in 0..2 {
        let requested_at = Instant::now();
        let late = get_until(&cache, &upstream, Mode::Revalidate, Ok("b")).await;
        assert_eq!(summary(&late), ok("a", Outcome::Hit), "the entry is still fresh");
        assert_eq!(requested_at.elapsed(), DEADLINE);
    }
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_a_long_load_backs_off_like_any_other() {
    let (cache, upstream) = (cache(), Upstream::default());
    upstream.get(&cache, Ok("a")).await.unwrap();
    sleep(FRESH_FOR + STALE_FOR).await;
    let late = get_until(&cache, &upstream, Mode::Normal, Err(Error::Down)).await;
    assert_eq!(summary(&late), ok("a", Outcome::StaleError));
    sleep(LONG - DEADLINE).await;
    assert_eq!(summary(&normal(&cache, &upstream, "b").await), ok("a", Outcome::StaleError));
    assert_eq!(upstream.calls(), 2, "loads pause after the failure");
}
