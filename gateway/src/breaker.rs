//! The circuit breaker: a state machine without I/O, driven by tokio's clock.
//!
//! A circuit is **closed** while calls flow, **open** while they are refused,
//! and **half open** while one call at a time probes whether they may flow again.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::window::Window;

/// The pause is drawn from 80 % to 120 % of its nominal length,
/// so that the replicas that lost aux-service together do not probe it together.
const JITTER: f64 = 0.2;

/// The pause doubles when a probe fails, up to this many times `open_for`. A probe costs the
/// upstream next to nothing, and how long clients wait after its return is up to this.
const LONGEST_PAUSE: u32 = 2;

/// What a caller hears while another call probes: nobody knows how long that takes,
/// and a second is the least that `Retry-After` can say.
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
    /// The rate means nothing below this many calls in the window.
    pub min_calls: u32,
    /// The first pause before a probe; it doubles while probes fail.
    pub open_for: Duration,
    /// An abandoned call that ran for this long counts as a failure. Otherwise an upstream that
    /// hangs would never open the circuit for callers with short deadlines.
    pub slow_call: Duration,
}

/// What the circuit is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls flow.
    Closed,
    /// Calls are refused.
    Open,
    /// One call at a time may probe.
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
}

/// Every transition there is; each has its series from the start, so that its first one shows as an
/// increase.
const TRANSITIONS: [(State, State); 4] = [
    (State::Closed, State::Open),
    (State::Open, State::HalfOpen),
    (State::HalfOpen, State::Closed),
    (State::HalfOpen, State::Open),
];

fn transitions(from: State, to: State) -> Counter {
    counter!("circuit_breaker_transitions_total", "from" => from.as_str(), "to" => to.as_str())
}

/// What a call came to, for the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream answered; that it refused the client's request (4xx) is an answer too.
    Success,
    /// The upstream did not answer, not in time, or that it failed.
    Failure,
    /// The upstream is alive and says that its own source throttles it.
    ///
    /// It counts as failed in the rate, and it neither adds to the failures in a row nor ends them:
    /// a throttled answer says nothing about whether the calls before and after it would have come
    /// through. As a probe it fails, since one call of one is a rate of one.
    Throttled,
}

/// The circuit is open, or another call is probing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the circuit is open for another {retry_after:?}")]
pub struct Refused {
    /// When to come back.
    pub retry_after: Duration,
}

/// The circuit breaker. A handle: cloning it shares the circuit.
#[derive(Clone)]
pub struct Breaker {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    core: Mutex<Core>,
    state_gauges: [Gauge; 3],
}

struct Core {
    phase: Phase,
    /// Grows with every transition, so that the result of a call that began in an earlier state is
    /// known for what it is.
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
    /// A closed circuit.
    pub fn new(settings: Settings) -> Self {
        describe_gauge!("circuit_breaker_state", "1 for the state that the circuit is in, else 0");
        describe_counter!("circuit_breaker_transitions_total", "Changes of the circuit's state");
        let phase = Self::closed(&settings);
        let state_gauges =
            State::ALL.map(|state| gauge!("circuit_breaker_state", "state" => state.as_str()));
        let breaker = Self {
            inner: Arc::new(Inner {
                settings,
                core: Mutex::new(Core { phase, epoch: 0, openings: 0 }),
                state_gauges,
            }),
        };
        for (from, to) in TRANSITIONS {
            transitions(from, to).absolute(0);
        }
        breaker.publish();
        breaker
    }

    /// Leave for one call, or the refusal.
    ///
    /// # Errors
    ///
    /// The circuit is open, or half open with its probe under way.
    pub fn acquire(&self) -> Result<Permit, Refused> {
        let now = Instant::now();
        let mut core = self.inner.core.lock();
        self.settle(&mut core, now);
        match &mut core.phase {
            Phase::Closed { .. } => {}
            Phase::HalfOpen { probing: probing @ false } => *probing = true,
            Phase::HalfOpen { probing: true } => {
                return Err(Refused { retry_after: WHILE_PROBING });
            }
            Phase::Open { until } => return Err(Refused { retry_after: *until - now }),
        }
        let epoch = core.epoch;
        Ok(Permit { breaker: self.clone(), epoch, started: now, judged: false })
    }

    /// The state at this moment.
    pub fn state(&self) -> State {
        let mut core = self.inner.core.lock();
        self.settle(&mut core, Instant::now());
        core.phase.state()
    }

    /// Whether there is reason to doubt the upstream: the circuit is not closed, or the last call
    /// failed.
    pub fn is_in_doubt(&self) -> bool {
        let mut core = self.inner.core.lock();
        self.settle(&mut core, Instant::now());
        !matches!(core.phase, Phase::Closed { failures_in_a_row: 0, .. })
    }

