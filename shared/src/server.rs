//! The life of the process: bind, answer probes, serve, and leave without dropping a request.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{config::Common, http::probe_stack, metrics::Exporter, problem::Problem};

/// A client must have sent its request's header by then, and an idle connection closes then.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// After a failed accept (out of file descriptors, mostly): how long to let others close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a service says of what it depends on, for `/readyz`. It must not block or call out.
pub type Dependencies = Arc<dyn Fn() -> Value + Send + Sync>;

/// Serves until SIGTERM or Ctrl-C, then drains. A second signal ends the process at once.
pub async fn run(
    config: &Common,
    listen_addr: SocketAddr,
    app: Router,
    exporter: Exporter,
    dependencies: Dependencies,
) -> anyhow::Result<()> {
    let public = bind(listen_addr).await?;
    let admin = match config.admin_addr {
        Some(addr) => Some(bind(addr).await?),
        None => None,
    };
    let (first, second) = (signals(1)?, signals(2)?);
    tokio::select! {
        () = serve(config, public, admin, app, exporter, dependencies, first) => (),
        () = second => tracing::warn!("a second signal: ending at once"),
    }
    Ok(())
}

/// Leaving has four steps, in this order:
/// 1. `/readyz` turns 503, and we keep serving for `shutdown_delay`, because a pod still gets
///    new requests for a moment after SIGTERM;
/// 2. the public listener stops accepting;
/// 3. open requests get up to `shutdown_grace` to finish;
/// 4. the admin listener goes last, so that the drain itself can be watched.
pub async fn serve(
    config: &Common,
    public: TcpListener,
    admin: Option<TcpListener>,
    app: Router,
    exporter: Exporter,
    dependencies: Dependencies,
    shutdown: impl Future<Output = ()>,
) {
    let upkeep = tokio::spawn(exporter.clone().upkeep());
    let draining = Arc::new(AtomicBool::new(false));
    let probes = probes(Arc::clone(&draining), exporter, dependencies);
    let (stop_admin, admin_stopped) = watch::channel(());
    let (stop_public, public_stopped) = watch::channel(());
    let app = match admin {
        // In this order: merging keeps the fallback of the second, and unmatched paths must be counted.
        None => probes.merge(app),
        Some(listener) => {
            tell_address("listening for probes", &listener);
            tokio::spawn(accept(listener, probes, admin_stopped, Duration::ZERO));
            app
        }
    };
    tell_address("listening", &public);
    let serving = tokio::spawn(accept(public, app, public_stopped, config.shutdown_grace));

    shutdown.await;
    tracing::info!("draining");
    draining.store(true, Relaxed);
    sleep(config.shutdown_delay).await;
    drop(stop_public);
    // It ends by itself within the grace, and only a panic of ours could make it fail.
    let _ = serving.await;
    drop(stop_admin);
    upkeep.abort();
    tracing::info!("stopped");
}

/// Serves connections until `stopped` closes, then lets open requests finish within `grace`.
///
/// hyper is driven directly because `axum::serve` has no limit on how long a client may take
/// to send its header, and lays all layers anew for each connection.
async fn accept(
    listener: TcpListener,
    app: Router,
    mut stopped: watch::Receiver<()>,
    grace: Duration,
) {
    let app = TowerToHyperService::new(app.with_state(()));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .pipeline_flush(true)
        .half_close(false);
    let connections = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            _ = stopped.changed() => break,
        };
        // Answers are written whole, so waiting for more to send only adds latency.
        let _ = stream.set_nodelay(true);
        let connection =
            connections.watch(http.serve_connection(TokioIo::new(stream), app.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
    }
    drop(listener);
    if timeout(grace, connections.shutdown()).await.is_err() && !grace.is_zero() {
        tracing::warn!("some requests did not finish within the grace");
    }
}

async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

fn tell_address(what: &'static str, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "{what}");
    }
}

/// Completes at the `count`th SIGTERM or Ctrl-C. The handlers are in place when this returns,
/// not when the future is first polled.
fn signals(count: usize) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for _ in 0..count {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
        }
    })
}

#[derive(Clone)]
struct Readiness {
    draining: Arc<AtomicBool>,
    dependencies: Dependencies,
}

fn probes(draining: Arc<AtomicBool>, exporter: Exporter, dependencies: Dependencies) -> Router {
    let readiness = Readiness { draining, dependencies };
    probe_stack(
        Router::new()
            .route("/healthz", get(alive))
            .route("/livez", get(alive))
            .route("/readyz", get(ready).with_state(readiness))
            .route("/metrics", get(async move || exporter.render())),
    )
}

/// Whatever happens outside the process, restarting it would not help.
async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Falls only when the process drains: were it to fall with AWS, every replica would leave the
/// balancer at once, and nobody could be given the stale answers that they hold.
async fn ready(State(readiness): State<Readiness>) -> Response {
    if readiness.draining.load(Relaxed) {
        return draining().into_response();
    }
    let body = json!({ "status": "ready", "dependencies": (readiness.dependencies)() });
    Json(body).into_response()
}

pub(crate) fn draining() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "draining",
        "Draining",
        "This process is about to end and takes no more traffic.",
    )
    .retryable()
}
