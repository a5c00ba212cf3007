//! The fast path: it answers as the layers do, and in the order of the requests.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use proptest::{prelude::*, test_runner::TestRunner};
use shared::{
    cache::{Answer, Cache, Loaded, Mode, Served},
    fast_path::Answers,
    metrics::Exporter,
    problem::Problem,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};
use zeroize::Zeroizing;

use crate::{
    cache::{Error, LATENCY, cache_of, freshness},
    life::{
        PATIENCE, Server, assert_problem, assert_status, closing, eventually, head, keeping, rest,
        whole,
    },
};

const LARGE: usize = 120_000;

/// Two servers of the same answers, of which one has the fast path.
struct Both {
    fast: Server,
    slow: Server,
    /// How many requests came by the layers of the one that has it.
    by_layers: Arc<AtomicUsize>,
    /// How many requests to `never` are open.
    open: Arc<AtomicUsize>,
}

impl Server {
    /// What it says to bytes that are sent in parts, and how the connection ends.
    async fn say(&self, parts: &[&str]) -> (String, io::Result<()>) {
        let mut stream = self.connect().await;
        for part in parts {
            // The other side may have heard enough.
            let _ = stream.write_all(part.as_bytes()).await;
            sleep(Duration::from_micros(200)).await;
        }
        whole(&mut stream).await
    }
}

/// What both servers answer, by the same code.
#[derive(Clone)]
struct Kept {
    cache: Cache<Error>,
    prefix: &'static str,
    open: Arc<AtomicUsize>,
}

impl Kept {
    fn answers(self, routes: &'static [&'static str]) -> Answers {
        let cache = self.cache.clone();
        Answers {
            routes,
            ready: Box::new(move |path, now| cache.ready(path, now)),
            ask: Box::new(move |path, _| {
                let (kept, path) = (self.clone(), path.to_owned());
                Box::pin(async move { kept.get(&path).await })
            }),
        }
    }

    async fn get(&self, path: &str) -> Result<Served, Problem> {
        let name = path.strip_prefix(self.prefix).unwrap();
        let name = match name {
            "late" | "late-large" => {
                sleep(LATENCY).await;
                if name == "late" { "small" } else { "large" }
            }
            "never" => {
                let _open = Open::of(&self.open);
                std::future::pending().await
            }
            "panic" => panic!("the secret that it stumbled over"),
            "broken" => {
                let problem = Problem::new(StatusCode::BAD_GATEWAY, "broken", "Broken", "Broken.");
                return Err(problem.retry_after(LATENCY));
            }
            name => name,
        };
        let key = format!("{}{name}", self.prefix);
        self.cache.ready(&key, Instant::now()).ok_or_else(|| Problem {
            cache_status: Some("here; fwd=miss".parse().unwrap()),
            max_age: Some(LATENCY),
            ..Problem::new(StatusCode::NOT_FOUND, "nothing", "Nothing", "Nothing.")
        })
    }
}

struct Open(Arc<AtomicUsize>);

impl Open {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Both {
    async fn start(flags: &[&str]) -> Self {
        Self::start_at(&["/kept/{*name}"], flags).await
    }

    async fn start_at(route: &'static [&'static str; 1], flags: &[&str]) -> Self {
        let cache = cache_of(8 << 20);
        let json = "application/json".parse().unwrap();
        let prefix = route[0].strip_suffix("{*name}").unwrap();
        for (name, answer) in [
            ("small", Answer::json(&"a").unwrap()),
            ("medium", Answer::json(&"x".repeat(3000)).unwrap()),
            ("large", Answer::json(&"x".repeat(LARGE)).unwrap()),
            ("secret", Answer::secret(json, Zeroizing::new(b"hunter2".to_vec()))),
        ] {
            let load = move |_| async move { Ok(Loaded::new(answer, freshness())) };
            cache.get(&format!("{prefix}{name}"), Mode::Normal, load).await.unwrap();
        }
        let kept = Kept { cache, prefix, open: Arc::default() };
        let routes = |by_layers: Arc<AtomicUsize>| {
            let kept = kept.clone();
            let by_name = async move |Path(name): Path<String>, request: HeaderMap| {
                by_layers.fetch_add(1, SeqCst);
                Ok::<_, Problem>(kept.get(&format!("{prefix}{name}")).await?.response(&request))
            };
            let slow = async || {
                sleep(LATENCY).await;
                "slow"
            };
            Router::new().route(route[0], get(by_name)).route("/slow", get(slow))
        };
        let by_layers = Arc::<AtomicUsize>::default();
        let answers = kept.clone().answers(route);
        Self {
            fast: Server::serving(routes(Arc::clone(&by_layers)), Some(answers), flags).await,
            slow: Server::serving(routes(Arc::default()), None, flags).await,
            by_layers,
            open: kept.open,
        }
    }

