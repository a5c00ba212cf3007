//! A server on a real socket, and the client side of its connections.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{body::Body, http::StatusCode, routing::get};
use bytes::Bytes;
use cache::{
    Cache, CacheableError, CachedBody, Disposition, Effect, Loaded, Mode, Served, Settings,
    Subscription, http::Freshness,
};
use clap::Parser;
use futures_util::stream;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::{
    changes::ChangeLog,
    config::Common,
    contract::{
        problem::Problem,
        routes::{RouteId, Routes},
        ssm,
    },
    observe::metrics::Exporter,
    server::{
        self, App, CachedRoutes, Query, ResponseFuture, SsmQuery, StackConfig, Waits,
        change_stream, stack,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use zeroize::Zeroizing;

/// Timeout for operations that take milliseconds, long enough for a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Length in bytes of the value named `large`.
pub(crate) const LARGE: usize = 120_000;

/// Pause between two frames of `/stream`.
pub(crate) const FRAME_INTERVAL: Duration = Duration::from_millis(1500);

/// Duration of a load that is late.
const LATENCY: Duration = Duration::from_millis(50);

const MINUTE: Duration = Duration::from_secs(60);

const ROUTES: Routes = Routes(&[
    RouteId::Param,
    RouteId::Values,
    RouteId::Buckets,
    RouteId::Changes,
    RouteId::Status,
    RouteId::SsmGetParameter,
    RouteId::SsmGetParameters,
    RouteId::SsmGetParametersByPath,
    RouteId::SsmDescribeParameters,
    RouteId::SsmOther,
]);

#[derive(Parser)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) common: Common,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Lets one request to `/held` continue.
    pub(crate) release: Arc<Notify>,
    /// The changes that `/changes` sends.
    pub(crate) changes: ChangeLog,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<()>,
    /// The number of requests to `never` in progress.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// The number of requests that reached a load.
    pub(crate) loads: Arc<AtomicUsize>,
    pub(crate) source: Source,
}

/// The cacheable routes. `small`, `medium`, `large` and `secret` are in the cache, under `/param/`
/// and `/values/`. The other names select a behaviour.
struct Names {
    cache: Cache<LoadError>,
    source: Source,
    waiting: Arc<AtomicUsize>,
    loads: Arc<AtomicUsize>,
}

impl Names {
    async fn new() -> Self {
        let cache = Cache::new(Settings { name: "test", hop: "here", max_bytes: 8 << 20 });
        let freshness = Freshness::new(MINUTE, MINUTE / 2, 10 * MINUTE);
        let json = "application/json".parse().unwrap();
        let bodies = HashMap::from([
            ("small", CachedBody::json(&"a").unwrap()),
            ("medium", CachedBody::json(&"x".repeat(3000)).unwrap()),
            ("large", CachedBody::json(&"x".repeat(LARGE)).unwrap()),
            ("secret", CachedBody::confidential(json, Zeroizing::new(b"hunter2".to_vec()))),
        ]);
        for (name, body) in bodies {
            for base in ["/param/", "/values/"] {
                let body = body.clone();
                let load = move |_| async move { Ok(Loaded::new(body, freshness)) };
                cache.get(&format!("{base}{name}"), Mode::Normal, load).await.unwrap();
            }
        }
        let negative = |_| async { Err(LoadError::NotFound) };
        assert!(cache.get("/param/remembered-404", Mode::Normal, negative).await.is_err());
        let current = Arc::new(Mutex::new(Ok("first")));
        let source =
            Source { cache: cache.clone(), current, loads: Arc::default(), stale: Arc::default() };
        Self { cache, source, waiting: Arc::default(), loads: Arc::default() }
    }
}

impl CachedRoutes for Names {
    fn lookup(&self, key: &str, now: Instant) -> Option<Result<Served, Problem>> {
        Some(self.cache.lookup(key, now)?.map_err(Problem::from))
    }

    fn respond(&self, query: Query) -> ResponseFuture {
        let (cache, waiting) = (self.cache.clone(), Arc::clone(&self.waiting));
        let source = self.source.clone();
        self.loads.fetch_add(1, SeqCst);
        Box::pin(async move {
            let name = query.parameter().expect("only names have a behaviour");
            let name = match name {
                "/late" | "/late-large" => {
                    sleep(LATENCY).await;
                    if name == "/late" { "small" } else { "large" }
                }
                "/never" => {
                    let _waiting = Waiting::new(&waiting);
                    std::future::pending().await
                }
                "/panic" => panic!("the secret that it stumbled over"),
                "/broken" => return Err(broken()),
                "/changing" => {
                    let load = move |_| async move { source.load() };
                    return Ok(cache.get(&query.key, query.mode, load).await?);
                }
                name => name.trim_start_matches('/'),
            };
            let found = cache.lookup(&format!("/param/{name}"), Instant::now());
            Ok(found.ok_or(LoadError::NotFound)??)
        })
    }

    fn subscribe(&self, key: &str) -> Option<Subscription> {
        self.cache.subscribe(key)
    }

    /// `GetParameter` finds the names of `/param/{name}`.
    fn lookup_ssm(&self, request: &ssm::Request, now: Instant) -> Option<Result<Served, Problem>> {
        self.lookup(&param_key(request), now)
    }

    fn respond_ssm(&self, query: SsmQuery) -> ResponseFuture {
        let SsmQuery { request, mode, deadline } = query;
        let (route, key) = (RouteId::Param, param_key(&request));
        self.respond(Query { route, key, mode, deadline })
    }
}

fn param_key(request: &ssm::Request) -> String {
    let ssm::Request::GetParameter(request) = request else {
        panic!("the tests use one operation")
    };
    format!("/param/{}", request.name)
}

/// The errors of a load.
#[derive(Clone, Debug)]
pub(crate) enum LoadError {
    NotFound,
    Broken,
}

impl CacheableError for LoadError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::NotFound => Disposition::Negative { ttl: MINUTE / 6 },
            Self::Broken => Disposition::Transient,
        }
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "not-found", "Nothing", "Nothing.")
            }
            LoadError::Broken => broken(),
        }
    }
}

