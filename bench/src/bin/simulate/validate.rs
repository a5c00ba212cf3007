//! The comparison of the simulation with measured points.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

use crate::{scenario::parse, simulation::Simulation};

/// The largest difference to a measured figure, as a part of it.
const TOLERANCE: f64 = 0.15;

/// The simulations of each point, whose mean is compared. One alone would differ by its chance.
const SEEDS: u64 = 5;

/// The file with the measured points.
#[derive(Deserialize)]
struct Measured {
    points: Vec<Point>,
}

/// A measurement, and the scenario that describes it.
#[derive(Deserialize)]
struct Point {
    name: String,
    /// The arguments of the simulation.
    scenario: String,
    /// The measured figures, by the names that the simulation gives them.
    figures: BTreeMap<String, f64>,
}

/// A figure, measured and simulated.
pub(crate) struct Comparison {
    pub(crate) point: String,
    pub(crate) figure: String,
    pub(crate) measured: f64,
    pub(crate) simulated: f64,
}

impl Comparison {
    /// The difference to the measured figure, as a part of it.
    pub(crate) fn difference(&self) -> f64 {
        (self.simulated - self.measured) / self.measured
    }

    pub(crate) fn agrees(&self) -> bool {
        self.difference().abs() <= TOLERANCE
    }
}

/// Simulates each point of a file of measurements.
pub(crate) fn compare(file: &str) -> anyhow::Result<Vec<Comparison>> {
    let Measured { points } =
        serde_json::from_str(file).context("cannot parse the measured points")?;
    let mut comparisons = Vec::new();
    for Point { name, scenario, figures } in points {
        let scenario = parse(&scenario).with_context(|| format!("the scenario of {name:?}"))?;
        let mut sums = BTreeMap::<&str, f64>::new();
        for seed in 1..=SEEDS {
            let scenario = crate::scenario::Scenario { seed, ..scenario.clone() };
            for (figure, value) in Simulation::new(&scenario).run() {
                *sums.entry(figure).or_default() += value / SEEDS as f64;
            }
        }
        for (figure, measured) in figures {
            let simulated = *sums
                .get(figure.as_str())
                .with_context(|| format!("the simulation has no figure {figure:?}"))?;
            comparisons.push(Comparison { point: name.clone(), figure, measured, simulated });
        }
    }
    Ok(comparisons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simulation_is_within_15_percent_of_every_measured_point() {
        let comparisons = compare(include_str!("../../../measured.json")).expect("valid");
        assert!(comparisons.len() > 20, "only {} figures", comparisons.len());
        for comparison in comparisons {
            let Comparison { point, figure, measured, simulated } = &comparison;
            assert!(comparison.agrees(), "{point}, {figure}: {simulated} instead of {measured}");
        }
    }

    #[test]
    fn a_figure_that_differs_by_more_than_15_percent_does_not_agree() {
        let comparison = |simulated| Comparison {
            point: String::new(),
            figure: String::new(),
            measured: 100.0,
            simulated,
        };
        let agrees = [84.9, 85.1, 100.0, 114.9, 115.1].map(|value| comparison(value).agrees());
        assert_eq!(agrees, [false, true, true, true, false]);
    }
}
