//! The figures as text: the live line, the lines of a step, and the summary of the day.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    figures::{Day, Figures, Group, Step, THROUGH_GATEWAY, sum},
    steps::Claim,
    terminal::{Style, Terminal},
};

/// The steps in which a call that reads AWS itself cannot succeed.
const OUTAGES: [&str; 3] = ["throttled", "hanging", "gone"];

/// Returns the live line of the current step.
pub(crate) fn live(day: &Day) -> String {
    day.read(|steps| {
        let Some(step) = steps.last() else { return String::new() };
        let (seen, direct) = (step.figures(&THROUGH_GATEWAY), step.figures(&[Group::SdkDirect]));
        format!(
            "{:>3} s  {} answered, {} failed, oldest {} s | AWS directly: {:.0} % failed",
            step.elapsed().as_secs(),
            grouped(seen.answered),
            grouped(seen.failed),
            seen.oldest,
            direct.failed_percent(),
        )
    })
}

/// Prints the figures of a step.
pub(crate) fn step(terminal: &Terminal, step: Option<&Step>) {
    let Some(step) = step else { return };
    let (seen, direct) = (step.figures(&THROUGH_GATEWAY), step.figures(&[Group::SdkDirect]));
    let style = if seen.failed == 0 { Style::Good } else { Style::Bad };
    terminal.line(
        style,
        &format!(
            "  through main-api   {} requests answered, {} failed{}",
            grouped(seen.answered),
            grouped(seen.failed),
            kinds(&seen.failures)
        ),
    );
    terminal.line(
        Style::Plain,
        &format!(
            "                     99 of 100 within {}, slowest {}; the oldest value was {} s old",
            milliseconds(seen.p99),
            milliseconds(seen.slowest),
            seen.oldest
        ),
    );
    terminal.line(
        Style::Plain,
        &format!(
            "  aux-service to AWS {} call{}{}",
            grouped(step.aws_calls()),
            if step.aws_calls() == 1 { "" } else { "s" },
            kinds(&step.aws)
        ),
    );
    let style = if direct.failed == 0 { Style::Plain } else { Style::Bad };
    terminal.line(
        style,
        &format!(
            "  AWS directly       {} calls answered, {} failed{}; 99 of 100 within {}",
            grouped(direct.answered),
            grouped(direct.failed),
            kinds(&direct.failures),
            milliseconds(direct.p99)
        ),
    );
}

/// Returns the claims about the figures of the day.
pub(crate) fn claims(steps: &[Step]) -> Vec<Claim> {
    let seen = sum(steps, &THROUGH_GATEWAY);
    let mut claims = vec![Claim {
        holds: seen.failed == 0 && seen.answered > 0,
        text: format!(
            "Of {} requests through main-api, {} failed{}.",
            grouped(seen.all()),
            if seen.failed == 0 { "none".to_owned() } else { grouped(seen.failed) },
            kinds(&seen.failures)
        ),
    }];
    let outage = steps.iter().filter(|step| OUTAGES.contains(&step.name));
    let direct = sum(outage, &[Group::SdkDirect]);
    // A call that was sent just before the outage may be answered in it.
    claims.push(Claim {
        holds: direct.failed > direct.answered,
        text: format!(
            "Of {} calls that read AWS directly during the outage, {} failed.",
            grouped(direct.all()),
            grouped(direct.failed)
        ),
    });
    claims
}

/// Prints the summary of all steps so far.
pub(crate) fn summary(terminal: &Terminal, steps: &[Step]) {
    terminal.line(
        Style::Plain,
        "            through main-api, all clients                  calls    AWS directly, AWS SDK",
    );
    terminal.line(
        Style::Bold,
        "step        answered   failed      p99  slowest   oldest  to AWS   answered   failed      p99",
    );
    for step in steps {
        let seen = step.figures(&THROUGH_GATEWAY);
        row(terminal, step.name, &seen, step.aws_calls(), &step.figures(&[Group::SdkDirect]));
    }
    let (seen, direct) = (sum(steps, &THROUGH_GATEWAY), sum(steps, &[Group::SdkDirect]));
    let calls = steps.iter().map(Step::aws_calls).sum();
    row(terminal, "all", &seen, calls, &direct);

    let program = sum(steps, &[Group::SdkThroughGateway]);
    terminal.paragraph(&format!(
        "The same program on the AWS SDK, at the same rate and at the same time: {}. Its endpoint was the only \
         difference.",
        [("through main-api", &program), ("directly", &direct)]
            .map(|(how, figures)| format!(
                "{how} {} of {} calls failed ({:.1} %)",
                grouped(figures.failed),
                grouped(figures.all()),
                figures.failed_percent()
            ))
            .join(", ")
    ));
    terminal.say(&format!(
        "{} requests through main-api took {} calls to AWS: {} requests for each call.",
        grouped(seen.all()),
        grouped(calls),
        grouped(seen.all() / calls.max(1))
    ));
}

fn row(terminal: &Terminal, name: &str, seen: &Figures, calls: u64, direct: &Figures) {
    let line = format!(
        "{name:<10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>8}{:>11}{:>9}{:>9}",
        grouped(seen.answered),
        grouped(seen.failed),
        milliseconds(seen.p99),
        milliseconds(seen.slowest),
        format!("{} s", seen.oldest),
        grouped(calls),
        grouped(direct.answered),
        grouped(direct.failed),
        milliseconds(direct.p99),
    );
    terminal.line(Style::Plain, &line);
}

/// Prints the claims, and returns whether all of them hold.
pub(crate) fn claims_hold(terminal: &Terminal, claims: &[Claim]) -> bool {
    for claim in claims {
        if claim.holds {
            terminal.line(Style::Good, &format!("yes  {}", claim.text));
        } else {
            terminal.line(Style::Bad, &format!("NO   {}", claim.text));
        }
    }
    claims.iter().all(|claim| claim.holds)
}

/// Returns counts by kind, the most frequent first, in parentheses or nothing.
fn kinds(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let counts = counts.iter().map(|(kind, count)| format!("{} {kind}", grouped(**count)));
    format!(" ({})", counts.collect::<Vec<_>>().join(", "))
}

/// Returns a duration in the unit that fits: `7 ms`, `1.2 s`.
pub(crate) fn milliseconds(duration: Duration) -> String {
    match duration.as_millis() {
        0 if duration.is_zero() => "-".to_owned(),
        0 => "<1 ms".to_owned(),
        millis @ 1..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// Returns a number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
