//! What is decided before a call is made: the circuit breaker, the retry budget, the quota shield.

use std::{hint::black_box, time::Duration};

use aux_service::shield::{Group, Shield};
use gungraun::prelude::*;
use main_api::{
    breaker::{Breaker, Settings, State, Verdict},
    retry::Budget,
};
use shared::{cache::Urgency, metrics::Exporter};

use crate::{TIMES, filled::HOUR};

fn closed() -> Breaker {
    Exporter::install("bench", "0").expect("the only recorder");
    Breaker::new(Settings {
        consecutive_failures: 5,
        failure_rate: 0.5,
        window: Duration::from_secs(10),
        min_calls: 20,
        open_for: HOUR,
        slow_call: Duration::from_secs(1),
    })
}

fn open() -> Breaker {
    let breaker = closed();
    for _ in 0..5 {
        breaker.acquire().expect("closed").judge(Verdict::Failure);
    }
    assert_eq!(breaker.state(), State::Open);
    breaker
}

#[library_benchmark]
#[bench::closed(closed())]
fn a_call_that_succeeds(breaker: Breaker) -> Breaker {
    for _ in 0..TIMES {
        let permit = black_box(&breaker).acquire().expect("closed");
        permit.judge(black_box(Verdict::Success));
    }
    breaker
}

#[library_benchmark]
#[bench::open(open())]
fn a_call_that_is_refused(breaker: Breaker) -> Breaker {
    for _ in 0..TIMES {
        black_box(black_box(&breaker).acquire().err().expect("open"));
    }
    breaker
}

/// Enough calls for each turn to withdraw a retry.
fn full() -> Budget {
    let budget = Budget::new(1.0);
    (0..TIMES).for_each(|_| budget.call());
    budget
}

fn spent() -> Budget {
    let budget = Budget::new(0.0);
    while budget.withdraw() {}
    budget
}

#[library_benchmark]
#[bench::full(full())]
fn a_call(budget: Budget) -> Budget {
    (0..TIMES).for_each(|_| black_box(&budget).call());
    budget
}

#[library_benchmark]
#[bench::full(full(), true)]
#[bench::spent(spent(), false)]
fn a_retry(budget: Budget, allowed: bool) -> Budget {
    for _ in 0..TIMES {
        assert_eq!(black_box(&budget).withdraw(), allowed);
    }
    budget
}

/// With a rate at which no turn finds it empty, or each.
fn shield(rate: f64) -> Shield {
    let shield = Shield::new(rate, rate);
    assert!(shield.admit(Group::Reads, Urgency::Miss).is_ok());
    shield
}

#[library_benchmark]
#[bench::full(shield(1e6), true)]
#[bench::empty(shield(1e-6), false)]
fn a_call_to_aws(shield: Shield, admitted: bool) -> Shield {
    for _ in 0..TIMES {
        let answer = black_box(&shield).admit(Group::Reads, Urgency::Miss);
        assert_eq!(black_box(answer).is_ok(), admitted);
    }
    shield
}

library_benchmark_group!(
    name = breaker,
    benchmarks = [a_call_that_succeeds, a_call_that_is_refused]
);
library_benchmark_group!(name = budget, benchmarks = [a_call, a_retry]);
library_benchmark_group!(name = shield, benchmarks = a_call_to_aws);
