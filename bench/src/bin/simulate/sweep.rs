//! The sweep over replicas, pods and keys.

use std::{collections::BTreeMap, io::Write};

use serde_json::json;

use crate::{scenario::Scenario, simulation::Simulation};

const REPLICAS: [usize; 5] = [1, 3, 10, 30, 100];
const PODS: [usize; 3] = [1_000, 10_000, 100_000];
const KEYS: [usize; 3] = [100, 1_000, 10_000];

/// The figures of the demand without any quota.
const OF_DEMAND: [&str; 3] = ["calls a second", "names a second", "calls of the busiest second"];

/// The figures under the quota.
const UNDER_QUOTA: [&str; 9] = [
    "calls a second",
    "names a second",
    "refused a second",
    "throttled a second",
    "share hit",
    "share stale",
    "share stale_error",
    "share error",
    "age p99",
];

/// Simulates each combination with and without a shared cache, and writes a line of JSON for each:
/// the demand without any quota, and the figures under the quota.
pub(crate) fn sweep(base: &Scenario, output: &mut impl Write) -> std::io::Result<()> {
    for replicas in REPLICAS {
        for pods in PODS {
            for keys in KEYS {
                for shared in [false, true] {
                    let limited = Scenario {
                        pods,
                        keys,
                        shared,
                        main_replicas: replicas,
                        aux_replicas: replicas,
                        ..base.clone()
                    };
                    let unlimited = Scenario { rate: Some(0.0), aws_quota: 0.0, ..limited.clone() };
                    let line = json!({
                        "replicas": replicas,
                        "pods": pods,
                        "keys": keys,
                        "shared": shared,
                        "demand": figures(&unlimited, &OF_DEMAND),
                        "limited": figures(&limited, &UNDER_QUOTA),
                    });
                    writeln!(output, "{line}")?;
                }
            }
        }
    }
    Ok(())
}

/// Returns these figures of a scenario, with four digits.
fn figures(scenario: &Scenario, names: &[&'static str]) -> BTreeMap<&'static str, f64> {
    let mut figures = Simulation::new(scenario).run();
    figures.retain(|name, _| names.contains(name));
    figures.values_mut().for_each(|value| *value = (*value * 1e4).round() / 1e4);
    figures
}
