use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const TIMEOUT: Duration = Duration::from_secs(5);

/// A source that returns these results in this order. The last one is repeated.
pub(in super::super) struct Script {
    steps: Mutex<VecDeque<(Duration, Step)>>,
    loads: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Step {
    /// A key, and its lifetime.
    Load(&'static str, Option<Duration>),
    /// A failure, and whether it passes.
    Fail(bool),
    Panic,
}

impl Script {
    pub(in super::super) fn new() -> Self {
        Self { steps: Mutex::default(), loads: Arc::default() }
    }

    /// Answers the next load after this time with this key.
    pub(in super::super) fn load(
        self,
        time: Duration,
        key: &'static str,
        life: Option<Duration>,
    ) -> Self {
        self.then(time, Step::Load(key, life))
    }

    /// Fails the next load after this time.
    pub(in super::super) fn fail(self, time: Duration, passing: bool) -> Self {
        self.then(time, Step::Fail(passing))
    }

    fn then(self, time: Duration, step: Step) -> Self {
        self.steps.lock().push_back((time, step));
        self
    }

    pub(in super::super) fn start(self) -> CredentialCache {
        CredentialCache::of(self, TIMEOUT)
    }

    /// Starts a cache. Also returns the number of its loads so far.
    fn counted(self) -> (CredentialCache, Arc<AtomicUsize>) {
        let loads = Arc::clone(&self.loads);
        (self.start(), loads)
    }
}

#[async_trait]
impl CredentialSource for Script {
    async fn load(&self) -> Result<Credentials, LoadError> {
        self.loads.fetch_add(1, SeqCst);
        let (time, step) = {
            let mut steps = self.steps.lock();
            if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() }
        }
        .expect("a script has a step");
        sleep(time).await;
        match step {
            Step::Load(key, life) => {
                let expiry = life.map(|life| SystemTime::now() + life);
                Ok(Credentials::new(key, "hush", None, expiry, "script"))
            }
            Step::Fail(true) => Err(LoadError::passing("it passes")),
            Step::Fail(false) => Err(LoadError::definitive("it lasts")),
            Step::Panic => panic!("hush"),
        }
    }
}

async fn key(cache: &CredentialCache) -> String {
    cache.ready().await.expect("credentials");
    cache.provide_credentials().await.expect("credentials").access_key_id().to_owned()
}

async fn failure(cache: &CredentialCache) -> bool {
    match cache.ready().await.expect_err("no credentials") {
        Error::AwsCredentials { retryable, .. } => retryable,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_provider_is_called_once_for_all_waiting_calls() {
    let (cache, loads) = Script::new().load(4 * SECOND, "key", Some(HOUR)).counted();
    let start = Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { key(&cache).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic"), "key");
    }
    assert_eq!(start.elapsed(), 4 * SECOND);
    assert_eq!(loads.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn credentials_load_at_the_start_without_a_call() {
    let (cache, loads) = Script::new().load(SECOND, "key", None).counted();
    sleep(2 * SECOND).await;
    let start = Instant::now();
    assert_eq!(key(&cache).await, "key");
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(24 * HOUR).await;
    assert_eq!(loads.load(SeqCst), 1, "keys without an expiry are loaded once");
    assert_eq!(cache.expiry(), None);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_replaced_before_they_expire_and_no_call_waits() {
    let script = Script::new().load(Duration::ZERO, "first", Some(HOUR));
    let (cache, loads) = script.load(3 * SECOND, "second", Some(HOUR)).counted();
    assert_eq!(key(&cache).await, "first");
    // Jitter shortens the pause of 45 minutes by at most a tenth.
    sleep(40 * MINUTE).await;
    assert_eq!(loads.load(SeqCst), 1);
    let start = Instant::now();
    sleep(5 * MINUTE + SECOND).await;
    assert_eq!(loads.load(SeqCst), 2);
    let before = Instant::now();
    let during = key(&cache).await;
    assert_eq!(before.elapsed(), Duration::ZERO, "{during}, after {:?}", start.elapsed());
    sleep(5 * SECOND).await;
    assert_eq!(key(&cache).await, "second");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_live_for_a_short_time_are_replaced_after_half_of_it() {
    let (cache, loads) = Script::new().load(Duration::ZERO, "key", Some(MINUTE)).counted();
    for _ in 0..60 {
        sleep(10 * SECOND).await;
        let before = Instant::now();
        key(&cache).await;
        assert_eq!(before.elapsed(), Duration::ZERO, "no call waits");
    }
    let loads = loads.load(SeqCst);
    assert!((20..=23).contains(&loads), "{loads} loads in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn credentials_about_to_expire_do_not_cause_a_storm_of_loads() {
    let soon = Duration::from_millis(100);
    let (cache, loads) = Script::new().load(Duration::ZERO, "key", Some(soon)).counted();
    cache.ready().await.expect("credentials");
    sleep(10 * SECOND).await;
    let loads = loads.load(SeqCst);
    assert!((10..=11).contains(&loads), "{loads} loads in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_replacement_of_expired_credentials() {
    let soon = Duration::from_millis(100);
    let script = Script::new().load(Duration::ZERO, "first", Some(soon));
    let cache = script.load(2 * SECOND, "second", None).start();
    assert_eq!(key(&cache).await, "first");
    sleep(soon).await;
    assert!(cache.is_degraded());
    assert_eq!(key(&cache).await, "second");
    assert!(!cache.is_degraded());
}

#[tokio::test(start_paused = true)]
async fn a_failed_replacement_leaves_the_credentials_in_use_until_they_expire() {
    let script = Script::new().load(Duration::ZERO, "key", Some(HOUR));
    let cache = script.fail(Duration::ZERO, true).start();
    assert_eq!(key(&cache).await, "key");
    assert!(!cache.is_degraded());
    sleep(46 * MINUTE).await;
    assert!(cache.is_degraded());
    assert_eq!(key(&cache).await, "key");
    sleep(15 * MINUTE).await;
    assert!(failure(&cache).await);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_fails_after_the_timeout() {
    let (cache, loads) = Script::new().load(HOUR, "key", None).counted();
    let start = Instant::now();
    assert!(failure(&cache).await, "a timeout passes");
    assert_eq!(start.elapsed(), TIMEOUT);
    // The failure is known now, so the next call does not wait for the load in progress.
    sleep(2 * SECOND).await;
    assert_eq!(loads.load(SeqCst), 2);
    let start = Instant::now();
    assert!(failure(&cache).await);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_in_the_background_with_a_growing_pause() {
    for (passing, fewest, most) in [(true, 120, 145), (false, 14, 20)] {
        let (cache, loads) = Script::new().fail(Duration::ZERO, passing).counted();
        assert_eq!(failure(&cache).await, passing);
        sleep(10 * MINUTE).await;
        let loads = loads.load(SeqCst);
        assert!((fewest..=most).contains(&loads), "{loads} loads in ten minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_comes_back_is_found_without_a_call() {
    let script = Script::new().fail(Duration::ZERO, true).fail(Duration::ZERO, true);
    let cache = script.load(Duration::ZERO, "key", None).start();
    assert!(failure(&cache).await);
    sleep(2 * SECOND).await;
    assert_eq!(key(&cache).await, "key");
    assert!(!cache.is_degraded());
}

#[tokio::test(start_paused = true)]
async fn calls_shorten_the_pause_after_a_failure_to_a_second_and_no_further() {
    let (cache, loads) = Script::new().fail(Duration::ZERO, false).counted();
    assert!(!failure(&cache).await);
    sleep(2 * MINUTE).await;
    let before = loads.load(SeqCst);
    for _ in 0..100 {
        failure(&cache).await;
        sleep(SECOND / 10).await;
    }
    let loads = loads.load(SeqCst) - before;
    assert!((9..=11).contains(&loads), "{loads} loads in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_aws_rejects_are_loaded_again() {
    let script = Script::new().load(Duration::ZERO, "old", None);
    let cache = script.load(Duration::ZERO, "new", None).start();
    assert_eq!(key(&cache).await, "old");
    sleep(MINUTE).await;
    cache.rejected();
    assert!(cache.is_degraded());
    sleep(2 * SECOND).await;
    assert_eq!(key(&cache).await, "new");
    assert!(!cache.is_degraded());
}

#[tokio::test(start_paused = true)]
async fn rejections_of_the_same_credentials_cause_few_loads() {
    let (cache, loads) = Script::new().load(Duration::ZERO, "key", None).counted();
    key(&cache).await;
    for _ in 0..600 {
        cache.rejected();
        sleep(SECOND / 10).await;
    }
    assert!(cache.is_degraded());
    let loads = loads.load(SeqCst);
    assert!((5..=7).contains(&loads), "{loads} loads in a minute");
    cache.accepted();
    assert!(!cache.is_degraded());
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_provider_is_a_failure_that_passes() {
    let cache =
        Script::new().then(Duration::ZERO, Step::Panic).load(Duration::ZERO, "key", None).start();
    assert!(failure(&cache).await);
    advance(SECOND).await;
    sleep(SECOND).await;
    assert_eq!(key(&cache).await, "key");
}

#[tokio::test(start_paused = true)]
async fn an_expiry_far_in_the_past_or_future_does_not_panic() {
    let ages = 9000 * 366 * 24 * HOUR;
    let cache = Script::new().load(Duration::ZERO, "key", Some(ages)).start();
    assert_eq!(key(&cache).await, "key");
    assert_eq!(cache.expiry(), None);
}

#[tokio::test(start_paused = true)]
async fn the_debug_form_shows_no_credential() {
    let cache = Script::new().load(Duration::ZERO, "AKIAhush", Some(HOUR)).start();
    assert_eq!(key(&cache).await, "AKIAhush");
    assert!(!format!("{cache:?}").contains("hush"));
}

#[test]
fn credentials_that_no_header_can_hold_are_refused() {
    let now = SystemTime::now();
    let check = |key: &str, secret: &str, token: Option<&str>| {
        let token = token.map(str::to_owned);
        chain::check(&Credentials::new(key, secret, token, Some(now + HOUR), "test"), now)
    };
    assert_eq!(check("AKIA", "a/b+c=", Some("token==")), Ok(()));
    assert_eq!(check("AKIA", "secret", Some("")), Ok(()));
    for (key, secret, token, named) in [
        ("hush\n", "secret", None, "access key ID"),
        ("hu sh", "secret", None, "access key ID"),
        ("h\u{fc}sh", "secret", None, "access key ID"),
        ("", "secret", None, "access key ID"),
        ("AKIA", "hush\r\n", None, "secret access key"),
        ("AKIA", "", None, "secret access key"),
        ("AKIA", "secret", Some("hush\t"), "session token"),
    ] {
        let error = check(key, secret, token).expect_err("refused");
        let text = format!("{error} {error:?}");
        assert!(text.contains(named) && !text.contains("hush"), "{text}");
        assert!(!error.passing, "{text}");
    }
}

#[test]
fn credentials_that_have_expired_are_refused_for_now() {
    let now = SystemTime::now();
    let expired = Credentials::new("AKIA", "secret", None, Some(now - SECOND), "test");
    assert!(chain::check(&expired, now).expect_err("refused").passing);
}
