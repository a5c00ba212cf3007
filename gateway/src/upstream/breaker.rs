//! The circuit breaker of one route: a state machine without I/O, driven by tokio's clock.
//!
//! A circuit is **closed** while calls flow, **open** while they are refused,
//! and **half-open** while one call at a time probes whether they may flow again.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{circuit_history::CircuitHistory, window::Window};

/// The pause is drawn from 80 % to 120 % of its nominal length, so that replicas that lost
/// aux-service together do not probe it together.
const JITTER: f64 = 0.2;

/// The pause doubles when a probe fails, up to this many times `open_for`. A probe is cheap for the
/// upstream, and a longer pause would delay clients after its return.
const MAX_PAUSE_FACTOR: u32 = 2;

/// The `Retry-After` of a call that is refused because another one probes. The end of a probe is
/// unknown, and one second is the shortest time that the header can express.
const WHILE_PROBING: Duration = Duration::from_secs(1);

/// When the circuit opens, and for how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Failures in a row that open the circuit.
    pub consecutive_failures: u32,
    /// The share of failed and throttled calls in `window` that opens the circuit.
    pub failure_rate: f64,
    /// The time over which the rate is taken.
    pub window: Duration,
    /// The rate is ignored below this many calls in the window.
    pub min_calls: u32,
    /// The first pause before a probe; it doubles while probes fail.
    pub open_for: Duration,
    /// A call that is abandoned after this time counts as a failure. Otherwise an upstream that
    /// hangs would never open the circuit for callers with short deadlines.
    pub slow_call: Duration,
}

/// The state of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls flow.
    Closed,
    /// Calls are refused.
    Open,
    /// One call at a time probes.
    HalfOpen,
}

