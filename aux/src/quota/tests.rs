use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep};

use super::*;

fn limiter(get: f64, list: f64) -> QuotaLimiter {
    QuotaLimiter::new(Rates { get, list })
}

/// Takes calls until the limiter refuses one, but at most 1000. Returns their number.
async fn acquired(limiter: &QuotaLimiter, priority: Priority) -> usize {
    let mut acquired = 0;
    while acquired < 1000 && limiter.try_acquire(Group::Reads, priority).await.is_ok() {
        acquired += 1;
    }
    acquired
}

#[tokio::test(start_paused = true)]
async fn each_second_allows_one_full_bucket_of_calls() {
    let limiter = limiter(40.0, 3.0);
    assert_eq!(acquired(&limiter, Priority::Miss).await, 40);
    advance(Duration::from_secs(1)).await;
    assert_eq!(acquired(&limiter, Priority::Miss).await, 40);
    advance(Duration::from_secs(60)).await;
    assert_eq!(acquired(&limiter, Priority::Miss).await, 40, "unused calls do not accumulate");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_returns_the_time_until_the_next_call() {
    let limiter = limiter(2.0, 3.0);
    acquired(&limiter, Priority::Miss).await;
    let wait = limiter.try_acquire(Group::Reads, Priority::Miss).await.expect_err("empty");
    assert!(wait <= Duration::from_millis(502), "{wait:?}");
    advance(wait).await;
    assert_eq!(limiter.try_acquire(Group::Reads, Priority::Miss).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn lower_priorities_leave_part_of_the_bucket() {
    let limiter = limiter(40.0, 3.0);
    assert_eq!(acquired(&limiter, Priority::Refresh).await, 20);
    assert_eq!(acquired(&limiter, Priority::WithFallback).await, 10);
    assert_eq!(acquired(&limiter, Priority::Miss).await, 10);
}

#[tokio::test(start_paused = true)]
async fn each_group_has_a_bucket_of_its_own() {
    let limiter = limiter(1.0, 3.0);
    acquired(&limiter, Priority::Miss).await;
    assert_eq!(limiter.try_acquire(Group::ParameterLists, Priority::Miss).await, Ok(()));
    assert_eq!(limiter.try_acquire(Group::BucketLists, Priority::Miss).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn calls_pause_after_aws_has_throttled() {
    let limiter = limiter(40.0, 3.0);
    limiter.drain(Group::Reads);
    let wait = limiter.try_acquire(Group::Reads, Priority::Miss).await.expect_err("drained");
    assert!(wait >= THROTTLE_PAUSE, "{wait:?}");
    advance(THROTTLE_PAUSE + Duration::from_millis(500)).await;
    assert_eq!(acquired(&limiter, Priority::Miss).await, 20, "the bucket refills at its rate");
}

#[tokio::test(start_paused = true)]
async fn a_rate_below_one_call_a_second_still_allows_one_call() {
    let limiter = limiter(0.5, 0.5);
    assert_eq!(acquired(&limiter, Priority::Miss).await, 1);
    advance(Duration::from_millis(1900)).await;
    assert_eq!(acquired(&limiter, Priority::Miss).await, 0);
    advance(Duration::from_millis(200)).await;
    assert_eq!(acquired(&limiter, Priority::Miss).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_not_counted_as_a_refusal() {
    let limiter = limiter(2.0, 3.0);
    acquired(&limiter, Priority::Miss).await;
    let refused = limiter.status()["reads"]["refused"].clone();
    limiter.acquire(Group::Reads, Priority::Refresh).await;
    assert_eq!(limiter.status()["reads"]["refused"], refused);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_of_low_priority_is_not_kept_waiting_for_ever() {
    for rate in [0.75, 3.0, 40.0] {
        let limiter = limiter(rate, rate);
        acquired(&limiter, Priority::Miss).await;
        let waiting = async {
            for _ in 0..3 {
                limiter.acquire(Group::Reads, Priority::Refresh).await;
            }
        };
        // The other calls take each token as soon as there is one.
        let others = async {
            loop {
                acquired(&limiter, Priority::Miss).await;
                sleep(Duration::from_millis(1)).await;
            }
        };
        let limit = 3.0 * (2.0 * rate.max(1.0) / rate + 2.0 / rate);
        tokio::select! {
            () = waiting => (),
            () = others => (),
            () = sleep(Duration::from_secs_f64(limit)) => panic!("{rate}: it starves"),
        }
        assert!(limiter.try_acquire(Group::Reads, Priority::Miss).await.is_err());
        advance(Duration::from_secs_f64(1.1 / rate)).await;
        assert_eq!(limiter.try_acquire(Group::Reads, Priority::Miss).await, Ok(()), "none is left");
    }
}

#[tokio::test]
async fn a_rate_of_zero_sets_no_limit() {
    assert_eq!(acquired(&limiter(0.0, 0.0), Priority::Refresh).await, 1000);
}

proptest! {
    /// In any sequence of calls, throttling and pauses, the limiter allows no more than a full
    /// bucket plus the calls that the elapsed time has refilled.
    #[test]
    fn the_rate_is_never_exceeded(
        rate in 0.2f64..50.0,
        steps in prop::collection::vec((0u64..2000, 0usize..60, any::<bool>()), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let limiter = limiter(rate, rate);
            let start = Instant::now();
            let mut acquired = 0.0;
            for (pause, calls, throttled) in steps {
                advance(Duration::from_millis(pause)).await;
                for _ in 0..calls {
                    if limiter.try_acquire(Group::Reads, Priority::Miss).await.is_ok() {
                        acquired += 1.0;
                    }
                }
                if throttled {
                    limiter.drain(Group::Reads);
                }
                let allowed = rate.max(1.0) + start.elapsed().as_secs_f64() * rate + 1e-6;
                prop_assert!(acquired <= allowed, "{acquired} of {allowed}");
            }
            Ok(())
        })?;
    }
}
