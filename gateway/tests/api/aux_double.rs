//! A stand-in for aux-service that fails on command, byte by byte, on a real socket.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Barrier, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) at: Instant,
    /// The number of its connection, from 0, in the order of their first requests.
    pub(crate) connection: usize,
}

impl Seen {
    /// Builds a request that was never sent.
    pub(crate) fn of(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
            at: Instant::now(),
            connection: 0,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A step of a response. The steps are made in order once a request has been read.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Send(Vec<u8>),
    Wait(Duration),
    /// Waits until as many requests as the barrier needs have arrived.
    Meet(Arc<Barrier>),
    /// Waits until the test sends `true`.
    Until(watch::Receiver<bool>),
    /// Sends nothing more and leaves the connection open.
    Stall,
    /// Closes the connection in order.
    Close,
    /// Resets the connection.
    Reset,
}

pub(crate) type Reply = Vec<Act>;

type Behaviour = Box<dyn FnMut(&Seen) -> Reply + Send>;

/// The path of the stream of changes.
pub(crate) const CHANGES: &str = "/changes";

struct Shared {
    /// Whether the behaviour responds to requests for the stream of changes. If not, they get a 404,
    /// and neither they nor their connections are counted.
    has_changes: bool,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    open: Mutex<BTreeSet<usize>>,
    hang_up: watch::Sender<()>,
}

pub(crate) struct Aux {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    listener: tokio::task::JoinHandle<()>,
}

impl Aux {
    pub(crate) async fn start(behaviour: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour).await
    }

    /// Starts a double whose behaviour also responds to requests for the stream of changes.
    pub(crate) async fn with_changes(
        behaviour: impl FnMut(&Seen) -> Reply + Send + 'static,
    ) -> Self {
        Self::launch(SocketAddr::from(([127, 0, 0, 1], 0)), true, behaviour).await
    }

    pub(crate) async fn start_on(
        addr: SocketAddr,
        behaviour: impl FnMut(&Seen) -> Reply + Send + 'static,
    ) -> Self {
        Self::launch(addr, false, behaviour).await
    }

    async fn launch(
        addr: SocketAddr,
        has_changes: bool,
        behaviour: impl FnMut(&Seen) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.expect("the port is free");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            has_changes,
            behaviour: Mutex::new(Box::new(behaviour)),
            seen: Mutex::new(Vec::new()),
            accepted: AtomicUsize::new(0),
            open: Mutex::default(),
            hang_up: watch::Sender::new(()),
        });
        let listener = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, listener }
    }

    /// Changes the behaviour from the next request on.
    pub(crate) fn behave(&self, behaviour: impl FnMut(&Seen) -> Reply + Send + 'static) {
        *self.shared.behaviour.lock() = Box::new(behaviour);
    }

    /// Returns every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.seen.lock().len()
    }

    /// Returns the number of connections so far that have had a request.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Relaxed)
    }

    /// Returns the number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.lock().len()
    }

    /// Whether a connection is open.
    pub(crate) fn is_open(&self, connection: usize) -> bool {
        self.shared.open.lock().contains(&connection)
    }

    /// Closes every connection that waits for a request.
    pub(crate) fn hang_up(&self) {
        self.shared.hang_up.send_replace(());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends like a killed process: the port refuses connections, and open connections are closed.
    pub(crate) async fn stop(self) -> SocketAddr {
        self.listener.abort();
        let _ = self.listener.await;
        self.addr
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The connections end with the listener's task.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accepting works");
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let mut connection = None;
            converse(stream, &mut connection, &shared).await;
            if let Some(connection) = connection {
                shared.open.lock().remove(&connection);
            }
        });
    }
}

async fn converse(mut stream: TcpStream, connection: &mut Option<usize>, shared: &Shared) {
    stream.set_nodelay(true).expect("an option of a socket");
    let mut hang_up = shared.hang_up.subscribe();
    loop {
        let seen = tokio::select! {
            seen = read_request(&mut stream) => seen,
            _ = hang_up.changed() => return,
        };
        let Some(seen) = seen else { return };
        if seen.path == CHANGES && !shared.has_changes {
            let reply = bytes(404, &[], 0, "");
            let _ = stream.write_all(&reply).await;
            continue;
        }
        let connection = *connection.get_or_insert_with(|| {
            let connection = shared.accepted.fetch_add(1, Relaxed);
            shared.open.lock().insert(connection);
            connection
        });
        let seen = Seen { connection, ..seen };
        shared.seen.lock().push(seen.clone());
        let reply = (shared.behaviour.lock())(&seen);
        for act in reply {
            match act {
                // main-api may have closed the connection by now.
                Act::Send(bytes) if stream.write_all(&bytes).await.is_err() => return,
                Act::Send(_) => {}
                Act::Wait(pause) => sleep(pause).await,
                Act::Meet(barrier) => {
                    barrier.wait().await;
                }
                Act::Until(mut signal) => {
                    signal.wait_for(|sent| *sent).await.expect("the test runs");
                }
                Act::Stall => std::future::pending().await,
                Act::Close => return,
                Act::Reset => return stream.set_zero_linger().expect("an option of a socket"),
            }
        }
    }
}

/// Reads a request. Returns `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let mut lines = head.lines();
    let mut line = lines.next()?.split(' ');
    let (method, path) = (line.next()?, line.next()?);
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let seen = Seen { method: method.to_owned(), headers, ..Seen::of(path) };
    let length = seen.header("content-length").map_or(0, |length| length.parse().expect("bytes"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { body: String::from_utf8(body).expect("a body is text"), ..seen })
}

/// Builds a whole response.
pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    vec![Act::Send(bytes(status, headers, body.len(), body))]
}

/// Builds a response whose announced length may be wrong.
pub(crate) fn bytes(status: u16, headers: &[(&str, &str)], length: usize, body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// Builds the response of a healthy aux-service to each route.
pub(crate) fn healthy(seen: &Seen) -> Reply {
    response(200, &[JSON], body(&seen.path))
}

/// Returns the body of [`healthy`].
pub(crate) fn body(path: &str) -> &'static str {
    match path {
        "/buckets" => r#"{"version":"1.2.3","buckets":["logs","backups"]}"#,
        "/params" => r#"{"version":"1.2.3","parameters":["/a","/b"]}"#,
        path if path.starts_with("/param/") => r#"{"version":"1.2.3","value":"cloud-engineer"}"#,
        path if path.starts_with("/values/") => {
            r#"{"version":"1.2.3","path":"/a","values":{"/a/b":"1"},"omitted":[]}"#
        }
        path => panic!("no such route: {path}"),
    }
}

/// Builds a problem in the format of aux-service.
pub(crate) fn problem(status: u16, code: &str, retryable: bool, headers: &[(&str, &str)]) -> Reply {
    problem_with("", status, code, retryable, headers)
}

/// Builds a problem with further members: each ends with a comma.
pub(crate) fn problem_with(
    members: &str,
    status: u16,
    code: &str,
    retryable: bool,
    headers: &[(&str, &str)],
) -> Reply {
    let body = format!(
        r#"{{"type":"urn:problem:{code}","title":"T","status":{status},"detail":"D",{members}"code":"{code}","retryable":{retryable},"request_id":"upstream","error":"E"}}"#
    );
    let mut all = vec![("content-type", "application/problem+json")];
    all.extend_from_slice(headers);
    response(status, &all, &body)
}
