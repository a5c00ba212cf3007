//! The circuit breaker on a paused clock, by example and against a model.

use metrics_exporter_prometheus::PrometheusBuilder;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const OPEN_FOR: Duration = Duration::from_secs(5);
const MAX_OPEN: Duration = OPEN_FOR.saturating_mul(6).checked_div(5).unwrap();
const MIN_OPEN: Duration = OPEN_FOR.saturating_mul(4).checked_div(5).unwrap();
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

fn circuit(settings: Settings) -> Breaker {
    Breaker::new("/x", settings, CircuitHistory::default())
}

fn call(breaker: &Breaker, verdict: Verdict) {
    breaker.acquire().expect("the circuit lets a call through").record(verdict);
}

fn calls(breaker: &Breaker, n: usize, verdict: Verdict) {
    for _ in 0..n {
        call(breaker, verdict);
    }
}

fn opened() -> Breaker {
    let breaker = circuit(settings());
    calls(&breaker, 5, Verdict::Failure);
    assert_eq!(breaker.state(), State::Open);
    breaker
}

async fn half_opened() -> Breaker {
    let breaker = opened();
    advance(MAX_OPEN).await;
    breaker
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_the_circuit() {
    let breaker = circuit(settings());
    calls(&breaker, 4, Verdict::Failure);
    call(&breaker, Verdict::Success);
    calls(&breaker, 4, Verdict::Failure);
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Verdict::Failure);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_failure_rate_opens_the_circuit_after_enough_calls() {
    let breaker = circuit(settings());
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
async fn a_rate_below_the_threshold_keeps_the_circuit_closed() {
    let breaker = circuit(settings());
    for _ in 0..1000 {
        calls(&breaker, 3, Verdict::Success);
        calls(&breaker, 2, Verdict::Failure);
    }
    assert_eq!(breaker.state(), State::Closed);
}

/// The rate must forget old successes. If only transitions reset the counts, it would take as many
/// failures as there ever were successes to open the circuit.
#[tokio::test(start_paused = true)]
async fn a_long_good_past_does_not_hide_a_bad_present() {
    let breaker = circuit(Settings { consecutive_failures: u32::MAX, ..settings() });
    calls(&breaker, 10_000, Verdict::Success);
    advance(WINDOW).await;
    calls(&breaker, 20, Verdict::Failure);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn failures_older_than_the_window_do_not_count() {
    let breaker = circuit(settings());
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
async fn throttling_opens_the_circuit_by_the_rate_alone() {
    let breaker = circuit(settings());
    calls(&breaker, 19, Verdict::Throttled);
    assert_eq!(breaker.state(), State::Closed, "nineteen in a row");
    call(&breaker, Verdict::Throttled);
    assert_eq!(breaker.state(), State::Open, "twenty of twenty");
}

#[tokio::test(start_paused = true)]
async fn throttling_neither_adds_to_the_failures_in_a_row_nor_ends_them() {
    let breaker = circuit(settings());
    calls(&breaker, 4, Verdict::Failure);
    calls(&breaker, 3, Verdict::Throttled);
    assert_eq!(breaker.state(), State::Closed);
    call(&breaker, Verdict::Failure);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_refuses_calls_for_the_time_that_it_reports() {
    let breaker = opened();
    let refused = breaker.acquire().err().expect("refused");
    assert!((MIN_OPEN..=MAX_OPEN).contains(&refused.retry_after));
    advance(refused.retry_after - Duration::from_millis(1)).await;
    assert!(breaker.acquire().is_err());
    advance(Duration::from_millis(1)).await;
    assert!(breaker.acquire().is_ok(), "the reported time is exact");
}

#[tokio::test(start_paused = true)]
async fn the_pause_is_jittered() {
    let mut pauses: Vec<Duration> =
        (0..100).map(|_| opened().acquire().err().expect("refused").retry_after).collect();
    pauses.sort();
    let (least, most) = (pauses[0], pauses[99]);
    assert!(most - least > OPEN_FOR / 5, "one hundred pauses lie between {least:?} and {most:?}");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_circuit_permits_one_probe_at_a_time() {
    let breaker = half_opened().await;
    let probe = breaker.acquire().expect("the probe");
    for _ in 0..100 {
        assert_eq!(breaker.acquire().err().expect("refused").retry_after, WHILE_PROBING);
    }
    probe.record(Verdict::Success);
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, 100, Verdict::Success);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_doubles_the_pause_up_to_a_limit() {
    let breaker = opened();
    for nominal in [5, 10, 10, 10].map(Duration::from_secs) {
        let pause = breaker.acquire().err().expect("refused").retry_after;
        assert!((nominal * 4 / 5..=nominal * 6 / 5).contains(&pause), "{pause:?} for {nominal:?}");
        advance(pause).await;
        call(&breaker, Verdict::Failure);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_makes_the_next_pause_short_again() {
    let breaker = half_opened().await;
    call(&breaker, Verdict::Failure);
    advance(2 * MAX_OPEN).await;
    call(&breaker, Verdict::Success);
    calls(&breaker, 5, Verdict::Failure);
    assert!(breaker.acquire().err().expect("refused").retry_after <= MAX_OPEN);
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
async fn slow_abandoned_calls_open_the_circuit_and_quick_ones_do_not() {
    let breaker = circuit(settings());
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
    let breaker = circuit(settings());
    let [late_success, late_failure] = [0, 1].map(|_| breaker.acquire().expect("closed"));
    calls(&breaker, 5, Verdict::Failure);
    late_success.record(Verdict::Success);
    assert_eq!(breaker.state(), State::Open);
    advance(MAX_OPEN).await;
    let probe = breaker.acquire().expect("the probe");
    late_failure.record(Verdict::Failure);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.acquire().is_err(), "the probe still has its slot");
    probe.record(Verdict::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_state_metric_is_one_hot_and_current_without_any_call() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let breaker = circuit(settings());
    let states = || {
        breaker.publish();
        let text = scrape.render();
        State::ALL.map(|state| {
            let sample =
                format!("circuit_breaker_state{{route=\"/x\",state=\"{}\"}} ", state.as_str());
            let line = text.lines().find_map(|line| line.strip_prefix(&sample));
            line.expect("every state has its series").to_owned()
        })
    };

    assert_eq!(states(), ["1", "0", "0"]);
    calls(&breaker, 5, Verdict::Failure);
    assert_eq!(states(), ["0", "1", "0"]);
    advance(MAX_OPEN).await;
    assert_eq!(states(), ["0", "0", "1"], "the pause ends without a call");
    call(&breaker, Verdict::Success);
    assert_eq!(states(), ["1", "0", "0"]);
}

#[tokio::test(start_paused = true)]
async fn every_transition_has_its_series_from_the_start_and_is_counted_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let count = |from: &str, to: &str| {
        let sample = format!(
            "circuit_breaker_transitions_total{{route=\"/x\",from=\"{from}\",to=\"{to}\"}} "
        );
        let text = scrape.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&sample));
        line.expect("every transition has its series").to_owned()
    };
    let breaker = circuit(settings());
    for (from, to) in TRANSITIONS {
        assert_eq!(count(from.as_str(), to.as_str()), "0");
    }

    calls(&breaker, 5, Verdict::Failure);
    advance(MAX_OPEN).await;
    call(&breaker, Verdict::Failure);
    advance(2 * MAX_OPEN).await;
    call(&breaker, Verdict::Success);
    assert_eq!(count("closed", "open"), "1");
    assert_eq!(count("open", "half_open"), "2");
    assert_eq!(count("half_open", "open"), "1");
    assert_eq!(count("half_open", "closed"), "1");
}

#[derive(Clone, Debug)]
enum Step {
    /// The time to wait in whole seconds, a tenth of the window each, so that the model needs no
    /// buckets.
    Wait(u64),
    Call,
    Record(prop::sample::Index, Verdict),
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
        6 => (any::<prop::sample::Index>(), verdict).prop_map(|(i, v)| Step::Record(i, v)),
        1 => any::<prop::sample::Index>().prop_map(Step::Abandon),
    ];
    prop::collection::vec(step, 0..200)
}

/// A plain model of the circuit: the list of results since it was last closed. It has only the
/// bounds of a pause, not its length.
struct Model {
    settings: Settings,
    state: ModelState,
    /// The number of transitions. The result of a call that began before the last one is ignored.
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

    /// Checks whether a call may be admitted.
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
                state == State::Open || (state == State::HalfOpen && now - *since >= MIN_OPEN)
            }
        }
    }
}

async fn check_against_model(settings: Settings, steps: Vec<Step>) {
    let breaker = circuit(settings.clone());
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
            Step::Record(index, verdict) if !under_way.is_empty() => {
                let (permit, generation, _) = under_way.swap_remove(index.index(under_way.len()));
                permit.record(verdict);
                model.result(generation, Some(verdict), now);
            }
            Step::Abandon(index) if !under_way.is_empty() => {
                let (permit, generation, began) =
                    under_way.swap_remove(index.index(under_way.len()));
                drop(permit);
                model.result(generation, (now - began >= SLOW).then_some(Verdict::Failure), now);
            }
            Step::Record(..) | Step::Abandon(_) => {}
        }
        assert!(model.agrees_with(breaker.state(), Instant::now()));
    }

    drop(under_way);
    advance(MAX_OPEN * MAX_PAUSE_FACTOR).await;
    assert!(breaker.acquire().is_ok(), "the circuit is never stuck");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_circuit_agrees_with_its_model(
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

#[tokio::test(start_paused = true)]
async fn an_opening_is_recorded_until_a_probe_succeeds() {
    let history = CircuitHistory::default();
    let breaker = Breaker::new("/x", settings(), history.clone());
    calls(&breaker, 5, Verdict::Failure);
    for verdict in [Verdict::Failure, Verdict::Throttled, Verdict::Success] {
        let [opening] = &history.openings()[..] else { panic!("{:?}", history.openings()) };
        assert_eq!((opening.route.as_str(), &opening.closed_at), ("/x", &None));
        advance(2 * MAX_OPEN).await;
        call(&breaker, verdict);
    }
    let [opening] = &history.openings()[..] else { panic!("{:?}", history.openings()) };
    assert!(opening.closed_at.is_some());
    assert_eq!(opening.failed_probes, 2);
}