    /// What both say to the same bytes, sent in the same parts.
    async fn ask(&self, parts: &[&str]) -> [Vec<String>; 2] {
        let slow = self.slow.say(parts).await;
        [self.fast.say(parts).await, slow].map(|(text, ended)| {
            ended.unwrap();
            answers(&text)
        })
    }

    /// What the fast one says to a client that reads nothing until nothing more can be sent.
    async fn ask_and_read_late(&self, requests: &str) -> Vec<String> {
        let mut stream = self.fast.connect().await;
        let (mut reader, mut writer) = stream.split();
        let reads = async {
            sleep(LATENCY).await;
            let mut text = String::new();
            timeout(PATIENCE, reader.read_to_string(&mut text)).await.unwrap().unwrap();
            text
        };
        let (sent, text) = tokio::join!(writer.write_all(requests.as_bytes()), reads);
        sent.unwrap();
        answers(&text)
    }

    fn by_layers(&self) -> usize {
        self.by_layers.load(SeqCst)
    }
}

/// The answers on a connection, each with its header in order, and without what differs from one
/// time to the next.
fn answers(stream: &str) -> Vec<String> {
    let mut answers = Vec::new();
    let mut rest = stream;
    while let Some((head, after)) = rest.split_once("\r\n\r\n") {
        let mut lines: Vec<_> = head.split("\r\n").collect();
        lines[1..].sort_unstable();
        let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
        // The answer to a `HEAD` tells a length and has no body.
        let length = if after.starts_with("HTTP/1.") { 0 } else { length.min(after.len()) };
        let (body, after) = after.split_at(length);
        let lines: Vec<_> = lines.into_iter().map(lasting).collect();
        let body = body.split("\"request_id\"").next().unwrap();
        answers.push(format!("{}\n\n{body}", lines.join("\n")));
        rest = after;
    }
    assert_eq!(rest, "", "a whole number of answers");
    answers
}

/// A line of a header without what differs: of that, only the length.
fn lasting(line: &str) -> String {
    let made = |id: &str| id.len() == 32;
    match line.split_once(": ") {
        Some((name @ "date", value)) => format!("{name}: {}", value.len()),
        Some((name @ "x-request-id", value)) if made(value) => format!("{name}: {}", value.len()),
        Some((name @ "age", _)) => name.to_owned(),
        Some((name @ "cache-status", value)) => {
            format!("{name}: {}", value.trim_end_matches(|c: char| c.is_ascii_digit()))
        }
        _ => line.to_owned(),
    }
}

fn with(path: &str, header: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{header}\r\n\r\n")
}

/// Requests that the fast path answers, if what they want is kept.
fn plain() -> Vec<String> {
    let etag = shared::http_cache::EntityTag::of(b"\"a\"").header();
    let etag = etag.to_str().unwrap();
    let with = |header| with("/kept/small", header);
    vec![
        keeping("/kept/small"),
        keeping("/kept/large"),
        keeping("/kept/secret"),
        with("x-request-id: order-17"),
        with("x-request-id: not one"),
        with(&format!("if-none-match: {etag}")),
        with(&format!("If-None-Match: \"other\" , W/{etag}")),
        with("if-none-match: \"other\""),
        with("if-none-match: *"),
        with("connection: keep-alive\r\naccept: */*\r\nx-envoy-expected-rq-timeout-ms: 0"),
        with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        "GET /kept/secret HTTP/1.1\r\nif-none-match: *\r\n\r\n".to_owned(),
        "GET /kept/small HTTP/1.1\nhost: a\n\n".to_owned(),
        "\r\nGET /kept/small HTTP/1.1\r\n\r\n".to_owned(),
    ]
}