    /// Brings `circuit_breaker_state` up to date; to be called before each scrape. No event marks
    /// the end of a pause, so a gauge that only follows events would call a half-open circuit open.
    pub fn publish(&self) {
        let current = self.state();
        for (state, gauge) in State::ALL.into_iter().zip(&self.inner.state_gauges) {
            gauge.set(if state == current { 1.0 } else { 0.0 });
        }
    }

    /// The one transition that time alone makes. Every look at the state begins here.
    fn settle(&self, core: &mut Core, now: Instant) {
        if let Phase::Open { until } = core.phase
            && now >= until
        {
            self.enter(core, Phase::HalfOpen { probing: false });
        }
    }

    fn record(&self, epoch: u64, verdict: Option<Verdict>) {
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
            // No call begins while the circuit is open, so none ends in that epoch.
            Phase::Open { .. } => {}
        }
    }

    fn open(&self, core: &mut Core, now: Instant) {
        let doubled = 2u32.saturating_pow(core.openings).min(LONGEST_PAUSE);
        core.openings += 1;
        let jitter = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
        let pause = (self.inner.settings.open_for * doubled).mul_f64(jitter);
        self.enter(core, Phase::Open { until: now + pause });
    }

    fn enter(&self, core: &mut Core, phase: Phase) {
        let (from, to) = (core.phase.state(), phase.state());
        core.phase = phase;
        core.epoch += 1;
        transitions(from, to).increment(1);
        tracing::warn!(from = from.as_str(), to = to.as_str(), "circuit breaker");
    }

    fn closed(settings: &Settings) -> Phase {
        Phase::Closed { failures_in_a_row: 0, calls: Box::new(Window::new(settings.window)) }
    }
}

/// Leave for one call.
///
/// Dropped without a verdict, as when the caller leaves, it frees its slot and says nothing about
/// the upstream, unless the call was slow by then: that is a failure.
#[must_use = "a permit that is dropped at once is a call that was never made"]
pub struct Permit {
    breaker: Breaker,
    epoch: u64,
    started: Instant,
    judged: bool,
}

