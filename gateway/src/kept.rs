//! Connections to aux-service that are kept open: the fast way to ask it.
//!
//! reqwest runs each connection in a task of its own, and makes structures of whatever comes; both
//! cost more than the exchange itself. A connection that is kept here is read and written by the
//! task that uses it, and what comes over it is looked at where it lies. reqwest is the general way
//! still: it asks when no connection is at hand, which then makes for one, so that steady load soon
//! finds as many as it uses, and it asks again for what is [not plain](crate::head).

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use url::{Host, Url};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    attempt::{Answer, LARGEST_BODY},
    head::{Head, Plain},
    upstream::{CONNECT_TIMEOUT, IDLE_TIMEOUT},
};

/// At most this many connections are open or opening. They are a fraction of what aux-service
/// takes, even from several replicas of ours, and a process that has more calls under way than
/// this waits for other things than the fast way.
const MOST: usize = 256;

/// aux-service closes a connection that brings no request within ten seconds of its begin.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// How long all calls go by reqwest after an answer that is not plain: each of them would be asked
/// twice.
const REST: Duration = Duration::from_secs(60);

/// The longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// Nearly all requests are shorter, in bytes.
const USUAL_REQUEST: usize = 512;

thread_local! {
    /// Of the worker and not of the connection, since most connections do nothing at most times.
    static INPUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; LONGEST_HEAD].into_boxed_slice());
}

/// The connections that nobody uses at the moment. Cloning is shallow.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Parts>);

struct Parts {
    host: String,
    port: u16,
    /// What `Host` says.
    authority: String,
    idle: Mutex<Idle>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Idle {
    /// The one that was used last is at the end, and is used next, so that those that the load
    /// does not need grow old.
    connections: Vec<Connection>,
    /// When a call last found none.
    missed: Option<Instant>,
    /// Until when none is used.
    rests_until: Option<Instant>,
}

impl Kept {
    /// None yet. The address is that of plain HTTP, which is all that the configuration allows.
    pub(crate) fn to(base: &Url) -> Self {
        let host = base.host().expect("the URL of a service has a host");
        Self(Arc::new(Parts {
            port: base.port_or_known_default().expect("http has one"),
            authority: match base.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_string(),
            },
            host: match host {
                Host::Domain(name) => name.to_owned(),
                Host::Ipv4(address) => address.to_string(),
                // Without the brackets that it has in a URL.
                Host::Ipv6(address) => address.to_string(),
            },
            idle: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST)),
        }))
    }

    /// A `GET` as reqwest sends it: the headers are followed by the same two.
    pub(crate) fn request(&self, path: &str, headers: &HeaderMap) -> Vec<u8> {
        let mut request = Vec::with_capacity(USUAL_REQUEST);
        for part in ["GET ", path, " HTTP/1.1\r\n"] {
            request.extend_from_slice(part.as_bytes());
        }
        for (name, value) in headers {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        for part in ["accept: */*\r\nhost: ", &self.0.authority, "\r\n\r\n"] {
            request.extend_from_slice(part.as_bytes());
        }
        request
    }

    /// A connection that is idle. Where there is none, another one is opened, in the background:
    /// if this has happened before, just now, since one that nobody uses would be closed again.
    pub(crate) fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.0.idle.lock();
        if idle.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        while let Some(connection) = idle.connections.pop() {
            if now < connection.good_until && connection.is_idle() {
                return Some(connection);
            }
        }
        let missed = idle.missed.replace(now);
        drop(idle);
        if missed.is_some_and(|missed| now < missed + UNUSED_TIMEOUT) {
            self.open();
        }
        None
    }

    /// Keeps a connection for the next call, if it is fit for one.
    pub(crate) fn give_back(&self, mut connection: Connection) {
        if connection.last {
            return;
        }
        connection.used = true;
        connection.good_until = Instant::now() + IDLE_TIMEOUT;
        self.0.idle.lock().connections.push(connection);
    }

    /// Closes what is idle: it may lead to the same place as one that has gone dead.
    pub(crate) fn forget(&self) {
        let idle = std::mem::take(&mut self.0.idle.lock().connections);
        // Only now, without the lock, are they closed.
        drop(idle);
    }

    /// Leaves calls to reqwest for a while.
    pub(crate) fn rest(&self) {
        self.0.idle.lock().rests_until = Some(Instant::now() + REST);
    }

    /// Opens another connection in the background, unless there are [enough](MOST).
    fn open(&self) {
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else { return };
        let kept = self.clone();
        tokio::spawn(async move {
            match timeout(CONNECT_TIMEOUT, kept.connect(place)).await {
                Ok(Ok(connection)) => kept.0.idle.lock().connections.push(connection),
                // The call that would have used it hears of this by reqwest.
                Ok(Err(error)) => tracing::debug!(%error, "a connection to keep was not opened"),
                Err(_) => tracing::debug!("a connection to keep was not opened in time"),
            }
        });
    }

    async fn connect(&self, place: OwnedSemaphorePermit) -> io::Result<Connection> {
        let stream = TcpStream::connect((&*self.0.host, self.0.port)).await?;
        stream.set_nodelay(true)?;
        let good_until = Instant::now() + UNUSED_TIMEOUT;
        Ok(Connection { stream, used: false, last: false, good_until, _place: place })
    }

    /// Closes what is idle for too long, or was closed by its peer. To be called every few seconds.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let over =
            |connection: &mut Connection| now >= connection.good_until || !connection.is_idle();
        let over: Vec<_> = self.0.idle.lock().connections.extract_if(.., over).collect();
        // Only now, without the lock, are they closed.
        drop(over);
    }
}

