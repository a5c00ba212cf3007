//! The figures of a day: what clients saw in each step, and what AWS responded to aux-service.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

/// The groups of clients whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Clients of main-api's own routes.
    Routes,
    /// Programs on the AWS SDK whose endpoint is main-api.
    SdkThroughGateway,
    /// The same programs with AWS itself as their endpoint.
    SdkDirect,
}

/// The groups that read through main-api.
pub(crate) const THROUGH_GATEWAY: [Group; 2] = [Group::Routes, Group::SdkThroughGateway];

/// The result of one request: the age of the response in seconds, if it has one, or the failure.
pub(crate) type Outcome = Result<Option<u64>, String>;

/// The records of all steps. A request belongs to the step in which it ends.
#[derive(Default)]
pub(crate) struct Day {
    steps: Mutex<Vec<Step>>,
}

pub(crate) struct Step {
    pub(crate) name: &'static str,
    start: Instant,
    groups: [Requests; 3],
    /// The calls of aux-service to AWS, by their outcome in its metrics.
    pub(crate) aws: BTreeMap<String, u64>,
}

#[derive(Clone, Default)]
struct Requests {
    took: Vec<Duration>,
    failures: BTreeMap<String, u64>,
    oldest: u64,
}

/// The figures of one or more groups in one or more steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// The failures by their kind.
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) p99: Duration,
    pub(crate) slowest: Duration,
    /// The largest age of a response, in seconds.
    pub(crate) oldest: u64,
}

impl Day {
    /// Begins the next step.
    pub(crate) fn begin(&self, name: &'static str) {
        let (groups, aws) = (Default::default(), BTreeMap::new());
        self.locked().push(Step { name, start: Instant::now(), groups, aws });
    }

    /// Records a request. Requests before the first step are not recorded.
    pub(crate) fn record(&self, group: Group, took: Duration, outcome: Outcome) {
        if let Some(step) = self.locked().last_mut() {
            step.groups[group as usize].record(took, outcome);
        }
    }

    /// Records calls of aux-service to AWS.
    pub(crate) fn record_aws_calls(&self, outcome: &str, calls: u64) {
        if let Some(step) = self.locked().last_mut() {
            *step.aws.entry(outcome.to_owned()).or_default() += calls;
        }
    }

    /// Runs a function on all steps so far.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&[Step]) -> T) -> T {
        read(&self.locked())
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().expect("nothing panics while it holds this")
    }
}

impl Step {
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn figures(&self, groups: &[Group]) -> Figures {
        sum([self], groups)
    }

    pub(crate) fn aws_calls(&self) -> u64 {
        self.aws.values().sum()
    }
}

/// Returns the figures of these groups in all of these steps together.
pub(crate) fn sum<'a>(steps: impl IntoIterator<Item = &'a Step>, groups: &[Group]) -> Figures {
    let mut all = Requests::default();
    for step in steps {
        for group in groups {
            all.add(&step.groups[*group as usize]);
        }
    }
    all.figures()
}

impl Requests {
    fn record(&mut self, took: Duration, outcome: Outcome) {
        self.took.push(took);
        match outcome {
            Ok(age) => self.oldest = self.oldest.max(age.unwrap_or_default()),
            Err(failure) => *self.failures.entry(failure).or_default() += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.took.extend(&other.took);
        self.oldest = self.oldest.max(other.oldest);
        for (failure, count) in &other.failures {
            *self.failures.entry(failure.clone()).or_default() += count;
        }
    }

    fn figures(mut self) -> Figures {
        self.took.sort_unstable();
        let at = |index: usize| self.took.get(index).copied().unwrap_or_default();
        let failed = self.failures.values().sum();
        Figures {
            answered: self.took.len() as u64 - failed,
            failed,
            p99: at(self.took.len() * 99 / 100),
            slowest: self.took.last().copied().unwrap_or_default(),
            failures: self.failures,
            oldest: self.oldest,
        }
    }
}

impl Figures {
    pub(crate) fn all(&self) -> u64 {
        self.answered + self.failed
    }

    /// The share of failed requests in percent.
    pub(crate) fn failed_percent(&self) -> f64 {
        100.0 * self.failed as f64 / self.all().max(1) as f64
    }
}
