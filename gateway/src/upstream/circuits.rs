//! The circuits to aux-service: one for each route, so that a failing route refuses no other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use service::contract::routes::RouteId;

use super::{
    breaker::{Breaker, Permit, Refused, Settings, State, Verdict},
    call::CALLED_ROUTES,
    circuit_history::{CircuitHistory, Opening},
};

/// The circuit breakers of all routes. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Circuits {
    breakers: Arc<[(RouteId, Breaker); CALLED_ROUTES.len()]>,
    /// Whether the last call with a verdict failed, on any route.
    last_failed: Arc<AtomicBool>,
    history: CircuitHistory,
}

/// The permit for one call, as in [`Breaker::acquire`].
#[must_use = "a permit that is dropped at once is a call that was never made"]
pub(crate) struct CallPermit {
    permit: Permit,
    last_failed: Arc<AtomicBool>,
}

impl Circuits {
    /// Starts with closed circuits.
    pub(crate) fn new(settings: &Settings) -> Self {
        let history = CircuitHistory::default();
        let breaker = |route: RouteId| {
            (route, Breaker::new(route.label(), settings.clone(), history.clone()))
        };
        Self {
            breakers: Arc::new(CALLED_ROUTES.map(breaker)),
            last_failed: Arc::default(),
            history,
        }
    }

    /// Permits one call of a route.
    ///
    /// # Errors
    ///
    /// The circuit of the route is open, or half-open while a probe runs.
    pub(crate) fn acquire(&self, route: RouteId) -> Result<CallPermit, Refused> {
        let found = self.breakers.iter().find(|(known, _)| *known == route);
        let (_, breaker) = found.expect("only these routes are called");
        let last_failed = Arc::clone(&self.last_failed);
        Ok(CallPermit { permit: breaker.acquire()?, last_failed })
    }

    /// The state of each route's circuit, by the route's label.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&'static str, State)> {
        self.breakers.iter().map(|(route, breaker)| (route.label(), breaker.state()))
    }

    /// The latest openings of all circuits, oldest first.
    pub(crate) fn openings(&self) -> Vec<Opening> {
        self.history.openings()
    }

    /// The state that is furthest from closed.
    pub(crate) fn worst_state(&self) -> State {
        let states = self.states().map(|(_, state)| state);
        states.max_by_key(|state| state.severity()).unwrap_or(State::Closed)
    }

    /// Whether aux-service may be failing: a circuit is open, or the last call failed.
    pub(crate) fn is_degraded(&self) -> bool {
        self.worst_state() == State::Open || self.last_failed.load(Relaxed)
    }

    /// Updates `circuit_breaker_state`; see [`Breaker::publish`].
    pub(crate) fn publish(&self) {
        self.breakers.iter().for_each(|(_, breaker)| breaker.publish());
    }
}

impl CallPermit {
    /// Records the result of the call.
    pub(crate) fn record(self, verdict: Verdict) {
        self.last_failed.store(verdict == Verdict::Failure, Relaxed);
        self.permit.record(verdict);
    }

    /// Ends the call without a verdict, because its result shows nothing about aux-service.
    pub(crate) fn ignore(self) {
        self.permit.ignore();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn circuits() -> Circuits {
        Circuits::new(&Settings {
            consecutive_failures: 2,
            failure_rate: 0.5,
            window: Duration::from_secs(10),
            min_calls: 20,
            open_for: Duration::from_secs(5),
            slow_call: Duration::from_secs(1),
        })
    }

    fn call(circuits: &Circuits, route: RouteId, verdict: Verdict) {
        circuits.acquire(route).expect("closed").record(verdict);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_route_refuses_no_other() {
        let circuits = circuits();
        for _ in 0..2 {
            call(&circuits, RouteId::Params, Verdict::Failure);
        }
        assert!(circuits.acquire(RouteId::Params).is_err());
        for route in CALLED_ROUTES.into_iter().filter(|&route| route != RouteId::Params) {
            assert!(circuits.acquire(route).is_ok(), "{route:?}");
        }
        let open: Vec<_> = circuits.states().filter(|(_, state)| *state == State::Open).collect();
        assert_eq!(open, [("/params", State::Open)]);
        assert_eq!(circuits.worst_state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn aux_service_is_degraded_while_a_circuit_is_open_or_after_a_failure() {
        let circuits = circuits();
        assert!(!circuits.is_degraded());
        call(&circuits, RouteId::Param, Verdict::Throttled);
        assert!(!circuits.is_degraded());
        call(&circuits, RouteId::Param, Verdict::Failure);
        assert!(circuits.is_degraded(), "the last call failed");
        call(&circuits, RouteId::Buckets, Verdict::Success);
        assert!(!circuits.is_degraded());
        for _ in 0..2 {
            call(&circuits, RouteId::Params, Verdict::Failure);
        }
        call(&circuits, RouteId::Buckets, Verdict::Success);
        assert!(circuits.is_degraded(), "a circuit is open");
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(!circuits.is_degraded(), "no call probes a route without requests");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ignored_call_changes_nothing_and_frees_a_probe() {
        let circuits = circuits();
        call(&circuits, RouteId::Param, Verdict::Failure);
        circuits.acquire(RouteId::Param).expect("closed").ignore();
        call(&circuits, RouteId::Param, Verdict::Failure);
        assert!(circuits.acquire(RouteId::Param).is_err(), "two failures in a row");
        tokio::time::advance(Duration::from_secs(12)).await;
        circuits.acquire(RouteId::Param).expect("a probe").ignore();
        call(&circuits, RouteId::Param, Verdict::Success);
        assert_eq!(circuits.worst_state(), State::Closed);
    }
}