impl Permit {
    /// Tells the circuit what the call came to.
    pub fn judge(mut self, verdict: Verdict) {
        self.judged = true;
        self.breaker.record(self.epoch, Some(verdict));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.judged {
            let slow = self.started.elapsed() >= self.breaker.inner.settings.slow_call;
            self.breaker.record(self.epoch, slow.then_some(Verdict::Failure));
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(5);
    const LONGEST_OPEN: Duration = OPEN_FOR.saturating_mul(6).checked_div(5).unwrap();
    const SHORTEST_OPEN: Duration = OPEN_FOR.saturating_mul(4).checked_div(5).unwrap();
    const WINDOW: Duration = Duration::from_secs(10);
    const SLOW: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings {
            consecutive_failures: 5,
            failure_rate: 0.5,
            window: WINDOW,
            min_calls: 20,
            open_for: OPEN_FOR,
            slow_call: SLOW,
        }
    }

    fn call(breaker: &Breaker, verdict: Verdict) {
        breaker.acquire().expect("the circuit lets a call through").judge(verdict);
    }

    fn calls(breaker: &Breaker, n: usize, verdict: Verdict) {
        for _ in 0..n {
            call(breaker, verdict);
        }
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(settings());
        calls(&breaker, 5, Verdict::Failure);
        assert_eq!(breaker.state(), State::Open);
        breaker
    }

    async fn half_opened() -> Breaker {
        let breaker = opened();
        advance(LONGEST_OPEN).await;
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it() {
        let breaker = Breaker::new(settings());
        calls(&breaker, 4, Verdict::Failure);
        call(&breaker, Verdict::Success);
        calls(&breaker, 4, Verdict::Failure);
        assert_eq!(breaker.state(), State::Closed);
        call(&breaker, Verdict::Failure);
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_in_doubt_from_a_failure_to_the_next_success() {
        let breaker = Breaker::new(settings());
        assert!(!breaker.is_in_doubt());
        call(&breaker, Verdict::Throttled);
        assert!(!breaker.is_in_doubt());
        call(&breaker, Verdict::Failure);
        assert!(breaker.is_in_doubt());
        call(&breaker, Verdict::Success);
        assert!(!breaker.is_in_doubt());
        calls(&breaker, 5, Verdict::Failure);
        advance(LONGEST_OPEN).await;
        assert!(breaker.is_in_doubt(), "half open");
        call(&breaker, Verdict::Success);
        assert!(!breaker.is_in_doubt());
    }

    #[tokio::test(start_paused = true)]
    async fn the_failure_rate_opens_it_once_there_are_enough_calls() {
        let breaker = Breaker::new(settings());
        for _ in 0..9 {
            call(&breaker, Verdict::Failure);
            call(&breaker, Verdict::Success);
        }
        call(&breaker, Verdict::Failure);
        assert_eq!(
            breaker.state(),
            State::Closed,
            "ten of nineteen failed, but twenty calls are the least"
        );
        call(&breaker, Verdict::Success);
        assert_eq!(breaker.state(), State::Open, "ten of twenty");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_below_the_threshold_keeps_it_closed() {
        let breaker = Breaker::new(settings());
        for _ in 0..1000 {
            calls(&breaker, 3, Verdict::Success);
            calls(&breaker, 2, Verdict::Failure);
        }
        assert_eq!(breaker.state(), State::Closed);
    }

    /// A count that only resets on transitions needs as many failures as there ever were successes.
    #[tokio::test(start_paused = true)]
    async fn a_long_good_past_does_not_hide_a_bad_present() {
        let breaker = Breaker::new(Settings { consecutive_failures: u32::MAX, ..settings() });
        calls(&breaker, 10_000, Verdict::Success);
        advance(WINDOW).await;
        calls(&breaker, 20, Verdict::Failure);
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_older_than_the_window_do_not_count() {
        let breaker = Breaker::new(settings());
        for _ in 0..9 {
            call(&breaker, Verdict::Failure);
            call(&breaker, Verdict::Success);
        }
        advance(WINDOW).await;
        call(&breaker, Verdict::Failure);
        call(&breaker, Verdict::Success);
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_opens_it_by_the_rate_alone() {
        let breaker = Breaker::new(settings());
        calls(&breaker, 19, Verdict::Throttled);
        assert_eq!(breaker.state(), State::Closed, "nineteen in a row");
        call(&breaker, Verdict::Throttled);
        assert_eq!(breaker.state(), State::Open, "twenty of twenty");
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_neither_adds_to_the_failures_in_a_row_nor_ends_them() {
        let breaker = Breaker::new(settings());
        calls(&breaker, 4, Verdict::Failure);
        calls(&breaker, 3, Verdict::Throttled);
        assert_eq!(breaker.state(), State::Closed);
        call(&breaker, Verdict::Failure);
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_refuses_and_tells_when_to_come_back() {
        let breaker = opened();
        let refused = breaker.acquire().err().expect("refused");
        assert!((SHORTEST_OPEN..=LONGEST_OPEN).contains(&refused.retry_after));
        advance(refused.retry_after - Duration::from_millis(1)).await;
        assert!(breaker.acquire().is_err());
        advance(Duration::from_millis(1)).await;
        assert!(breaker.acquire().is_ok(), "what it told was true");
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_is_jittered() {
        let mut pauses: Vec<Duration> =
            (0..100).map(|_| opened().acquire().err().expect("refused").retry_after).collect();
        pauses.sort();
        let (least, most) = (pauses[0], pauses[99]);
        assert!(
            most - least > OPEN_FOR / 5,
            "one hundred pauses lie between {least:?} and {most:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time() {
        let breaker = half_opened().await;
        let probe = breaker.acquire().expect("the probe");
        for _ in 0..100 {
            assert_eq!(breaker.acquire().err().expect("refused").retry_after, WHILE_PROBING);
        }
        probe.judge(Verdict::Success);
        assert_eq!(breaker.state(), State::Closed);
        calls(&breaker, 100, Verdict::Success);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_doubles_the_pause_up_to_a_limit() {
        let breaker = opened();
        for nominal in [5, 10, 10, 10].map(Duration::from_secs) {
            let pause = breaker.acquire().err().expect("refused").retry_after;
            assert!(
                (nominal * 4 / 5..=nominal * 6 / 5).contains(&pause),
                "{pause:?} for {nominal:?}"
            );
            advance(pause).await;
            call(&breaker, Verdict::Failure);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_succeeds_makes_the_next_pause_short_again() {
        let breaker = half_opened().await;
        call(&breaker, Verdict::Failure);
        advance(2 * LONGEST_OPEN).await;
        call(&breaker, Verdict::Success);
        calls(&breaker, 5, Verdict::Failure);
        assert!(breaker.acquire().err().expect("refused").retry_after <= LONGEST_OPEN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_throttled_fails() {
        let breaker = half_opened().await;
        call(&breaker, Verdict::Throttled);
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_abandoned_at_once_makes_room_for_the_next() {
        let breaker = half_opened().await;
        drop(breaker.acquire().expect("the probe"));
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.acquire().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_abandoned_when_slow_fails() {
        let breaker = half_opened().await;
        let probe = breaker.acquire().expect("the probe");
        advance(SLOW).await;
        drop(probe);
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_are_abandoned_when_slow_open_it_and_quick_ones_do_not() {
        let breaker = Breaker::new(settings());
        for _ in 0..100 {
            drop(breaker.acquire().expect("closed"));
        }
        assert_eq!(breaker.state(), State::Closed);
        let slow: Vec<Permit> = (0..5).map(|_| breaker.acquire().expect("closed")).collect();
        advance(SLOW).await;
        drop(slow);
        assert_eq!(breaker.state(), State::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_from_an_earlier_state_changes_nothing() {
        let breaker = Breaker::new(settings());
        let [late_success, late_failure] = [0, 1].map(|_| breaker.acquire().expect("closed"));
        calls(&breaker, 5, Verdict::Failure);
        late_success.judge(Verdict::Success);
        assert_eq!(breaker.state(), State::Open);
        advance(LONGEST_OPEN).await;
        let probe = breaker.acquire().expect("the probe");
        late_failure.judge(Verdict::Failure);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.acquire().is_err(), "the probe still has its slot");
        probe.judge(Verdict::Success);
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_metric_is_one_hot_and_true_without_any_call() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let scrape = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let breaker = Breaker::new(settings());
        let states = || {
            breaker.publish();
            let text = scrape.render();
            State::ALL.map(|state| {
                let sample = format!("circuit_breaker_state{{state=\"{}\"}} ", state.as_str());
                let line = text.lines().find_map(|line| line.strip_prefix(&sample));
                line.expect("every state has its series").to_owned()
            })
        };

        assert_eq!(states(), ["1", "0", "0"]);
        calls(&breaker, 5, Verdict::Failure);
        assert_eq!(states(), ["0", "1", "0"]);
        advance(LONGEST_OPEN).await;
        assert_eq!(states(), ["0", "0", "1"], "nobody called, and yet the pause is over");
        call(&breaker, Verdict::Success);
        assert_eq!(states(), ["1", "0", "0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_transition_has_its_series_from_the_start_and_is_counted_once() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let scrape = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let count = |from: &str, to: &str| {
            let sample =
                format!("circuit_breaker_transitions_total{{from=\"{from}\",to=\"{to}\"}} ");
            let text = scrape.render();
            let line = text.lines().find_map(|line| line.strip_prefix(&sample));
            line.expect("every transition has its series").to_owned()
        };
        let breaker = Breaker::new(settings());
        for (from, to) in TRANSITIONS {
            assert_eq!(count(from.as_str(), to.as_str()), "0");
        }

        calls(&breaker, 5, Verdict::Failure);
        advance(LONGEST_OPEN).await;
        call(&breaker, Verdict::Failure);
        advance(2 * LONGEST_OPEN).await;
        call(&breaker, Verdict::Success);
        assert_eq!(count("closed", "open"), "1");
        assert_eq!(count("open", "half_open"), "2");
        assert_eq!(count("half_open", "open"), "1");
        assert_eq!(count("half_open", "closed"), "1");
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// In whole seconds, a tenth of the window, so that the model needs to know nothing of
        /// buckets.
        Wait(u64),
        Call,
        Judge(prop::sample::Index, Verdict),
        Abandon(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let verdict = prop_oneof![
            2 => Just(Verdict::Success),
            4 => Just(Verdict::Failure),
            1 => Just(Verdict::Throttled),
        ];
        let step = prop_oneof![
            2 => (0u64..8).prop_map(Step::Wait),
            6 => Just(Step::Call),
            6 => (any::<prop::sample::Index>(), verdict).prop_map(|(i, v)| Step::Judge(i, v)),
            1 => any::<prop::sample::Index>().prop_map(Step::Abandon),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// The breaker as one would explain it: a list of what happened since it was last closed.
    /// Of a pause it knows the bounds alone.
    struct Model {
        settings: Settings,
        state: ModelState,
        /// The transitions so far: a call that began before the last one has no say.
        generation: u32,
        openings: u32,
    }

    enum ModelState {
        Closed(Vec<(Instant, Verdict)>),
        Open(Instant),
        HalfOpen { probing: bool },
    }

    impl Model {
        fn enter(&mut self, state: ModelState) {
            self.state = state;
            self.generation += 1;
        }

        /// Checks the answer to a call.
        fn call(&mut self, admitted: bool, now: Instant) {
            match &mut self.state {
                ModelState::Closed(_) => assert!(admitted, "a closed circuit lets calls through"),
                ModelState::HalfOpen { probing } => {
                    assert_eq!(admitted, !*probing, "one probe, and never more than one");
                    *probing = true;
                }
                ModelState::Open(since) => {
                    let elapsed = now - *since;
                    let nominal = OPEN_FOR * [1, 2][self.openings.min(2) as usize - 1];
                    if admitted {
                        assert!(elapsed >= nominal * 4 / 5, "open means no call");
                        self.enter(ModelState::HalfOpen { probing: true });
                    } else {
                        assert!(elapsed < nominal * 6 / 5, "the pause has an end");
                    }
                }
            }
        }

        fn result(&mut self, generation: u32, verdict: Option<Verdict>, now: Instant) {
            if generation != self.generation {
                return;
            }
            match (&mut self.state, verdict) {
                (ModelState::Open(_), _) => panic!("no call began while it was open"),
                (ModelState::Closed(_), None) => {}
                (ModelState::Closed(results), Some(verdict)) => {
                    results.push((now, verdict));
                    if Self::too_bad(results, now, &self.settings) {
                        self.openings = 1;
                        self.enter(ModelState::Open(now));
                    }
                }
                (ModelState::HalfOpen { probing }, None) => *probing = false,
                (ModelState::HalfOpen { .. }, Some(Verdict::Success)) => {
                    self.enter(ModelState::Closed(Vec::new()));
                }
                (ModelState::HalfOpen { .. }, Some(Verdict::Failure | Verdict::Throttled)) => {
                    self.openings += 1;
                    self.enter(ModelState::Open(now));
                }
            }
        }

        fn too_bad(results: &[(Instant, Verdict)], now: Instant, settings: &Settings) -> bool {
            let in_a_row = results
                .iter()
                .rev()
                .filter(|(_, verdict)| *verdict != Verdict::Throttled)
                .take_while(|(_, verdict)| *verdict == Verdict::Failure)
                .count();
            let recent = results.iter().filter(|(at, _)| now - *at < settings.window);
            let calls = recent.clone().count();
            let bad = recent.filter(|(_, verdict)| *verdict != Verdict::Success).count();
            in_a_row >= settings.consecutive_failures as usize
                || (calls >= settings.min_calls as usize
                    && bad as f64 / calls as f64 >= settings.failure_rate)
        }

        fn agrees_with(&self, state: State, now: Instant) -> bool {
            match &self.state {
                ModelState::Closed(_) => state == State::Closed,
                ModelState::HalfOpen { .. } => state == State::HalfOpen,
                ModelState::Open(since) => {
                    state == State::Open
                        || (state == State::HalfOpen && now - *since >= SHORTEST_OPEN)
                }
            }
        }
    }

    async fn check_against_model(settings: Settings, steps: Vec<Step>) {
        let breaker = Breaker::new(settings.clone());
        let mut model =
            Model { settings, state: ModelState::Closed(Vec::new()), generation: 0, openings: 0 };
        let mut under_way: Vec<(Permit, u32, Instant)> = Vec::new();
        for step in steps {
            let now = Instant::now();
            match step {
                Step::Wait(seconds) => advance(Duration::from_secs(seconds)).await,
                Step::Call => {
                    let permit = breaker.acquire().ok();
                    model.call(permit.is_some(), now);
                    under_way.extend(permit.map(|permit| (permit, model.generation, now)));
                }
                Step::Judge(index, verdict) if !under_way.is_empty() => {
                    let (permit, generation, _) =
                        under_way.swap_remove(index.index(under_way.len()));
                    permit.judge(verdict);
                    model.result(generation, Some(verdict), now);
                }
                Step::Abandon(index) if !under_way.is_empty() => {
                    let (permit, generation, began) =
                        under_way.swap_remove(index.index(under_way.len()));
                    drop(permit);
                    model.result(
                        generation,
                        (now - began >= SLOW).then_some(Verdict::Failure),
                        now,
                    );
                }
                Step::Judge(..) | Step::Abandon(_) => {}
            }
            assert!(model.agrees_with(breaker.state(), Instant::now()));
        }

        drop(under_way);
        advance(LONGEST_OPEN * LONGEST_PAUSE).await;
        assert!(breaker.acquire().is_ok(), "whatever happened, it is never stuck");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn it_does_what_the_model_does(
            steps in steps(),
            consecutive_failures in 1u32..8,
            min_calls in 1u32..12,
            failure_rate in prop::sample::select(vec![0.25, 0.5, 0.75, 1.0]),
        ) {
            let settings = Settings { consecutive_failures, min_calls, failure_rate, ..settings() };
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime")
                .block_on(check_against_model(settings, steps));
        }
    }
}