/// A connection, which does nothing but while it is used. Dropped, it is closed.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Whether it has brought an answer.
    pub(crate) used: bool,
    /// Whether it has brought its last one.
    last: bool,
    /// When to close it if nobody uses it.
    good_until: Instant,
    _place: OwnedSemaphorePermit,
}

/// What came for a request.
pub(crate) enum Came {
    Answer(Answer),
    /// The end of the connection, before a single byte.
    Nothing,
    /// HTTP that is not plain.
    Unclear,
}

/// A body up to where it has come together with its head.
enum Begun {
    Whole(Bytes),
    /// So many bytes of a buffer with room for all of them. aux-service announces its length, so
    /// that the buffer never moves and leaves a copy behind.
    Part(Zeroizing<Vec<u8>>, usize),
    TooLarge,
}

impl Connection {
    /// Sends a request, and reads the answer to its end.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Came> {
        // Whatever ends this early, the connection is not fit for another call.
        self.last = true;
        let mut rest = request;
        while !rest.is_empty() {
            let write = |cx: &mut Context<'_>| Pin::new(&mut self.stream).poll_write(cx, rest);
            match poll_fn(write).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => rest = &rest[sent..],
            }
        }
        let mut held = Zeroizing::default();
        let (head, body) = match poll_fn(|cx| self.poll_begin(cx, &mut held)).await? {
            Ok(begun) => begun,
            Err(came) => return Ok(came),
        };
        let body = match body {
            Begun::Whole(body) => Some(body),
            Begun::TooLarge => None,
            Begun::Part(mut body, mut length) => {
                while length < body.len() {
                    let read = |cx: &mut Context<'_>| self.poll_read(cx, &mut body[length..]);
                    match poll_fn(read).await? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        more => length += more,
                    }
                }
                self.last = head.last;
                Some(Bytes::from_owner(body))
            }
        };
        Ok(Came::Answer(Answer { status: head.status, headers: head.headers, body }))
    }

    /// Reads until the head has come, or something else.
    fn poll_begin(
        &mut self,
        cx: &mut Context<'_>,
        held: &mut Zeroizing<Vec<u8>>,
    ) -> Poll<io::Result<Result<(Plain, Begun), Came>>> {
        INPUT.with_borrow_mut(|input| {
            loop {
                let length = match ready!(self.poll_read(cx, input)) {
                    Ok(0) if held.is_empty() => return Poll::Ready(Ok(Err(Came::Nothing))),
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    read => read?,
                };
                let mut come = &input[..length];
                if !held.is_empty() {
                    held.extend_from_slice(come);
                    come = held;
                }
                let begun = match Head::of(come) {
                    Head::Plain(head, head_length) => {
                        let secret = head.is_secret();
                        let body = self.begin(&head, secret, &come[head_length..]);
                        if secret {
                            input[..length].zeroize();
                        }
                        Ok((head, body))
                    }
                    Head::Incomplete if come.len() < LONGEST_HEAD => {
                        if held.is_empty() {
                            // It never moves, and so leaves no copy behind.
                            held.reserve_exact(2 * LONGEST_HEAD);
                            held.extend_from_slice(&input[..length]);
                        }
                        continue;
                    }
                    Head::Incomplete | Head::Unclear => Err(Came::Unclear),
                    Head::NoHttp => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                };
                return Poll::Ready(Ok(begun));
            }
        })
    }

    fn begin(&mut self, head: &Plain, secret: bool, come: &[u8]) -> Begun {
        if head.body > LARGEST_BODY {
            Begun::TooLarge
        } else if let Some(body) = come.get(..head.body) {
            // What nobody has asked for is nobody's answer.
            self.last = head.last || come.len() > head.body;
            Begun::Whole(if secret {
                Bytes::from_owner(Zeroizing::new(body.to_vec()))
            } else {
                Bytes::copy_from_slice(body)
            })
        } else {
            let mut body = Zeroizing::new(vec![0; head.body]);
            body[..come.len()].copy_from_slice(come);
            Begun::Part(body, come.len())
        }
    }

    /// How many bytes there were; none at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        Poll::Ready(Ok(space.filled().len()))
    }

    /// Whether nothing has come since the last answer: no word, and no end.
    fn is_idle(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::{advance, pause, resume},
    };

    use super::*;

    struct Peer {
        listener: TcpListener,
        kept: Kept,
    }

    impl Peer {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("a bound address").port();
            let base = Url::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
            Self { listener, kept: Kept::to(&base) }
        }

        /// The other end of a connection that is opened and idle.
        async fn open(&self) -> TcpStream {
            let before = self.idle();
            self.kept.open();
            let (stream, _) = self.listener.accept().await.expect("it comes");
            while self.idle() == before {
                tokio::task::yield_now().await;
            }
            stream
        }

        /// A call over a connection, up to the point where that would be given back.
        async fn use_once(&self, connection: &mut Connection, stream: &mut TcpStream) {
            let answers = async {
                assert!(stream.read(&mut [0; 1000]).await.expect("a request") > 0);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await.expect("it is taken");
            };
            let request = self.kept.request("/", &HeaderMap::new());
            let (came, ()) = tokio::join!(connection.ask(&request), answers);
            let Came::Answer(answer) = came.expect("an answer") else { panic!("it is plain") };
            assert_eq!(answer.body.expect("a body"), "{}");
        }

        fn idle(&self) -> usize {
            self.kept.0.idle.lock().connections.len()
        }
    }

    async fn is_closed(stream: &mut TcpStream) -> bool {
        matches!(stream.read(&mut [0]).await, Ok(0) | Err(_))
    }

    /// Time passes at once. No socket is waited for while it stands still.
    async fn pass(time: Duration) {
        pause();
        advance(time).await;
        resume();
    }

    #[tokio::test]
    async fn what_is_idle_for_too_long_is_swept() {
        let peer = Peer::start().await;
        let mut unused = peer.open().await;
        let mut used = peer.open().await;
        let mut connection = peer.kept.take().expect("it is idle");
        peer.use_once(&mut connection, &mut used).await;
        peer.kept.give_back(connection);
        peer.kept.sweep();
        assert_eq!(peer.idle(), 2);

        pass(UNUSED_TIMEOUT).await;
        peer.kept.sweep();
        assert_eq!(peer.idle(), 1);
        assert!(is_closed(&mut unused).await);

        pass(IDLE_TIMEOUT).await;
        peer.kept.sweep();
        assert_eq!(peer.idle(), 0);
        assert!(is_closed(&mut used).await);
        assert_eq!(peer.kept.0.places.available_permits(), MOST);
    }

    #[tokio::test]
    async fn what_is_idle_for_too_long_is_not_taken_before_the_sweep_either() {
        let peer = Peer::start().await;
        let _stream = peer.open().await;
        pass(UNUSED_TIMEOUT).await;
        assert!(peer.kept.take().is_none());
    }

    #[tokio::test]
    async fn what_its_peer_has_closed_is_swept() {
        let peer = Peer::start().await;
        let gone = peer.open().await;
        let _stays = peer.open().await;
        drop(gone);
        let swept = async {
            while peer.idle() == 2 {
                tokio::task::yield_now().await;
                peer.kept.sweep();
            }
        };
        timeout(Duration::from_secs(5), swept).await.expect("its close is noticed");
        assert_eq!(peer.idle(), 1);
    }

    #[tokio::test]
    async fn what_says_something_unasked_is_not_asked() {
        let peer = Peer::start().await;
        let mut stream = peer.open().await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.expect("it is sent");
        let limit = Instant::now() + Duration::from_secs(5);
        while peer.idle() == 1 && Instant::now() < limit {
            tokio::task::yield_now().await;
            peer.kept.sweep();
        }
        assert!(peer.kept.take().is_none());
        assert!(is_closed(&mut stream).await);
    }

    #[tokio::test]
    async fn what_says_more_than_it_was_asked_carries_no_other_call() {
        let peer = Peer::start().await;
        for more in ["", "x"] {
            let mut stream = peer.open().await;
            let mut connection = peer.kept.take().expect("it is idle");
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{{}}{more}");
            stream.write_all(answer.as_bytes()).await.expect("it is sent");
            assert!(connection.ask(b"a request").await.is_ok());
            peer.kept.give_back(connection);
            assert_eq!(peer.kept.take().is_some(), more.is_empty());
        }
    }

    #[tokio::test]
    async fn after_an_answer_that_is_not_plain_there_is_a_rest() {
        let peer = Peer::start().await;
        let _stream = peer.open().await;
        peer.kept.rest();
        assert!(peer.kept.take().is_none());
        let connection = peer.kept.0.idle.lock().connections.pop().expect("it is still open");
        pass(REST).await;
        peer.kept.give_back(Connection { last: false, ..connection });
        assert!(peer.kept.take().is_some());
    }

    #[tokio::test]
    async fn a_connection_is_opened_where_two_calls_found_none_within_its_life() {
        let peer = Peer::start().await;
        assert!(peer.kept.take().is_none());
        pass(UNUSED_TIMEOUT).await;
        assert!(peer.kept.take().is_none());
        assert_eq!(peer.kept.0.places.available_permits(), MOST);
        assert!(peer.kept.take().is_none());
        assert_eq!(peer.kept.0.places.available_permits(), MOST - 1);
    }

    #[tokio::test]
    async fn the_one_that_was_used_last_is_used_next() {
        let peer = Peer::start().await;
        let mut streams = [peer.open().await, peer.open().await];
        let [second, first] = [(); 2].map(|()| peer.kept.take().expect("it is idle"));
        peer.kept.give_back(second);
        peer.kept.give_back(first);
        let mut next = peer.kept.take().expect("it is idle");
        let used = peer.use_once(&mut next, &mut streams[0]);
        timeout(Duration::from_secs(5), used).await.expect("it is the first one");
    }

    #[tokio::test]
    async fn there_are_never_more_than_the_most() {
        let peer = Peer::start().await;
        (0..MOST + 10).for_each(|_| peer.kept.open());
        let mut streams = Vec::new();
        for _ in 0..MOST {
            streams.push(peer.listener.accept().await.expect("it comes"));
        }
        while peer.idle() < MOST {
            tokio::task::yield_now().await;
        }
        peer.kept.open();
        assert_eq!(peer.kept.0.places.available_permits(), 0);
        drop(peer.kept.take());
        assert_eq!(peer.kept.0.places.available_permits(), 1, "a closed one makes place");
    }

    #[test]
    fn a_host_is_called_what_reqwest_calls_it() {
        for (base, host, authority) in [
            ("http://aux-service:5000/base/", "aux-service", "aux-service:5000"),
            ("http://aux-service:80", "aux-service", "aux-service"),
            ("http://10.0.0.1:5000", "10.0.0.1", "10.0.0.1:5000"),
            ("http://[fd00::1]:5000", "fd00::1", "[fd00::1]:5000"),
        ] {
            let kept = Kept::to(&Url::parse(base).expect("a URL"));
            assert_eq!(kept.0.host, host);
            assert_eq!(kept.0.authority, authority);
        }
    }
}
