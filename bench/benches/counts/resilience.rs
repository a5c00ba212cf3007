//! Costs of the decisions before a call: the circuit breaker, the retry budget, the quota limiter.

use std::{hint::black_box, time::Duration};

use aux_service::quota::{Group, QuotaLimiter, Rates};
use cache::Priority;
use futures_util::FutureExt;
use gungraun::prelude::*;
use main_api::upstream::{
    breaker::{Breaker, Settings, State, Verdict},
    budget::Budget,
    circuit_history::CircuitHistory,
};
use service::observe::metrics::Exporter;

use crate::{TIMES, filled::HOUR};

fn closed() -> Breaker {
    Exporter::install("bench", "0").expect("the only recorder");
    Breaker::new(
        "/param/{name}",
        Settings {
            consecutive_failures: 5,
            failure_rate: 0.5,
            window: Duration::from_secs(10),
            min_calls: 20,
            open_for: HOUR,
            slow_call: Duration::from_secs(1),
        },
        CircuitHistory::default(),
    )
}

fn open() -> Breaker {
    let breaker = closed();
    for _ in 0..5 {
        breaker.acquire().expect("closed").record(Verdict::Failure);
    }
    assert_eq!(breaker.state(), State::Open);
    breaker
}

fn succeed(breaker: Breaker) -> Breaker {
    for _ in 0..TIMES {
        let permit = black_box(&breaker).acquire().expect("closed");
        permit.record(black_box(Verdict::Success));
    }
    breaker
}

fn rejection(breaker: Breaker) -> Breaker {
    for _ in 0..TIMES {
        black_box(black_box(&breaker).acquire().err().expect("open"));
    }
    breaker
}

#[library_benchmark]
#[bench::closed(closed())]
fn success(breaker: Breaker) -> Breaker {
    succeed(breaker)
}

#[library_benchmark]
#[bench::open(open())]
fn refusal(breaker: Breaker) -> Breaker {
    rejection(breaker)
}

library_benchmark_group!(name = breaker, benchmarks = [success, refusal]);

/// Builds a budget with enough calls for each turn to withdraw a retry.
fn full() -> Budget {
    call(Budget::new(1.0))
}

fn spent() -> Budget {
    let budget = Budget::new(0.0);
    while budget.try_take() {}
    budget
}

fn call(budget: Budget) -> Budget {
    for _ in 0..TIMES {
        black_box(&budget).record_call();
    }
    budget
}

fn retry(budget: Budget, allowed: bool) -> Budget {
    for _ in 0..TIMES {
        assert_eq!(black_box(&budget).try_take(), allowed);
    }
    budget
}

#[library_benchmark]
#[bench::full(full())]
fn deposit(budget: Budget) -> Budget {
    call(budget)
}

#[library_benchmark]
#[bench::full(full(), true)]
#[bench::spent(spent(), false)]
fn withdrawal(budget: Budget, allowed: bool) -> Budget {
    retry(budget, allowed)
}

library_benchmark_group!(name = budget, benchmarks = [deposit, withdrawal]);

/// Builds a limiter with a rate at which its bucket is empty for no turn, or for each.
fn quota(rate: f64) -> QuotaLimiter {
    let limiter = QuotaLimiter::new(Rates { get: rate, list: rate });
    assert!(try_acquire(&limiter));
    limiter
}

/// Without an engine, the limiter decides at once.
fn try_acquire(limiter: &QuotaLimiter) -> bool {
    let result = limiter.try_acquire(Group::Reads, Priority::Miss).now_or_never();
    result.expect("no wait").is_ok()
}

fn acquire(limiter: QuotaLimiter, acquired: bool) -> QuotaLimiter {
    for _ in 0..TIMES {
        assert_eq!(black_box(try_acquire(black_box(&limiter))), acquired);
    }
    limiter
}

#[library_benchmark]
#[bench::full(quota(1e6), true)]
#[bench::empty(quota(1e-6), false)]
fn admission(limiter: QuotaLimiter, acquired: bool) -> QuotaLimiter {
    acquire(limiter, acquired)
}

library_benchmark_group!(name = shield, benchmarks = admission);
