//! A relay of bytes in front of a server: a slow link, or one that breaks.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// A relay that runs. When it is dropped, it ends and closes the connections through it.
pub struct Relay {
    /// The address as `host:port`.
    pub address: String,
    link: watch::Sender<Link>,
    sent: Arc<Mutex<Vec<u8>>>,
    listener: JoinHandle<()>,
}

/// The state of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The bytes of the server, and those of its clients, arrive after these times.
    Up { to_client: Duration, to_server: Duration },
    /// Every connection is closed at once.
    Cut,
}

impl Link {
    const WHOLE: Self = Self::Up { to_client: Duration::ZERO, to_server: Duration::ZERO };
}

impl Relay {
    /// Starts a relay in front of the server at this address, `host:port`.
    pub async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (link, state) = watch::channel(Link::WHOLE);
        let sent = Arc::default();
        let (server, recorded) = (server.to_owned(), Arc::clone(&sent));
        let listener = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(
                    client,
                    server.clone(),
                    state.clone(),
                    Arc::clone(&recorded),
                ));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, link, sent, listener }
    }

    /// Delays the server's bytes by this time from now on.
    pub fn delay(&self, delay: Duration) {
        self.link.send_replace(Link::Up { to_client: delay, to_server: Duration::ZERO });
    }

    /// Delays the clients' bytes by this time from now on.
    pub fn delay_requests(&self, delay: Duration) {
        self.link.send_replace(Link::Up { to_client: Duration::ZERO, to_server: delay });
    }

    /// Closes all connections, and each new one, from now on.
    pub fn cut(&self) {
        self.link.send_replace(Link::Cut);
    }

    /// Ends the delay or the cut.
    pub fn heal(&self) {
        self.link.send_replace(Link::WHOLE);
    }

    /// Returns all bytes that clients have sent.
    pub fn sent(&self) -> Vec<u8> {
        self.sent.lock().expect("nothing panics while it holds this").clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Relays one connection until an end closes it or the link is cut.
async fn relay(
    client: TcpStream,
    server: String,
    mut link: watch::Receiver<Link>,
    sent: Arc<Mutex<Vec<u8>>>,
) {
    let state = link.clone();
    let exchange = async {
        let Ok(server) = TcpStream::connect(server).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let record = |bytes: &[u8]| {
            sent.lock().expect("nothing panics while it holds this").extend_from_slice(bytes);
        };
        let delays = || match *state.borrow() {
            Link::Up { to_client, to_server } => (to_client, to_server),
            Link::Cut => (Duration::ZERO, Duration::ZERO),
        };
        tokio::select! {
            () = copy(from_client, to_server, || delays().1, record) => (),
            () = copy(from_server, to_client, || delays().0, |_| ()) => (),
        }
    };
    tokio::select! {
        () = exchange => (),
        _ = link.wait_for(|link| *link == Link::Cut) => (),
    }
}

/// Copies bytes until an end closes the connection. Each byte is delayed by itself, as on a long
/// link.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: impl Fn() -> Duration,
    record: impl Fn(&[u8]),
) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let receive = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            record(&buffer[..count]);
            let due = Instant::now() + delay();
            if sender.send((due, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    };
    let send = async {
        while let Some((due, bytes)) = receiver.recv().await {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = receive => (),
        () = send => (),
    }
}