/// Requests that the fast path asks for, since what they want is not kept.
fn unready() -> Vec<String> {
    let late = |header| with("/kept/late", header);
    vec![
        keeping("/kept/nothing"),
        keeping("/kept/broken"),
        keeping("/kept/panic"),
        keeping("/kept/late"),
        keeping("/kept/late-large"),
        late("x-request-id: order-17"),
        late("x-request-id: not one"),
        late("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        late("if-none-match: *"),
        late("if-none-match: \"other\""),
        late("x-envoy-expected-rq-timeout-ms: 1"),
        late("x-envoy-expected-rq-timeout-ms: 100000"),
        late("x-envoy-expected-rq-timeout-ms: soon"),
    ]
}

/// Requests that it leaves to the layers.
fn other() -> Vec<String> {
    let with = |header| with("/kept/small", header);
    vec![
        keeping("/slow"),
        keeping("/hello"),
        keeping("/no/such/route"),
        keeping("/kept/small?x=1"),
        keeping("/kept/smal%6c"),
        keeping("/kept//small"),
        keeping("/kept/"),
        keeping("http://a/kept/small"),
        with("cache-control: no-cache"),
        with("if-none-match: \"a\"\r\nif-none-match: *"),
        with("x-request-id: a\r\nx-request-id: b"),
        with("connection: keep-alive, te"),
        "POST /kept/small HTTP/1.1\r\n\r\n".to_owned(),
        "DELETE /kept/small HTTP/1.1\r\n\r\n".to_owned(),
    ]
}

/// Requests after which hyper has the connection to itself, or ends it.
fn last() -> Vec<String> {
    let many = "a: b\r\n".repeat(60);
    vec![
        closing("/kept/small", ""),
        format!(
            "GET /kept/small HTTP/1.1\r\ncontent-length: 0\r\n\r\n{}",
            closing("/kept/large", "")
        ),
        format!(
            "GET /kept/small HTTP/1.1\r\ncontent-length: 3\r\n\r\nGET{}",
            closing("/kept/small", "")
        ),
        format!(
            "GET /kept/small HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n{}",
            closing("/hello", "")
        ),
        format!("GET /kept/small HTTP/1.1\r\n{many}\r\n{}", closing("/kept/small", "")),
        "GET /kept/small HTTP/1.0\r\n\r\n".to_owned(),
        "GET /kept/small HTTP/1.1\r\na b: c\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        format!("GET /kept/small HTTP/1.1\r\na: {}", "x".repeat(40_000)),
        format!("GET /kept/{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)),
    ]
}

#[tokio::test]
async fn what_is_ready_is_answered_as_by_the_layers_and_without_them() {
    let both = Both::start(&[]).await;
    for request in plain() {
        let [fast, slow] = both.ask(&[&request, &closing("/hello", "")]).await;
        assert_eq!(fast, slow, "{request}");
        assert_eq!(slow.len(), 2, "{request}");
    }
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn what_is_not_ready_is_answered_as_by_the_layers_and_without_them() {
    let both = Both::start(&[]).await;
    let foreign = "GET /kept/late HTTP/1.1\r\nx-request-id: \u{fc}\r\n\r\n".to_owned();
    for request in unready().into_iter().chain([foreign]) {
        let [fast, slow] = both.ask(&[&request, &closing("/hello", "")]).await;
        assert_eq!(fast, slow, "{request}");
        assert_eq!(slow.len(), 2, "{request}");
    }
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn whatever_is_not_plain_is_answered_by_the_layers() {
    let both = Both::start(&[]).await;
    for request in other() {
        let [fast, slow] = both.ask(&[&request, &closing("/hello", "")]).await;
        assert_eq!(fast, slow, "{request}");
    }
    let passed = both.by_layers();
    assert!(passed > 6, "{passed}");
    for request in last() {
        let [fast, slow] = both.ask(&[&request]).await;
        assert_eq!(fast, slow, "{request}");
        assert!(!slow.is_empty(), "{request}");
    }
    assert!(both.by_layers() > passed);
    let head = "HEAD /kept/small HTTP/1.1\r\nconnection: close\r\n\r\n";
    let [fast, slow] = both.ask(&[head]).await;
    assert_eq!(fast, slow);
}

#[test]
fn however_requests_are_mixed_and_cut_the_answers_are_the_same_and_in_order() {
    let runtime = Runtime::new().unwrap();
    let both = runtime.block_on(Both::start(&[]));
    let one = prop_oneof![
        4 => prop::sample::select(plain()),
        1 => prop::sample::select(unready()),
        1 => prop::sample::select(other())
    ];
    let stream = (prop::collection::vec(one, 0..12), prop::sample::select(last()))
        .prop_map(|(requests, last)| requests.concat() + &last);
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    let config = ProptestConfig {
        cases: 100,
        failure_persistence: None,
        // An answer that never comes takes its time, each time.
        max_shrink_iters: 16,
        ..Default::default()
    };
    TestRunner::new(config)
        .run(&(stream, cuts), |(stream, cuts)| {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let (slow, ended) = runtime.block_on(both.slow.say(&parts));
            // hyper closes a connection at once when it refuses what comes behind an answer that
            // is not yet taken, and if more is on its way then, that answer is lost.
            prop_assume!(ended.is_ok());
            let (fast, ended) = runtime.block_on(both.fast.say(&parts));
            prop_assert!(ended.is_ok());
            prop_assert_eq!(answers(&fast), answers(&slow));
            Ok(())
        })
        .unwrap();
    assert!(both.by_layers() > 0);
}

#[tokio::test]
async fn a_client_that_is_slow_to_read_gets_every_answer_whole() {
    let both = Both::start(&[]).await;
    let count = 300;
    let requests = keeping("/kept/large").repeat(count) + &closing("/hello", "");
    let answers = both.ask_and_read_late(&requests).await;
    assert_eq!(answers.len(), count + 1);
    assert!(answers[..count].iter().all(|answer| answer.len() > LARGE && *answer == answers[0]));
    assert!(answers[count].ends_with("hello"));
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn the_answers_of_the_layers_wait_for_those_that_a_slow_client_has_not_taken() {
    let both = Both::start(&[]).await;
    let count = 5000;
    let pairs = (keeping("/kept/medium") + &keeping("/hello")).repeat(count);
    let answers = both.ask_and_read_late(&(pairs + &closing("/hello", ""))).await;
    assert_eq!(answers.len(), 2 * count + 1);
    for pair in answers.chunks_exact(2) {
        assert!(pair[0].len() > 3000 && pair[1].ends_with("hello"), "{pair:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_somebody_works_for_it_is_noticed() {
    let exporter = Exporter::install("test", "1").unwrap();
    let both = Both::start_at(&["/left/{*name}"], &[]).await;
    let left = r#"axum_http_requests_total{method="GET",status="499",endpoint="/left/{name}"}"#;
    let pending = r#"axum_http_requests_pending{method="GET",endpoint="/left/{name}"}"#;
    let value = |series: &str| {
        let (_, text) = exporter.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)).map(str::trim);
        line.map(str::to_owned)
    };
    // The second one has an unusual header, so the layers work for it.
    for (count, header) in [("1", "a: b"), ("2", "cache-control: no-cache")] {
        let request = format!("GET /left/never HTTP/1.1\r\n{header}\r\n\r\n");
        let mut stream = both.fast.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        eventually("it is asked", async || both.open.load(SeqCst) == 1).await;
        assert_eq!(value(pending).as_deref(), Some("1"));
        drop(stream);
        eventually("its request ends", async || both.open.load(SeqCst) == 0).await;
        eventually("it is counted", async || value(left).as_deref() == Some(count)).await;
        assert_eq!(value(pending).as_deref(), Some("0"));
    }
    assert_eq!(both.by_layers(), 1);
}

#[tokio::test]
async fn a_request_behind_a_slow_one_waits_for_its_turn() {
    let both = Both::start(&[]).await;
    let stream = keeping("/slow") + &keeping("/kept/small") + &closing("/hello", "");
    let [fast, slow] = both.ask(&[&stream]).await;
    assert_eq!(fast, slow);
    assert_eq!(fast.len(), 3);
    // It comes while the slow one is being answered.
    let [fast, slow] =
        both.ask(&[&keeping("/slow"), &keeping("/kept/small"), &closing("/hello", "")]).await;
    assert_eq!(fast, slow);
    assert_eq!(fast.len(), 3);
    for late in ["/kept/late", "/kept/late-large", "/kept/nothing"] {
        let stream = keeping("/kept/small") + &keeping(late) + &keeping("/kept/medium");
        let [fast, slow] =
            both.ask(&[&stream, &keeping("/slow"), &keeping(late), &closing("/hello", "")]).await;
        assert_eq!(fast, slow, "{late}");
        assert_eq!(fast.len(), 6);
    }
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte_but_not_for_ever() {
    let both = Both::start(&[]).await;
    let mut stream = both.fast.connect().await;
    for byte in keeping("/kept/small").into_bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_status(&head(&mut stream).await, 200);
    let unfinished = keeping("/kept/small") + "GET /kept/small HT";
    stream.write_all(unfinished.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert_status(&answer, 200);
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn who_shows_no_token_learns_nothing_of_what_is_kept() {
    let path = std::env::temp_dir().join(format!("fast-path-{}", std::process::id()));
    fs::write(&path, "the-right-token-0123456789\n").unwrap();
    let both = Both::start(&[&format!("--auth-token-file={}", path.display())]).await;
    fs::remove_file(&path).unwrap();
    let ask = |token: &str| {
        format!("GET /kept/small HTTP/1.1\r\nauthorization: {token}\r\n\r\n")
            + &closing("/livez", "")
    };
    for (token, status) in [
        ("Bearer the-right-token-0123456789", 200),
        ("bearer the-right-token-0123456789", 200),
        ("Bearer the-wrong-token-0123456789", 401),
        ("the-right-token-0123456789", 401),
        ("Bearer the-right-token-0123456789\r\nauthorization: x", 401),
    ] {
        let [fast, slow] = both.ask(&[&ask(token)]).await;
        assert_eq!(fast, slow, "{token}");
        assert_status(&fast[0], status);
    }
    let [fast, slow] = both.ask(&[&keeping("/kept/small"), &closing("/livez", "")]).await;
    assert_eq!(fast, slow);
    assert_problem(&fast[0], 401, "unauthorized");
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn what_is_ready_is_refused_too_while_too_many_requests_are_open() {
    let both = Both::start(&["--max-in-flight=1"]).await;
    let mut open = both.fast.connect().await;
    open.write_all(keeping("/held").as_bytes()).await.unwrap();
    eventually("the only slot is taken", async || {
        let answer = both.fast.ask(&(keeping("/kept/small") + &closing("/livez", ""))).await;
        answer.starts_with("HTTP/1.1 503")
    })
    .await;
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn what_is_asked_for_holds_its_place_among_the_open_requests_until_it_is_answered() {
    let both = Both::start(&["--max-in-flight=1"]).await;
    let mut open = both.fast.connect().await;
    open.write_all(keeping("/kept/never").as_bytes()).await.unwrap();
    eventually("it is asked", async || both.open.load(SeqCst) == 1).await;
    for path in ["/kept/late", "/kept/small", "/hello"] {
        assert_problem(&both.fast.get(path).await, 503, "overloaded");
        let kept = both.fast.ask(&(keeping(path) + &closing("/livez", ""))).await;
        assert_problem(&kept, 503, "overloaded");
    }
    drop(open);
    eventually("it has left", async || both.fast.get("/hello").await.ends_with("hello")).await;
    for _ in 0..3 {
        let late = both.fast.ask(&(keeping("/kept/late") + &closing("/livez", ""))).await;
        assert_status(&late, 200);
    }
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn what_is_asked_for_is_answered_before_the_end_and_closes_its_connection() {
    for delay in ["0s", "1s"] {
        let both = Both::start(&[&format!("--shutdown-delay={delay}")]).await;
        let mut stream = both.fast.connect().await;
        stream.write_all(keeping("/kept/late-large").as_bytes()).await.unwrap();
        // Its answer shows that the one before it has arrived, too.
        assert_status(&both.fast.get("/hello").await, 200);
        both.fast.stop.send(()).unwrap();
        let answer = rest(&mut stream).await;
        assert_status(&answer, 200);
        assert!(answer.contains("connection: close") && answer.len() > LARGE, "{delay}");
        assert_eq!(both.by_layers.load(SeqCst), 0);
    }
}

#[tokio::test]
async fn a_drain_closes_the_connections_of_what_is_ready_too() {
    let both = Both::start(&["--shutdown-delay=1s"]).await;
    let mut stream = both.fast.connect().await;
    stream.write_all(keeping("/kept/small").as_bytes()).await.unwrap();
    assert!(!head(&mut stream).await.contains("connection: close"));
    both.fast.stop.send(()).unwrap();
    tokio::task::yield_now().await;
    stream.write_all(keeping("/kept/small").as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert_status(&answer, 200);
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn it_counts_as_the_layers_do() {
    let exporter = Exporter::install("test", "1").unwrap();
    let both = Both::start_at(&["/counted/{*name}"], &[]).await;
    let asked = keeping("/counted/small").repeat(3)
        + "GET /counted/small HTTP/1.1\r\nif-none-match: *\r\n\r\n"
        + &keeping("/counted/late")
        + &keeping("/counted/nothing").repeat(2)
        + &keeping("/counted/broken")
        + &closing("/livez", "");
    let of = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("/counted/{name}"));
        // How long it took differs.
        let lines = lines.filter(|line| !line.contains("_sum{") && !line.contains("le=\"0"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    both.fast.ask(&asked).await;
    let (_, text) = exporter.render();
    let fast = of(&text);
    for series in [
        r#"axum_http_requests_total{method="GET",status="200",endpoint="/counted/{name}"} 4"#,
        r#"axum_http_requests_total{method="GET",status="304",endpoint="/counted/{name}"} 1"#,
        r#"axum_http_requests_total{method="GET",status="404",endpoint="/counted/{name}"} 2"#,
        r#"axum_http_requests_total{method="GET",status="502",endpoint="/counted/{name}"} 1"#,
        r#"axum_http_requests_duration_seconds_count{method="GET",status="200",endpoint="/counted/{name}"} 4"#,
    ] {
        assert!(fast.iter().any(|line| line == series), "{series} is not in {fast:#?}");
    }
    both.slow.ask(&asked).await;
    let (_, text) = exporter.render();
    for series in [
        r#"axum_http_requests_total{method="GET",status="200",endpoint="/counted/{name}"} 8"#,
        r#"axum_http_requests_total{method="GET",status="304",endpoint="/counted/{name}"} 2"#,
        r#"axum_http_requests_total{method="GET",status="404",endpoint="/counted/{name}"} 4"#,
        r#"axum_http_requests_total{method="GET",status="502",endpoint="/counted/{name}"} 2"#,
        r#"axum_http_requests_duration_seconds_count{method="GET",status="200",endpoint="/counted/{name}"} 8"#,
    ] {
        assert!(text.contains(series), "the layers count another series than {series}");
    }
    assert_eq!(both.by_layers(), 0);
}

#[tokio::test]
async fn where_every_answer_gets_a_line_every_answer_comes_from_the_layers() {
    let both = Both::start(&["--access-log=all"]).await;
    assert_status(&both.fast.get("/kept/small").await, 200);
    assert_status(&both.fast.ask(&(keeping("/kept/small") + &closing("/livez", ""))).await, 200);
    assert_eq!(both.by_layers(), 2);
}
