//! A secret is wiped when its last reference is dropped, and not before.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use zeroize::{Zeroize, Zeroizing};

use super::*;

/// A body that counts its wipes and checks that they are complete.
struct Witness {
    body: Vec<u8>,
    wiped: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Witness {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Zeroize for Witness {
    fn zeroize(&mut self) {
        self.body.as_mut_slice().zeroize();
        assert!(self.body.iter().all(|byte| *byte == 0));
        self.wiped.fetch_add(1, SeqCst);
    }
}

fn secret(wiped: &Arc<AtomicUsize>) -> Loaded {
    let witness = Witness { body: b"\"hunter2\"".to_vec(), wiped: Arc::clone(wiped) };
    let body =
        CachedBody::confidential("application/json".parse().unwrap(), Zeroizing::new(witness));
    Loaded::new(body, freshness())
}

/// Waits until a secret is wiped. moka frees a dropped entry when no other thread reads it,
/// including the threads of other tests: soon, but at no predictable moment.
#[expect(clippy::disallowed_methods, reason = "the clock of tokio is paused")]
async fn wiped(cache: &Cache<Error>, wiped: &AtomicUsize) -> usize {
    let deadline = std::time::Instant::now() + 10 * SECOND;
    while wiped.load(SeqCst) == 0 && std::time::Instant::now() < deadline {
        cache.sync();
        tokio::task::yield_now().await;
    }
    wiped.load(SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_wiped_when_it_is_neither_stored_nor_being_sent() {
    let (cache, upstream, times) = (cache(), Upstream::default(), Arc::default());
    let served = cache.get("key", Mode::Normal, upstream.load(Ok(secret(&times)))).await.unwrap();
    let body = served.body().bytes().clone();
    drop(served);
    assert_eq!(
        summary(&Ok(cache.lookup("key", Instant::now()).unwrap().unwrap())),
        ok("hunter2", Outcome::Hit)
    );

    change(&cache, Effect::Drop);
    cache.sync();
    assert_eq!(times.load(SeqCst), 0, "a response still sends it");
    drop(body);
    assert_eq!(wiped(&cache, &times).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_replaced_is_wiped() {
    let (cache, times) = (cache(), Arc::default());
    let secret = secret(&times);
    cache.get("key", Mode::Normal, |_| async { Ok(secret) }).await.unwrap();
    cache.get("key", Mode::Revalidate, |_| async { Ok(loaded("b")) }).await.unwrap();
    assert_eq!(wiped(&cache, &times).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_does_not_fit_is_wiped() {
    let (cache, upstream, times) = (cache_of(600), Upstream::default(), Arc::default());
    cache.get("key", Mode::Normal, upstream.load(Ok(secret(&times)))).await.unwrap();
    assert_eq!(wiped(&cache, &times).await, 1);
}

/// moka's clock is the real one, so only this test waits for real time to pass.
#[tokio::test]
async fn an_expired_secret_is_wiped_without_another_request() {
    let (cache, times) = (cache(), Arc::default());
    let moment = Duration::from_millis(20);
    let mut secret = secret(&times);
    secret.freshness = Freshness::new(moment, Duration::ZERO, moment);
    cache.get("key", Mode::Normal, |_| async { Ok(secret) }).await.unwrap();
    assert_eq!(wiped(&cache, &times).await, 1);
}
