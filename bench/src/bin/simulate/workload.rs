//! The reads of the pods: a Poisson process, over names with Zipf's law.

use fastrand::Rng;

use crate::{Seconds, scenario::Scenario};

/// The reads of all pods together.
pub(crate) struct Workload {
    /// Reads a second.
    rate: f64,
    pods: u32,
    /// The share of the reads of the names up to each one, the most wanted first.
    cumulative: Vec<f64>,
}

impl Workload {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=scenario.keys)
            .map(|rank| {
                sum += (rank as f64).powf(-scenario.zipf);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|share| *share /= sum);
        let rate = scenario.pods as f64 * scenario.reads_per_minute / 60.0;
        Self { rate, pods: scenario.pods as u32, cumulative }
    }

    /// Returns the time until the next read.
    pub(crate) fn pause(&self, random: &mut Rng) -> Seconds {
        -(1.0 - random.f64()).ln() / self.rate
    }

    /// Returns the pod and the name of a read.
    pub(crate) fn read(&self, random: &mut Rng) -> (u32, u32) {
        let share = random.f64();
        let rank = self.cumulative.partition_point(|cumulative| *cumulative <= share);
        (random.u32(0..self.pods), rank.min(self.cumulative.len() - 1) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::scenario;

    #[test]
    fn reads_follow_the_rate_and_zipfs_law() {
        let workload = Workload::new(&scenario("--pods 600 --reads-per-minute 10 --keys 100"));
        let mut random = Rng::with_seed(1);
        let (mut seconds, mut of_name) = (0.0, [0_u32; 100]);
        for _ in 0..100_000 {
            seconds += workload.pause(&mut random);
            of_name[workload.read(&mut random).1 as usize] += 1;
        }
        assert!((990.0..1010.0).contains(&seconds), "{seconds}");
        let ratio = f64::from(of_name[0]) / f64::from(of_name[9]);
        assert!((9.0..11.0).contains(&ratio), "{ratio}");
    }
}