impl State {
    const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in metrics, logs and `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The distance from closed: 0 for closed, 1 for half-open, 2 for open.
    pub(crate) fn severity(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// Every transition. Each has its series from the start, so that the first one shows as an
/// increase.
const TRANSITIONS: [(State, State); 4] = [
    (State::Closed, State::Open),
    (State::Open, State::HalfOpen),
    (State::HalfOpen, State::Closed),
    (State::HalfOpen, State::Open),
];

fn transitions(route: &'static str, from: State, to: State) -> Counter {
    let labels = [("route", route), ("from", from.as_str()), ("to", to.as_str())];
    counter!("circuit_breaker_transitions_total", &labels)
}

/// The result of a call, for the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream responded. A refusal of the client's request (4xx) is a success too.
    Success,
    /// The upstream did not respond, responded too late, or reported its own failure.
    Failure,
    /// The upstream works and reports that AWS throttles it.
    ///
    /// Such a call counts as failed in the rate. It neither adds to the failures in a row nor ends
    /// them, since it shows nothing about the calls before and after it. A throttled probe fails,
    /// since one call of one is a rate of one.
    Throttled,
}

/// The refusal of a call: the circuit is open, or another call probes.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the circuit refuses calls for another {retry_after:?}")]
pub struct Refused {
    /// The time until a call may succeed.
    pub retry_after: Duration,
}

/// The circuit breaker. A handle: cloning it shares the circuit.
#[derive(Clone)]
pub struct Breaker {
    inner: Arc<Inner>,
}

struct Inner {
    /// The label `route` of the metrics.
    route: &'static str,
    settings: Settings,
    history: CircuitHistory,
    core: Mutex<Core>,
    state_gauges: [Gauge; 3],
}

struct Core {
    phase: Phase,
    /// Grows with every transition, so that the result of a call that began in an earlier state is
    /// ignored.
    epoch: u64,
    /// Openings since the circuit was last closed.
    openings: u32,
}

enum Phase {
    Closed { failures_in_a_row: u32, calls: Box<Window<2>> },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

const GOOD: usize = 0;
const BAD: usize = 1;

impl Phase {
    fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

impl Breaker {
    /// Starts with a closed circuit, and describes its metrics. `route` is their label. The circuit
    /// records its openings in `history`.
    pub fn new(route: &'static str, settings: Settings, history: CircuitHistory) -> Self {
        describe_gauge!(
            "circuit_breaker_state",
            "1 for the state of the circuit of this route, else 0"
        );
        describe_counter!(
            "circuit_breaker_transitions_total",
            "Changes of the state of the circuit of this route"
        );
        let phase = Self::closed(&settings);
        let state_gauges = State::ALL.map(
            |state| gauge!("circuit_breaker_state", "route" => route, "state" => state.as_str()),
        );
        let breaker = Self {
            inner: Arc::new(Inner {
                route,
                settings,
                history,
                core: Mutex::new(Core { phase, epoch: 0, openings: 0 }),
                state_gauges,
            }),
        };
        for (from, to) in TRANSITIONS {
            transitions(route, from, to).absolute(0);
        }
        breaker.publish();
        breaker
    }

    /// Permits one call.
    ///
    /// # Errors
    ///
    /// The circuit is open, or half-open while a probe runs.
    pub fn acquire(&self) -> Result<Permit, Refused> {
        let now = Instant::now();
        let mut core = self.inner.core.lock();
        self.advance(&mut core, now);
        match &mut core.phase {
            Phase::Closed { .. } => {}
            Phase::HalfOpen { probing: probing @ false } => *probing = true,
            Phase::HalfOpen { probing: true } => {
                return Err(Refused { retry_after: WHILE_PROBING });
            }
            Phase::Open { until } => return Err(Refused { retry_after: *until - now }),
        }
        let epoch = core.epoch;
        Ok(Permit { breaker: self.clone(), epoch, started: now, recorded: false })
    }

    /// The state at this moment.
    pub fn state(&self) -> State {
        let mut core = self.inner.core.lock();
        self.advance(&mut core, Instant::now());
        core.phase.state()
    }

    /// Updates `circuit_breaker_state`. Call it before each scrape: no event marks the end of a
    /// pause, so a gauge that follows events would report a half-open circuit as open.
    pub fn publish(&self) {
        let current = self.state();
        for (state, gauge) in State::ALL.into_iter().zip(&self.inner.state_gauges) {
            gauge.set(if state == current { 1.0 } else { 0.0 });
        }
    }

    /// Makes the one transition that time alone causes. Every read of the state starts with it.
    fn advance(&self, core: &mut Core, now: Instant) {
        if let Phase::Open { until } = core.phase
            && now >= until
        {
            self.enter(core, Phase::HalfOpen { probing: false });
        }
    }

    /// Applies the result of a call. An abandoned call that was not slow has no verdict.
    fn apply(&self, epoch: u64, verdict: Option<Verdict>) {
        let now = Instant::now();
        let settings = &self.inner.settings;
        let mut core = self.inner.core.lock();
        if core.epoch != epoch {
            return;
        }
        match &mut core.phase {
            Phase::Closed { failures_in_a_row, calls } => {
                match verdict {
                    None => return,
                    Some(Verdict::Success) => {
                        *failures_in_a_row = 0;
                        calls.add(now, GOOD);
                    }
                    Some(Verdict::Failure) => {
                        *failures_in_a_row += 1;
                        calls.add(now, BAD);
                    }
                    Some(Verdict::Throttled) => calls.add(now, BAD),
                }
                let [good, bad] = calls.sums(now);
                let total = good + bad;
                if *failures_in_a_row >= settings.consecutive_failures
                    || (total >= u64::from(settings.min_calls)
                        && bad as f64 >= settings.failure_rate * total as f64)
                {
                    self.open(&mut core, now);
                }
            }
            Phase::HalfOpen { probing } => match verdict {
                None => *probing = false,
                Some(Verdict::Success) => {
                    core.openings = 0;
                    self.enter(&mut core, Self::closed(settings));
                }
                Some(Verdict::Failure | Verdict::Throttled) => self.open(&mut core, now),
            },
            // No call starts while the circuit is open, so no call has this epoch.
            Phase::Open { .. } => {}
        }
    }

    fn open(&self, core: &mut Core, now: Instant) {
        let doubled = 2u32.saturating_pow(core.openings).min(MAX_PAUSE_FACTOR);
        core.openings += 1;
        let jitter = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
        let pause = (self.inner.settings.open_for * doubled).mul_f64(jitter);
        self.enter(core, Phase::Open { until: now + pause });
    }

    fn enter(&self, core: &mut Core, phase: Phase) {
        let (from, to) = (core.phase.state(), phase.state());
        core.phase = phase;
        core.epoch += 1;
        let route = self.inner.route;
        transitions(route, from, to).increment(1);
        match (from, to) {
            (State::Closed, _) => self.inner.history.opened(route),
            (State::HalfOpen, State::Open) => self.inner.history.probe_failed(route),
            (_, State::Closed) => self.inner.history.closed(route),
            _ => {}
        }
        tracing::warn!(route, from = from.as_str(), to = to.as_str(), "circuit breaker");
    }

    fn closed(settings: &Settings) -> Phase {
        Phase::Closed { failures_in_a_row: 0, calls: Box::new(Window::new(settings.window)) }
    }
}

/// The permit for one call.
///
/// A permit that is dropped without a verdict, as when the caller abandons the call, only frees the
/// slot of a probe. If the call was slow by then, it counts as a failure.
#[must_use = "a permit that is dropped at once is a call that was never made"]
pub struct Permit {
    breaker: Breaker,
    epoch: u64,
    started: Instant,
    recorded: bool,
}

impl Permit {
    /// Records the result of the call.
    pub fn record(mut self, verdict: Verdict) {
        self.recorded = true;
        self.breaker.apply(self.epoch, Some(verdict));
    }

    /// Ends the call without a verdict, however long it took. A probe frees its slot.
    pub fn ignore(mut self) {
        self.recorded = true;
        self.breaker.apply(self.epoch, None);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.recorded {
            let slow = self.started.elapsed() >= self.breaker.inner.settings.slow_call;
            self.breaker.apply(self.epoch, slow.then_some(Verdict::Failure));
        }
    }
}

#[cfg(test)]
mod tests;