fn broken() -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "aws-unavailable", "Broken", "Broken.").retryable()
}

/// The upstream of the name `changing`.
#[derive(Clone)]
pub(crate) struct Source {
    cache: Cache<LoadError>,
    current: Arc<Mutex<Result<&'static str, LoadError>>>,
    loads: Arc<AtomicUsize>,
    stale: Arc<AtomicBool>,
}

impl Source {
    /// Changes the value, and reports the change to the cache.
    pub(crate) fn change(&self, value: Result<&'static str, LoadError>) {
        self.change_silently(value);
        self.cache.apply(|key| match key {
            "/param/changing" => Effect::Expire,
            _ => Effect::Keep,
        });
    }

    /// Changes the value. The cache learns of it by its next load.
    pub(crate) fn change_silently(&self, value: Result<&'static str, LoadError>) {
        *self.current.lock() = value;
    }

    /// Makes every later response stale, as an upstream's are that cannot reach its own upstream.
    pub(crate) fn become_stale(&self) {
        self.stale.store(true, SeqCst);
    }

    /// Returns the number of loads so far.
    pub(crate) fn loads(&self) -> usize {
        self.loads.load(SeqCst)
    }

    /// Loads the value. It is fresh for a second.
    fn load(&self) -> Result<Loaded, LoadError> {
        self.loads.fetch_add(1, SeqCst);
        let body = CachedBody::json(&self.current.lock().clone()?).unwrap();
        let mut loaded = Loaded::new(body, Freshness::new(MINUTE / 60, MINUTE, 10 * MINUTE));
        if self.stale.load(SeqCst) {
            loaded.freshness.age_at_load = MINUTE / 2;
        }
        Ok(loaded)
    }
}

struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Returns a body of three frames. The first is sent at once.
async fn frames() -> Body {
    Body::from_stream(stream::unfold(0, async |count| {
        if count > 0 {
            sleep(FRAME_INTERVAL).await;
        }
        let frame = Bytes::from(format!("frame {count}\n"));
        (count < 3).then_some((Ok::<_, io::Error>(frame), count + 1))
    }))
}

impl Server {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        // Tests that run in parallel open more files than the usual limit of about a thousand.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        let arguments = std::iter::once("test").chain(flags.iter().copied());
        let config = Flags::try_parse_from(arguments).unwrap().common;
        let exporter = Exporter::install("test", "1").unwrap();
        let release = Arc::new(Notify::new());
        let held = Arc::clone(&release);
        let waits = Waits::new(config.max_waiting);
        let changes = ChangeLog::new("start");
        let others = ROUTES
            .router(|route| match route {
                RouteId::Changes => change_stream(changes.clone(), waits.clone()),
                _ => get(async || "status"),
            })
            .route("/hello", get(async || "hello"))
            .route("/stream", get(frames))
            .route("/held", get(async move || held.notified().await))
            .route("/panic", get(async || -> &str { panic!("the secret that it stumbled over") }));
        let names = Arc::new(Names::new().await);
        let (waiting, loads) = (Arc::clone(&names.waiting), Arc::clone(&names.loads));
        let source = names.source.clone();
        let config_of_stack = StackConfig {
            routes: ROUTES,
            endpoint: |path| ROUTES.endpoint(path).to_owned(),
            cached: names,
            others,
            request_timeout: TIMEOUT,
            waits: waits.clone(),
            timed_out: Problem::internal,
        };
        let api = stack(config_of_stack, &config, &exporter);
        let listener = server::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap() };
            let app = App {
                api,
                dependencies: Arc::new(|| serde_json::json!({})),
                waits,
                started: Arc::new(true.into()),
            };
            server::serve(&config, listener, None, app, exporter, stopped).await;
        });
        Self { address, release, stop, ended, waiting, loads, source, changes }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request on its own connection and returns all bytes until the connection ends.
    pub(crate) async fn send(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.send(&closing(path, "")).await
    }

    pub(crate) async fn get_with(&self, path: &str, token: &str) -> String {
        self.send(&closing(path, &format!("authorization: Bearer {token}\r\n"))).await
    }
}

pub(crate) fn closing(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")
}

pub(crate) fn keeping(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

/// Reads until the connection ends without an error.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let (text, ended) = whole(stream).await;
    match ended {
        Ok(()) => text,
        Err(error) => panic!("{error}, after: {text}"),
    }
}

/// Reads until the connection ends. Returns the text and the result of the read.
pub(crate) async fn whole(stream: &mut TcpStream) -> (String, io::Result<()>) {
    let mut text = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut text)).await;
    let ended = read.expect("the server ends the connection");
    (String::from_utf8(text).unwrap(), ended.map(drop))
}

/// Reads the head of a response and the part of the body that arrives with it. The connection stays
/// open.
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        let mut part = [0; 1024];
        let length = timeout(TIMEOUT, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(length > 0, "the connection ended, after: {text}");
        text += std::str::from_utf8(&part[..length]).unwrap();
    }
    text
}

#[track_caller]
pub(crate) fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
}

#[track_caller]
pub(crate) fn assert_problem(answer: &str, status: u16, code: &str) {
    assert_status(answer, status);
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.contains(&format!(r#""code":"{code}""#)), "{answer}");
}

/// Polls a condition until it is true.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, so: impl Fn() -> F) {
    let end = Instant::now() + TIMEOUT;
    while !so().await {
        assert!(Instant::now() < end, "it never happened: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
