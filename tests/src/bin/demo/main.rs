//! Shows a bad day of AWS to a reader in front of a terminal: `make demo`.
//!
//! ```text
//! clients ──► balancer ──► main-api ──► balancer ──► aux-service ×2 ──► proxy ──► moto
//! programs on the AWS SDK ────────────────────────────────────────────► proxy
//! ```
//!
//! AWS throttles, hangs and goes away. Both services restart, AWS returns, and a value changes. After
//! each step the program prints what the clients saw, and what programs saw at the same time that
//! read AWS directly. It ends with status 0 only if everything that it claims was so.
#![allow(clippy::print_stdout, reason = "the narration is what this program is for")]

mod aws_calls;
mod clients;
mod deployment;
mod figures;
mod parameters;
mod report;
mod steps;
mod terminal;

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use clap::Parser;
use e2e::{engine::Engine, moto};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{
    aws_calls::AwsCalls,
    clients::{Clients, Load},
    deployment::{Addresses, Deployment, TTL},
    figures::Day,
    steps::{Pace, Steps},
    terminal::{Style, Terminal},
};

/// Shows a bad day of AWS in three minutes, on this machine and without AWS.
///
/// Both services run in front of an emulator of AWS, under load. AWS throttles, hangs and goes away,
/// both services restart, AWS returns, and a value changes. Ctrl-C ends everything.
///
/// The exit status is 0 if everything that the program claims was so, and 1 if not.
#[derive(Parser)]
#[command(name = "demo")]
struct Options {
    /// Shorten each step, for a check: half a minute instead of three
    #[arg(long)]
    quick: bool,

    /// Start one replica of aux-service without a shared cache, also where Valkey or Redis is installed
    #[arg(long)]
    one_replica: bool,

    /// Number of HTTP clients, each with ten requests a second [default: 30, and 5 with --quick]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    readers: Option<u32>,

    /// Address of main-api and of its page
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:30002")]
    main_api: SocketAddr,

    /// Address of the first replica of aux-service
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:30001")]
    aux_service: SocketAddr,

    /// Address of the second replica of aux-service
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:30011")]
    second_aux_service: SocketAddr,
}

/// The exit status of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let (terminal, day) = (Terminal::new(), Arc::new(Day::default()));
    if let Err(reason) = check(&options) {
        eprintln!("error: {reason}");
        return ExitCode::FAILURE;
    }
    let all_hold = OnceLock::new();
    // The future owns every process, and ends it when it is dropped: after the summary, because
    // clients fail while the services end.
    let mut show = std::pin::pin!(show(&options, &terminal, &day, &all_hold));
    tokio::select! {
        result = &mut show => {
            if let Err(reason) = result {
                eprintln!("error: {reason}");
                return ExitCode::FAILURE;
            }
        }
        () = interrupted() => {}
    }
    match all_hold.get() {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            terminal.paragraph("Interrupted. The steps so far:");
            day.read(|steps| report::summary(&terminal, steps));
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// Checks everything that the demonstration needs.
fn check(options: &Options) -> Result<(), String> {
    if !moto::is_installed() {
        return Err(
            "moto, the emulator of AWS, is not installed; `make demo` installs it".to_owned()
        );
    }
    for address in [options.main_api, options.aux_service, options.second_aux_service] {
        TcpListener::bind(address).map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("another program listens on {address}; end it and try again")
            }
            _ => format!("cannot listen on {address}: {error}"),
        })?;
    }
    Ok(())
}

/// Waits for a signal that ends programs. Terminals send them at Ctrl-C and when they are closed.
async fn interrupted() {
    let receive = |kind| signal(kind).expect("the runtime has signals");
    let (mut interrupt, mut terminate, mut hangup) = (
        receive(SignalKind::interrupt()),
        receive(SignalKind::terminate()),
        receive(SignalKind::hangup()),
    );
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
        _ = hangup.recv() => (),
    }
}

