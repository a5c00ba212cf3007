//! A simulation of the services' policy by discrete events: pods that read parameters, replicas of
//! main-api and of aux-service with their caches, connections, batches and quota shields, a shared
//! cache, and AWS.
//!
//! `bench/growth.md` has its results and its simplifications.

use std::{
    io::{Write, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;

use self::{scenario::Scenario, simulation::Simulation};

mod freshness;
mod cache;
mod bucket;
mod batcher;
mod engine;
mod connections;
mod retries;
mod scenario;
mod queue;
mod workload;
mod figures;
mod simulation;
mod validate;
mod sweep;

/// A time since the start of the simulation, or a duration.
type Seconds = f64;

#[derive(Parser)]
#[command(
    about = "Simulates the policy of both services: calls of AWS, outcomes and ages of responses",
    long_about = None,
    after_help = "Both services share their settings for caches. Times are seconds. The figures of a scenario are the same for \
                  each run with one seed."
)]
struct Arguments {
    #[command(flatten)]
    scenario: Scenario,

    /// Prints the figures as JSON
    #[arg(long)]
    json: bool,

    /// Compares the simulation with the measured points of this file instead (bench/measured.json),
    /// and fails if a figure differs by more than 15 %
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "bench/measured.json",
          conflicts_with = "sweep")]
    validate: Option<PathBuf>,

    /// Simulates 1 to 100 replicas, 1,000 to 100,000 pods and 100 to 10,000 keys instead, and prints
    /// a line of JSON for each combination
    #[arg(long)]
    sweep: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let Arguments { scenario, json, validate, sweep } = Arguments::parse();
    scenario.check().map_err(anyhow::Error::msg)?;
    let mut output = stdout().lock();
    if let Some(file) = validate {
        let file = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        return report(&validate::compare(&file)?, &mut output);
    }
    if sweep {
        sweep::sweep(&scenario, &mut output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let figures = Simulation::new(&scenario).run();
    if json {
        writeln!(output, "{}", serde_json::to_string(&figures)?)?;
    } else {
        for (name, value) in figures {
            writeln!(output, "{name:28} {value:14.3}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the comparison as a table. The status is that of a failure if a figure does not agree.
fn report(
    comparisons: &[validate::Comparison],
    output: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    writeln!(output, "| point | figure | measured | simulated | difference |")?;
    writeln!(output, "|---|---|---:|---:|---:|")?;
    for comparison in comparisons {
        let validate::Comparison { point, figure, measured, simulated } = comparison;
        let percent = 100.0 * comparison.difference();
        let mark = if comparison.agrees() { "" } else { ", **too much**" };
        writeln!(
            output,
            "| {point} | {figure} | {measured:.2} | {simulated:.2} | {percent:+.1} %{mark} |"
        )?;
    }
    let wrong = comparisons.iter().filter(|comparison| !comparison.agrees()).count();
    if wrong == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(output, "\n{wrong} of {} figures differ by more than 15 %.", comparisons.len())?;
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn scenario(arguments: &str) -> Scenario {
        scenario::parse(arguments).expect("valid arguments")
    }
}
