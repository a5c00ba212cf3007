//! The life of the process: bind, answer probes, serve, and leave without dropping a request.

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
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
    http::{HeaderValue, Request, StatusCode, header::CONNECTION},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    time::{interval, sleep, timeout},
};
use tower::Service;

use crate::{
    config::Common,
    connections::{Connections, SECOND, Watched},
    fast_path::{FastPath, FastStream},
    http::{Stacked, probe_stack},
    metrics::Exporter,
    problem::Problem,
};

/// For a request's line and header together. The longest path that a route takes is three
/// times 2048 bytes when every byte is percent-encoded.
pub(crate) const LARGEST_HEADER: usize = 16 << 10;

/// Connections that may be open beside those of the `max_in_flight` requests.
const MORE_CONNECTIONS: usize = 1024;

/// Of the admin listener, where only probes and scrapers come.
const ADMIN_CONNECTIONS: usize = 128;

/// After a failed accept (out of file descriptors, mostly): how long to let others close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long the last connections get to be looked at for the first time.
const SETTLE: Duration = Duration::from_millis(50);

/// What a service says of what it depends on, for `/readyz`. It must not block or call out.
pub type Dependencies = Arc<dyn Fn() -> Value + Send + Sync>;

/// What a service is to the network.
pub struct App {
    pub public: Stacked,
    pub dependencies: Dependencies,
}

/// Serves until SIGTERM or Ctrl-C, then drains. A second signal ends the process at once.
pub async fn run(
    config: &Common,
    listen_addr: SocketAddr,
    app: App,
    exporter: Exporter,
) -> anyhow::Result<()> {
    let public = bind(listen_addr)?;
    let admin = match config.admin_addr {
        Some(addr) => Some(bind(addr)?),
        None => None,
    };
    allow_open_files();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    };
    let (shutdown, asked) = oneshot::channel();
    let asked = async {
        // The sender lives as long as what waits here.
        let _ = asked.await;
    };
    let twice = async {
        signalled().await;
        // Told only after the first signal is taken: two that are not taken count as one.
        let _ = shutdown.send(());
        signalled().await;
    };
    tokio::select! {
        () = serve(config, public, admin, app, exporter, asked) => (),
        () = twice => tracing::warn!("a second signal: ending at once"),
    }
    Ok(())
}

/// Leaving has four steps, in this order:
/// 1. `/readyz` turns 503, and we keep serving for `shutdown_delay`, because a pod still gets
///    new requests for a moment after SIGTERM; each answer closes its connection, so that
///    clients move on while nothing is lost by it;
/// 2. the public listener stops accepting;
/// 3. open requests get up to `shutdown_grace` to finish;
/// 4. the admin listener goes last, so that the drain itself can be watched.
pub async fn serve(
    config: &Common,
    public: TcpListener,
    admin: Option<TcpListener>,
    app: App,
    exporter: Exporter,
    shutdown: impl Future<Output = ()>,
) {
    let App { public: Stacked { router: app, fast_path }, dependencies } = app;
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
            let door = Door::new(probes, None, ADMIN_CONNECTIONS, &draining);
            tokio::spawn(door.serve(listener, admin_stopped, Duration::ZERO));
            app
        }
    };
    tell_address("listening", &public);
    let capacity = config.max_in_flight.saturating_add(MORE_CONNECTIONS);
    let door = Door::new(app, fast_path, capacity, &draining);
    let serving = tokio::spawn(door.serve(public, public_stopped, config.shutdown_grace));

    shutdown.await;
    tracing::info!("draining");
    draining.store(true, Relaxed);
    sleep(config.shutdown_delay).await;
    drop(stop_public);
    // It ends by itself within the grace, and only a panic of ours could make it fail.
    let _ = serving.await;
    drop(stop_admin);
    upkeep.abort();
    // More than a handful would be tasks that outlive what they were made for.
    tracing::info!(tasks = Handle::current().metrics().num_alive_tasks(), "stopped");
}

