//! The life of a process: listen, respond to probes, serve, and end without dropping a request.
//!
//! Read in this order: `stack` is the one order of layers, each layer has a file of its own, and
//! `dispatch` is the service below them. `listener` and `connection` carry requests to the stack,
//! and this file starts and ends it all.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    time::sleep,
};

mod request;
mod request_log;
mod count;
mod problems;
mod host;
mod places;
mod wait_ticket;
mod waits;
mod shed;
mod authenticate;
mod deadline;
mod request_body;
mod cached_routes;
mod watched;
mod wait;
mod dispatch;
mod change_stream;
mod stack;
mod connection;
mod registry;
mod listener;
mod probes;

pub use cached_routes::{CachedRoutes, Query, ResponseFuture, SsmQuery};
pub use change_stream::{LAST_EVENT_ID, RESET, change_stream};
pub use listener::listen;
pub use probes::Dependencies;
pub use request::{Deadline, EXPECTED_TIMEOUT};
pub use stack::{HttpService, PublicApi, StackConfig, stack};
pub use waits::Waits;

use crate::{
    config::Common,
    observe::{metrics::Exporter, trace},
};
use listener::{HttpServer, Limits};
use probes::{ProbesFirst, probes};

/// The connections that may be open beside those of the `MAX_IN_FLIGHT` and `MAX_WAITING` requests.
const MORE_CONNECTIONS: usize = 1024;

/// The connections of the admin listener. Only probes and scrapers use it.
const ADMIN_CONNECTIONS: usize = 128;

/// After `main`, the time for threads that still run, such as a lookup of a host name. The runtime
/// would otherwise wait for them without bound.
const THREADS_GRACE: Duration = Duration::from_millis(100);

/// A service as the network sees it.
pub struct App<S> {
    pub api: S,
    pub dependencies: Dependencies,
    /// The waits of the API, which a drain ends.
    pub waits: Waits,
    /// Whether the start is complete. Until then `/readyz` is 503, and requests are served.
    pub started: Arc<AtomicBool>,
}

/// Runs the main function of a process. If it fails, the exit status is 1, and one sentence on
/// standard error says why.
pub fn block_on(main: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = Builder::new_multi_thread().enable_all().build();
    let result = runtime.context("the system has no threads left").and_then(|runtime| {
        let result = runtime.block_on(main);
        runtime.shutdown_timeout(THREADS_GRACE);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until SIGTERM or Ctrl-C, then drains and sends the last traces. A second signal ends the
/// process at once.
///
/// # Errors
///
/// An address cannot be listened on.
pub async fn run(
    config: &Common,
    listen_addr: SocketAddr,
    app: App<impl PublicApi>,
    exporter: Exporter,
) -> anyhow::Result<()> {
    let public = bind("--listen-addr (LISTEN_ADDR)", listen_addr)?;
    let admin =
        config.admin_addr.map(|addr| bind("--admin-addr (ADMIN_ADDR)", addr)).transpose()?;
    raise_open_files_limit();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next_signal = async || {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    };
    let (request_shutdown, shutdown_requested) = oneshot::channel();
    let shutdown_requested = async {
        // The sender lives as long as this future.
        let _ = shutdown_requested.await;
    };
    let second_signal = async {
        next_signal().await;
        // The drain starts only after the first signal is taken. Two pending signals would count as
        // one.
        let _ = request_shutdown.send(());
        next_signal().await;
    };
    let served = async {
        serve(config, public, admin, app, exporter, shutdown_requested).await;
        trace::flush().await;
    };
    tokio::select! {
        () = served => (),
        () = second_signal => tracing::warn!("second signal: the process ends at once"),
    }
    Ok(())
}

/// Serves until `shutdown`, then drains in four steps, in this order:
/// 1. `/readyz` turns 503 and requests are served on for `shutdown_delay`, because a pod still gets
///    new requests for a moment after SIGTERM; each response closes its connection, so that clients
///    move to another replica;
/// 2. requests that wait for a change get their responses, streams of changes end, and the public
///    listener stops accepting;
/// 3. requests in progress get up to `shutdown_grace` to finish;
/// 4. the admin listener stops last, so that the drain can be watched.
pub async fn serve(
    config: &Common,
    public: TcpListener,
    admin: Option<TcpListener>,
    app: App<impl PublicApi>,
    exporter: Exporter,
    shutdown: impl Future<Output = ()>,
) {
    let upkeep = tokio::spawn(exporter.clone().upkeep());
    let draining = Arc::new(AtomicBool::new(false));
    let probes = probes(app.started, Arc::clone(&draining), &exporter, app.dependencies);
    let (stop_admin, admin_stopped) = watch::channel(());
    let (stop_public, public_stopped) = watch::channel(());
    let limits = Limits {
        capacity: config
            .max_in_flight
            .saturating_add(config.max_waiting)
            .saturating_add(MORE_CONNECTIONS),
        max_age: config.max_connection_age,
    };
    let grace = config.shutdown_grace;
    let (serving, serving_admin) = match admin {
        None => {
            let server = HttpServer::new(ProbesFirst { probes, api: app.api }, &limits, &draining);
            exporter.before_scrape(server.registry().gauge());
            log_address("listening", &public);
            (tokio::spawn(server.serve(public, public_stopped, grace)), None)
        }
        Some(admin) => {
            let limits_of_admin = Limits { capacity: ADMIN_CONNECTIONS, max_age: Duration::ZERO };
            log_address("listening for probes", &admin);
            let server = HttpServer::new(probes, &limits_of_admin, &draining);
            let serving_admin = tokio::spawn(server.serve(admin, admin_stopped, Duration::ZERO));
            let server = HttpServer::new(app.api, &limits, &draining);
            exporter.before_scrape(server.registry().gauge());
            log_address("listening", &public);
            (tokio::spawn(server.serve(public, public_stopped, grace)), Some(serving_admin))
        }
    };

    shutdown.await;
    tracing::info!("draining");
    draining.store(true, Relaxed);
    sleep(config.shutdown_delay).await;
    app.waits.end();
    drop(stop_public);
    // It ends by itself within the grace, and only a panic could make it fail.
    let _ = serving.await;
    drop(stop_admin);
    if let Some(serving_admin) = serving_admin {
        let _ = serving_admin.await;
    }
    upkeep.abort();
    // A number above about ten means leaked tasks.
    tracing::info!(tasks = Handle::current().metrics().num_alive_tasks(), "stopped");
}

/// Raises the limit of open files to its maximum. Each connection is an open file, and the default
/// limit of many systems is 1024.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Listens on the address of a setting.
fn bind(setting: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(addr).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "end the program that uses it, or choose another port",
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; 0.0.0.0 listens on all addresses"
            }
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "choose another address",
        };
        anyhow::anyhow!("cannot listen on {addr}, the value of {setting}: {error}; {remedy}")
    })
}

fn log_address(message: &'static str, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "{message}");
    }
}
