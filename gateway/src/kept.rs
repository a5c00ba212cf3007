//! Connections to aux-service that are kept open: the fast way to ask it.
//!
//! reqwest runs each connection in a task of its own, which a call wakes and is woken by. A
//! connection that is kept here is driven by the task that uses it, so that nobody has to be woken.
//! reqwest is the general way still: a call that finds no connection goes by it, and has one opened
//! for those that follow, so that steady load soon finds as many as it uses.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::Empty;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::unconstrained,
    time::{Instant, timeout},
};
use url::{Host, Url};

use crate::upstream::{CONNECT_TIMEOUT, IDLE_TIMEOUT};

/// At most this many connections are open or opening. With a millisecond for each exchange they
/// carry more calls than a process makes; and where aux-service takes longer than that, which way a
/// call goes is not what it costs.
const MOST: usize = 256;

/// aux-service closes a connection that brings no request within ten seconds of its begin.
const UNUSED_TIMEOUT: Duration = Duration::from_secs(5);

/// Ours, those of a conditional call and what a trace brings, without growing.
const HEADERS: usize = 12;

/// What reqwest says for whoever says nothing.
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");

/// The connections that nobody uses at the moment. Cloning is shallow.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Parts>);

struct Parts {
    host: String,
    port: u16,
    /// What `Host` says.
    authority: HeaderValue,
    /// The one that was used last is at the end, and is used next, so that those that the load
    /// does not need grow old.
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Kept {
    /// None yet. The address is that of plain HTTP, which is all that the configuration allows.
    pub(crate) fn to(base: &Url) -> Self {
        let host = base.host().expect("the URL of a service has a host");
        let authority = match base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        Self(Arc::new(Parts {
            port: base.port_or_known_default().expect("http has one"),
            authority: authority.try_into().expect("the host of a URL is a header value"),
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

    /// A `GET` as reqwest would send it: the headers that `tell` adds are followed by the same two.
    pub(crate) fn request(
        &self,
        path: PathAndQuery,
        tell: impl FnOnce(&mut HeaderMap),
    ) -> Request<Empty<Bytes>> {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        tell(&mut headers);
        headers.insert(header::ACCEPT, ANYTHING);
        headers.insert(header::HOST, self.0.authority.clone());
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from(path);
        *request.headers_mut() = headers;
        request
    }

    /// A connection that is idle. Its peer may have closed it, which the first call on it finds out
    /// before it sends anything. Whoever drops a connection closes it.
    pub(crate) fn take(&self) -> Option<Connection> {
        loop {
            let connection = self.0.idle.lock().pop()?;
            if Instant::now() < connection.good_until {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next call, if the answer to the last one was read to its end and
    /// its peer lets it live.
    pub(crate) fn give_back(&self, mut connection: Connection) {
        connection.used = true;
        connection.good_until = Instant::now() + IDLE_TIMEOUT;
        if connection.is_idle() {
            self.0.idle.lock().push(connection);
        }
    }

    /// Opens another connection in the background, unless there are [enough](MOST).
    pub(crate) fn open(&self) {
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else { return };
        let kept = self.clone();
        tokio::spawn(async move {
            match timeout(CONNECT_TIMEOUT, kept.connect(place)).await {
                Ok(Ok(connection)) => kept.0.idle.lock().push(connection),
                // The call that would have used it hears of this by reqwest.
                Ok(Err(error)) => tracing::debug!(%error, "a connection to keep was not opened"),
                Err(_) => tracing::debug!("a connection to keep was not opened in time"),
            }
        });
    }

    async fn connect(&self, place: OwnedSemaphorePermit) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect((&*self.0.host, self.0.port)).await?;
        stream.set_nodelay(true)?;
        // There is only ever one piece to write, which takes the kernel less time than a list of one.
        let (sender, driver) =
            http1::Builder::new().writev(false).handshake(TokioIo::new(stream)).await?;
        Ok(Connection {
            sender,
            driver: Some(Box::new(driver)),
            used: false,
            good_until: Instant::now() + UNUSED_TIMEOUT,
            _place: place,
        })
    }

    /// Closes what is idle for too long, or was closed by its peer. To be called every few seconds.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let over =
            |connection: &mut Connection| now >= connection.good_until || !connection.is_idle();
        let over: Vec<_> = self.0.idle.lock().extract_if(.., over).collect();
        // Only now, without the lock, are they closed.
        drop(over);
    }
}

/// A connection, which does nothing but while it is used.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// hyper's side of it, which reads and writes; `None` once it has ended.
    driver: Option<Box<http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
    /// Whether it has brought an answer.
    pub(crate) used: bool,
    /// When to close it if nobody uses it.
    good_until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Sends a request and waits for the head of its answer. A request that was not sent, since the
    /// connection is closed, is an [error that says so](hyper::Error::is_canceled).
    pub(crate) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        // The head comes from the driver and from nowhere else, so nobody has to be woken for it;
        // but tokio's budget would be such another place.
        let mut response = pin!(unconstrained(self.sender.send_request(request)));
        poll_fn(|cx| {
            drive(&mut self.driver, cx);
            response.as_mut().poll(&mut nobody())
        })
        .await
    }

    /// Whether another request may be sent.
    fn is_idle(&mut self) -> bool {
        // This also makes it forget the task that has used it last, which would be woken by the next
        // request, and is kept in memory until then.
        drive(&mut self.driver, &mut nobody());
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// The body of an answer, as it comes in over its connection.
pub(crate) struct Arriving<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) body: Incoming,
}

impl Body for Arriving<'_> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        // Most bodies came together with their heads.
        let frame = Pin::new(&mut self.body).poll_frame(&mut nobody());
        if frame.is_ready() {
            return frame;
        }
        drive(&mut self.connection.driver, cx);
        Pin::new(&mut self.body).poll_frame(&mut nobody())
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Reads and writes what can be, and has the task woken when more can be. A driver at its end is
/// dropped, which ends whatever waits for it.
fn drive(driver: &mut Option<Box<impl Future + Unpin>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
        *driver = None;
    }
}

fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
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
            let path = PathAndQuery::from_static("/");
            let answer = async {
                assert!(stream.read(&mut [0; 1000]).await.expect("a request") > 0);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer).await.expect("it is taken");
            };
            let (response, ()) =
                tokio::join!(connection.send(self.kept.request(path, |_| {})), answer);
            let body = Arriving { connection, body: response.expect("an answer").into_body() };
            assert_eq!(body.collect().await.expect("a body").to_bytes(), "{}");
        }

        fn idle(&self) -> usize {
            self.kept.0.idle.lock().len()
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
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("it is sent");
        let mut connection = peer.kept.take().expect("it looks idle");
        let request = peer.kept.request(PathAndQuery::from_static("/"), |_| {});
        // The runtime has to hear of it first.
        tokio::task::yield_now().await;
        let error = connection.send(request).await.expect_err("it is no answer");
        assert!(error.is_canceled(), "{error:?}");
        assert!(is_closed(&mut stream).await, "and no request was sent");
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