/// What stands between a listener and the routes.
///
/// hyper is driven directly because `axum::serve` has no limit on how long a client may take
/// to send its header, and lays all layers anew for each connection.
struct Door {
    app: Router,
    fast_path: Option<Arc<FastPath>>,
    http: http1::Builder,
    connections: Connections,
    draining: Arc<AtomicBool>,
}

impl Door {
    fn new(
        app: Router,
        fast_path: Option<Arc<FastPath>>,
        capacity: usize,
        draining: &Arc<AtomicBool>,
    ) -> Self {
        let mut http = http1::Builder::new();
        // Not `pipeline_flush`: it holds an answer back while part of another request has come,
        // for as long as the rest takes, and what it holds back has no bound.
        http.half_close(false)
            .max_header_size(LARGEST_HEADER)
            .max_buf_size(LARGEST_HEADER)
            // `Connections` times a header. hyper's way would take a timer for every request.
            .header_read_timeout(None);
        Self {
            app: app.with_state(()),
            fast_path,
            http,
            connections: Connections::up_to(capacity),
            draining: Arc::clone(draining),
        }
    }

    /// Serves connections until `stopped` closes, then lets open requests finish within `grace`.
    async fn serve(self, listener: TcpListener, mut stopped: watch::Receiver<()>, grace: Duration) {
        let graceful = GracefulShutdown::new();
        let mut sweeps = interval(SECOND);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.welcome(stream, &graceful),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                _ = sweeps.tick() => self.connections.sweep(false),
                _ = stopped.changed() => break,
            }
        }
        // The kernel has accepted these already, and would reset them with the listener. It is
        // asked itself: what tokio knows of it may be a moment old.
        if let Ok(listener) = listener.into_std() {
            while let Ok((stream, _)) = listener.accept() {
                let waiting =
                    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = waiting {
                    self.welcome(stream, &graceful);
                }
            }
        }
        let drained = async {
            // A connection that is told to end before it is first looked at ends unread, even
            // when its request has come.
            sleep(SETTLE).await;
            let mut finished = pin!(graceful.shutdown());
            loop {
                tokio::select! {
                    () = &mut finished => break,
                    _ = sweeps.tick() => self.connections.sweep(true),
                }
            }
        };
        if timeout(grace, drained).await.is_err() && !grace.is_zero() {
            tracing::warn!("some requests did not finish within the grace");
        }
    }

    fn welcome(&self, stream: TcpStream, graceful: &GracefulShutdown) {
        // Answers are written whole, so waiting for more to send only adds latency.
        let _ = stream.set_nodelay(true);
        let visit = self.connections.visit();
        let stream = Watched::new(TokioIo::new(stream), Arc::clone(&visit));
        let (path, draining) = (self.fast_path.clone(), Arc::clone(&self.draining));
        let stream = FastStream::new(stream, Arc::clone(&visit), path, draining);
        let (app, draining) = (self.app.clone(), Arc::clone(&self.draining));
        let asking = Arc::clone(&visit);
        let service = service_fn(move |request: Request<Incoming>| {
            asking.asks(!request.body().is_end_stream());
            let (visit, draining) = (Arc::clone(&asking), Arc::clone(&draining));
            let answer = app.clone().call(request);
            async move {
                let mut answer = answer.await;
                visit.is_answered();
                if let Ok(answer) = &mut answer
                    && draining.load(Relaxed)
                {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }
        });
        let connection = graceful.watch(self.http.serve_connection(stream, service));
        self.connections.spawn(visit, async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
    }
}

/// Each connection is an open file, and many systems allow a process 1024 of them unless it asks
/// for what it may have.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(addr).with_context(|| format!("cannot listen on {addr}"))
}

/// With room for a thousand connections that wait to be accepted; the standard library's 128
/// are few when a whole fleet reconnects.
pub fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the old connections' last packets.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

fn tell_address(what: &'static str, listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "{what}");
    }
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
