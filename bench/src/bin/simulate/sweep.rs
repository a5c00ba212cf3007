//! The sweep over replicas, pods and keys.

use std::{collections::BTreeMap, io::Write};

use serde_json::json;

use crate::{
    Seconds,
    batcher::{BATCH_WINDOW, REFRESH_WINDOW},
    scenario::{Scenario, parse},
    simulation::Simulation,
};

const REPLICAS: [usize; 5] = [1, 3, 10, 30, 100];
const PODS: [usize; 3] = [1_000, 10_000, 100_000];
const KEYS: [usize; 3] = [100, 1_000, 10_000];

/// The figures of the demand without any quota.
const OF_DEMAND: [&str; 3] = ["calls a second", "names a second", "calls of the busiest second"];

/// The figures under the quota.
const UNDER_QUOTA: [&str; 11] = [
    "calls a second",
    "names a second",
    "refused a second",
    "throttled a second",
    "share hit",
    "share stale",
    "share stale_error",
    "share miss",
    "share coalesced",
    "share error",
    "age p99",
];

/// The replicas of the events, with 100,000 pods and 1,000 keys.
const REPLICAS_OF_EVENTS: [usize; 2] = [3, 100];

/// Events, and their arguments.
const EVENTS: [(&str, &str); 4] = [
    ("cold start, first 2 minutes", "--warm-up 0 --seconds 120"),
    (
        "change of 20 names, no event",
        "--change-at 300 --change-keys 20 --warm-up 300 --seconds 180",
    ),
    (
        "the same, event after 1 s",
        "--change-at 300 --change-keys 20 --push 1 --warm-up 300 --seconds 180",
    ),
    ("AWS fails for 5 minutes", "--outage-at 300 --outage-for 300 --warm-up 300 --seconds 300"),
];

/// The windows of refreshes, in seconds, and the arguments of the scenarios that have them.
const WINDOWS: [Seconds; 3] = [BATCH_WINDOW, REFRESH_WINDOW, 1.0];
const WITH_WINDOWS: [&str; 4] = [
    "--aux-replicas 1 --main-replicas 1 --keys 10000",
    "--aux-replicas 10 --main-replicas 10 --keys 1000",
    "--aux-replicas 10 --main-replicas 10 --keys 10000 --shared",
    "--aux-replicas 100 --main-replicas 100 --keys 1000",
];

/// The figures of an event.
const OF_EVENT: [&str; 9] = [
    "calls",
    "share hit",
    "share stale",
    "share stale_error",
    "share error",
    "age p99",
    "age max",
    "last old response, mean",
    "last old response, max",
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
    events(base, output)?;
    windows(base, output)
}

fn windows(base: &Scenario, output: &mut impl Write) -> std::io::Result<()> {
    for arguments in WITH_WINDOWS {
        for refresh_window in WINDOWS {
            let scenario = parse(arguments).expect("the arguments are constants");
            let scenario = Scenario {
                seed: base.seed,
                pods: 100_000,
                rate: Some(0.0),
                aws_quota: 0.0,
                warm_up: base.warm_up,
                seconds: base.seconds,
                refresh_window,
                ..scenario
            };
            let Scenario { aux_replicas: replicas, keys, shared, .. } = scenario;
            let line = json!({
                "window": refresh_window,
                "replicas": replicas,
                "keys": keys,
                "shared": shared,
                "demand": figures(&scenario, &OF_DEMAND),
            });
            writeln!(output, "{line}")?;
        }
    }
    Ok(())
}

fn events(base: &Scenario, output: &mut impl Write) -> std::io::Result<()> {
    for (event, arguments) in EVENTS {
        for replicas in REPLICAS_OF_EVENTS {
            for shared in [false, true] {
                let scenario = parse(arguments).expect("the arguments are constants");
                let scenario = Scenario {
                    seed: base.seed,
                    pods: 100_000,
                    keys: 1_000,
                    shared,
                    main_replicas: replicas,
                    aux_replicas: replicas,
                    ..scenario
                };
                let figures = figures(&scenario, &OF_EVENT);
                let line = json!({ "event": event, "replicas": replicas, "shared": shared, "figures": figures });
                writeln!(output, "{line}")?;
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