/// Shows the day, and then sets whether all claims hold. On a terminal everything continues to run
/// after it, until the future is dropped.
async fn show(
    options: &Options,
    terminal: &Terminal,
    day: &Arc<Day>,
    all_hold: &OnceLock<bool>,
) -> Result<(), String> {
    let (pace, mut load) = if options.quick {
        (Pace::quick(), Load { readers: 5, programs: 2 })
    } else {
        (Pace::usual(), Load { readers: 30, programs: 5 })
    };
    load.readers = options.readers.unwrap_or(load.readers);
    let with_engine = Engine::is_installed() && !options.one_replica;
    terminal.line(Style::Bold, "A bad day of AWS, in three minutes");
    let addresses = Addresses {
        main_api: options.main_api,
        aux_service: [options.aux_service, options.second_aux_service],
    };
    let starting = || "Starting".to_owned();
    let deployment = terminal.during(starting, Deployment::start(addresses, with_engine)).await;
    let main_url = deployment.main_balancer.url.clone();
    let warm = clients::warm_up(&main_url).await;
    warm.map_err(|failure| format!("the first requests failed: {failure}"))?;
    terminal.line(Style::Plain, "");
    terminal
        .line(Style::Bold, &format!("    Open {main_url}/ now: the page shows all of this live."));
    introduce(terminal, &deployment, load);

    let clients = Clients::start(load, &main_url, &deployment.aws.proxy.url, day);
    let aws_calls = AwsCalls::start(day);
    aws_calls.follow(&deployment.replicas).await;
    if terminal.is_terminal {
        let waiting = || "The day begins in a few seconds.".to_owned();
        terminal.during(waiting, sleep(pace.introduction)).await;
    }
    let mut steps =
        Steps { terminal, day, deployment, clients, aws_calls, pace, claims: Vec::new() };
    steps.run().await;
    steps.claim_figures();

    terminal.title("The day");
    day.read(|steps| report::summary(terminal, steps));
    terminal.line(Style::Plain, "");
    let _ = all_hold.set(report::claims_hold(terminal, &steps.claims));
    if terminal.is_terminal && !options.quick {
        terminal.paragraph(&format!(
            "Everything still runs. Look around: {main_url}/, or curl {main_url}/param/shop/cart/timeout. Ctrl-C ends it."
        ));
        std::future::pending::<()>().await;
    }
    Ok(())
}

fn introduce(terminal: &Terminal, deployment: &Deployment, load: Load) {
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let replicas: Vec<_> =
        deployment.replicas.iter().map(|replica| address(&replica.url)).collect();
    let replicas = if deployment.has_shared_cache() {
        format!("two replicas of aux-service on {}, with a shared cache", replicas.join(" and "))
    } else {
        format!(
            "one replica of aux-service on {}, without a shared cache, for which Valkey or Redis has to be installed",
            replicas.join("")
        )
    };
    terminal.paragraph(&format!(
        "What runs: main-api on {}, behind a balancer like a Kubernetes Service; {replicas}; and moto, an emulator of AWS, behind a proxy that \
         injects faults.",
        address(&deployment.main_balancer.url)
    ));
    terminal.say(&format!(
        "Load: {} requests/s through main-api for 50 parameters, five paths and the lists, by {} HTTP \
         clients and {} programs on the AWS SDK. The same programs also read AWS directly, at the same \
         rate, through the same proxy. A client gives up after {} s and repeats nothing; the AWS SDK repeats a call as \
         it does by default.",
        load.rate(),
        load.readers,
        load.programs,
        clients::CLIENT_TIMEOUT.as_secs()
    ));
    terminal.say(&format!(
        "Settings: the defaults, but values are fresh for {TTL} s instead of 60 s (CACHE_TTL), so that three \
         minutes are enough; a service that ends responds for 2 s more (SHUTDOWN_DELAY), so that the balancers see it; \
         and a busy machine does not look like a slow shared cache (SHARED_CACHE_TIMEOUT is 2 s)."
    ));
}
