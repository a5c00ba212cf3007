//! The open connections of a listener: how many there may be, and how long each may keep us waiting.
//!
//! Neither a lock nor a clock is touched for a request. A connection notes what it is doing in one
//! atomic of its own, and a sweep, once a second, looks at all of them. When a newcomer finds the
//! house full, those leave that we would miss least, so half-open connections, however many, keep
//! neither a probe nor a client out.

use std::{
    collections::HashMap,
    future::Future,
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// How often [`Connections::sweep`] must be called; all that follows is counted in it.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

type Ticks = u32;

/// For a request's header, from its first byte on; for the first one, from the connection on.
const HEADER: Ticks = 10;

/// Between requests. Longer than the 90 s of Traefik and the 60 s of an AWS load balancer, so
/// that they close and not we: a request that meets our close on its way is lost.
const IDLE: Ticks = 120;

/// For taking an answer.
const ANSWER: Ticks = 60;

/// For sending what nobody wants to read.
const LINGER: Ticks = 2;

/// How many bytes of that are taken at most.
const LINGER_BYTES: usize = 1 << 20;

/// When the house is full, a share this small leaves at once, so that the search for those who
/// leave is not made for every newcomer.
const SHARE: usize = 32;

/// Cloning is shallow.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Inner>);

struct Inner {
    capacity: usize,
    now: AtomicU32,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    newest: u64,
    by_age: HashMap<u64, (Arc<Visit>, AbortHandle)>,
    /// How many had to leave since the last sweep.
    evicted: usize,
}

/// What one connection is doing, and since when.
pub(crate) struct Visit {
    house: Arc<Inner>,
    state: AtomicU32,
    /// Whether it has ever sent a whole request.
    known: AtomicBool,
    /// Whether its latest request came with a body.
    body: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing, between requests.
    Idle,
    /// Sending a header.
    Asking,
    /// Waiting for us.
    Waiting,
    /// Taking an answer.
    Taking,
    /// Sending what we no longer want.
    Leaving,
}

const PHASES: [Doing; 5] =
    [Doing::Idle, Doing::Asking, Doing::Waiting, Doing::Taking, Doing::Leaving];

impl Connections {
    pub(crate) fn up_to(capacity: usize) -> Self {
        Self(Arc::new(Inner { capacity, now: AtomicU32::new(0), open: Mutex::default() }))
    }

    pub(crate) fn visit(&self) -> Arc<Visit> {
        let visit = Visit {
            house: Arc::clone(&self.0),
            state: AtomicU32::new(0),
            known: AtomicBool::new(false),
            body: AtomicBool::new(false),
        };
        visit.does(Doing::Idle);
        Arc::new(visit)
    }

    /// Runs a connection in a task of its own. If there are too many, others have to leave; if
    /// all others wait for answers of ours, this one has to.
    pub(crate) fn spawn(
        &self,
        visit: Arc<Visit>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut open = self.0.open.lock();
        let leaving = if open.by_age.len() < self.0.capacity {
            Vec::new()
        } else {
            open.dispensable(self.0.capacity.div_ceil(SHARE))
        };
        open.evicted += leaving.len();
        for (_, task) in leaving.iter().filter_map(|id| open.by_age.remove(id)) {
            task.abort();
        }
        if open.by_age.len() >= self.0.capacity {
            open.evicted += 1;
            return;
        }
        open.newest += 1;
        let id = open.newest;
        let departure = Departure { house: Arc::clone(&self.0), id };
        // The task could end at once. It enters while the lock is held, so it cannot leave before.
        let task = tokio::spawn(async move {
            let _departure = departure;
            connection.await;
        });
        open.by_age.insert(id, (visit, task.abort_handle()));
    }

    /// Closes the connections that kept us waiting for too long.
    pub(crate) fn sweep(&self, draining: bool) {
        let now = self.0.now.fetch_add(1, Relaxed) + 1;
        let mut open = self.0.open.lock();
        let evicted = std::mem::take(&mut open.evicted);
        for (visit, task) in open.by_age.values() {
            if visit.is_overdue(now, draining) {
                task.abort();
            }
        }
        drop(open);
        if evicted > 0 {
            let capacity = self.0.capacity;
            tracing::warn!(evicted, capacity, "too many connections, so idle ones were closed");
        }
    }
}

impl Open {
    /// Those we would miss least, first: strangers before clients that have asked before, and of
    /// each those first that have done nothing for longest. None that waits for an answer.
    fn dispensable(&self, count: usize) -> Vec<u64> {
        let rank = |(id, (visit, _)): (&u64, &(Arc<Visit>, AbortHandle))| {
            let (doing, since) = visit.doing();
            (doing != Doing::Waiting).then(|| (visit.known.load(Relaxed), since, *id))
        };
        let mut ranks: Vec<_> = self.by_age.iter().filter_map(rank).collect();
        if count < ranks.len() {
            ranks.select_nth_unstable(count);
            ranks.truncate(count);
        }
        ranks.into_iter().map(|(_, _, id)| id).collect()
    }
}

/// Removes a connection from the house, however it ends.
struct Departure {
    house: Arc<Inner>,
    id: u64,
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.house.open.lock().by_age.remove(&self.id);
    }
}

impl Visit {
    /// A whole request has come.
    pub(crate) fn asks(&self, with_body: bool) {
        self.known.store(true, Relaxed);
        self.body.store(with_body, Relaxed);
        self.does(Doing::Waiting);
    }

    /// The answer to it is there.
    pub(crate) fn is_answered(&self) {
        self.does(Doing::Taking);
    }

    /// The answer is sent.
    pub(crate) fn is_taken(&self) {
        self.does(Doing::Idle);
    }

    /// A part of a request has come, or all of it.
    pub(crate) fn begins(&self) {
        self.does(Doing::Asking);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.doing().0 == Doing::Asking
    }

    /// Whether the next thing to come is a request, or more of one.
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(self.doing().0, Doing::Idle | Doing::Asking)
    }

    fn is_overdue(&self, now: Ticks, draining: bool) -> bool {
        let (doing, since) = self.doing();
        let patience = match doing {
            Doing::Waiting => return false,
            Doing::Idle if self.known.load(Relaxed) => IDLE,
            // A drain must not wait for those who may never say what they want.
            Doing::Idle | Doing::Asking if draining => 1,
            Doing::Idle | Doing::Asking => HEADER,
            Doing::Taking => ANSWER,
            Doing::Leaving => LINGER,
        };
        now.wrapping_sub(since) > patience
    }

    fn does(&self, doing: Doing) {
        let now = self.house.now.load(Relaxed);
        self.state.store(now << 3 | doing as u32, Relaxed);
    }

    fn doing(&self) -> (Doing, Ticks) {
        let state = self.state.load(Relaxed);
        (PHASES[(state & 7) as usize], state >> 3)
    }
}

/// A connection that notes what passes over it.
pub(crate) struct Watched<T> {
    stream: T,
    visit: Arc<Visit>,
    lingered: usize,
}

impl<T> Watched<T> {
    pub(crate) fn new(stream: T, visit: Arc<Visit>) -> Self {
        Self { stream, visit, lingered: 0 }
    }
}

impl<T: Read + Unpin> Read for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.visit.doing().0 == Doing::Idle {
            self.visit.begins();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Read + Write + Unpin> Write for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    /// hyper flushes when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        if self.visit.doing().0 == Doing::Taking {
            self.visit.is_taken();
        }
        Poll::Ready(Ok(()))
    }

    /// Closing a socket with unread data resets it, and the client may never see the answer that
    /// it was sent. So what is left of a body, or of a header that was refused, is read first,
    /// within bounds.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let doing = self.visit.doing().0;
        if doing != Doing::Leaving {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if doing != Doing::Asking && !self.visit.body.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.visit.does(Doing::Leaving);
        }
        let mut space = [std::mem::MaybeUninit::uninit(); 8192];
        while self.lingered < LINGER_BYTES {
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer.unfilled()))?;
            match buffer.filled().len() {
                0 => break,
                length => self.lingered += length,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A connection that never ends by itself.
    fn enter(house: &Connections) -> Arc<Visit> {
        let visit = house.visit();
        house.spawn(Arc::clone(&visit), std::future::pending());
        visit
    }

    fn is_in(house: &Connections, visit: &Arc<Visit>) -> bool {
        house.0.open.lock().by_age.values().any(|(other, _)| Arc::ptr_eq(other, visit))
    }

    async fn sweep(house: &Connections, times: Ticks) {
        for _ in 0..times {
            house.sweep(false);
        }
        // What was told to end ends when the runtime gets to it.
        tokio::task::yield_now().await;
    }

    #[tokio::test]
    async fn a_full_house_takes_leave_of_strangers_first_and_of_the_idlest_client_next() {
        let house = Connections::up_to(3);
        let (client, idler, stranger) = (enter(&house), enter(&house), enter(&house));
        for visit in [&client, &idler] {
            visit.asks(false);
            visit.is_answered();
            visit.does(Doing::Idle);
        }
        sweep(&house, 1).await;
        client.does(Doing::Idle);

        let newcomer = enter(&house);
        assert!(!is_in(&house, &stranger) && is_in(&house, &newcomer));
        newcomer.asks(false);

        enter(&house);
        assert!(!is_in(&house, &idler) && is_in(&house, &client));
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_stays_and_a_newcomer_goes() {
        let house = Connections::up_to(2);
        let (one, two) = (enter(&house), enter(&house));
        one.asks(false);
        two.asks(false);
        let newcomer = enter(&house);
        assert!(is_in(&house, &one) && is_in(&house, &two) && !is_in(&house, &newcomer));
        sweep(&house, 10 * IDLE).await;
        assert!(is_in(&house, &one), "the deadline of its request ends it, not the sweep");
    }

    #[tokio::test]
    async fn a_connection_that_ends_leaves_the_house() {
        let house = Connections::up_to(2);
        let visit = house.visit();
        house.spawn(Arc::clone(&visit), std::future::ready(()));
        assert!(is_in(&house, &visit));
        tokio::task::yield_now().await;
        assert!(!is_in(&house, &visit));
    }

    #[tokio::test]
    async fn every_kind_of_dawdling_has_its_end() {
        for (doing, known, patience) in [
            (Doing::Idle, false, HEADER),
            (Doing::Asking, false, HEADER),
            (Doing::Asking, true, HEADER),
            (Doing::Idle, true, IDLE),
            (Doing::Taking, true, ANSWER),
            (Doing::Leaving, true, LINGER),
        ] {
            let house = Connections::up_to(2);
            let visit = enter(&house);
            visit.known.store(known, Relaxed);
            visit.does(doing);
            sweep(&house, patience).await;
            assert!(is_in(&house, &visit), "{doing:?} for {patience} s is allowed");
            sweep(&house, 1).await;
            assert!(!is_in(&house, &visit), "{doing:?} for longer is not");
        }
    }

    #[tokio::test]
    async fn a_drain_does_not_wait_for_half_a_header() {
        let house = Connections::up_to(2);
        let visit = enter(&house);
        visit.does(Doing::Asking);
        house.sweep(true);
        house.sweep(true);
        tokio::task::yield_now().await;
        assert!(!is_in(&house, &visit));
    }

    fn watched(house: &Connections) -> (DuplexStream, TokioIo<Watched<TokioIo<DuplexStream>>>) {
        let (client, server) = duplex(64);
        (client, TokioIo::new(Watched::new(TokioIo::new(server), house.visit())))
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_not_idleness() {
        let (mut client, mut server) = watched(&Connections::up_to(2));
        let visit = Arc::clone(&server.inner().visit);
        client.write_all(b"GET").await.expect("open");
        server.read_u8().await.expect("open");
        assert_eq!(visit.doing().0, Doing::Asking);
        visit.asks(false);
        visit.is_answered();

        let answer = tokio::spawn(async move {
            server.write_all(&[0; 100]).await.expect("open");
            server.flush().await.expect("open");
        });
        tokio::task::yield_now().await;
        assert_eq!(visit.doing().0, Doing::Taking);
        client.read_exact(&mut [0; 100]).await.expect("open");
        answer.await.expect("written");
        assert_eq!(visit.doing().0, Doing::Idle);
    }

    #[tokio::test]
    async fn what_is_left_of_a_body_is_read_within_bounds() {
        let (client, mut server) = watched(&Connections::up_to(2));
        server.inner().visit.asks(true);
        let (mut answer, mut body) = tokio::io::split(client);
        let sender = tokio::spawn(async move {
            let mut sent = 0;
            while body.write_all(&[0; 64]).await.is_ok() {
                sent += 64;
            }
            sent
        });
        server.shutdown().await.expect("within bounds");
        assert_eq!(answer.read(&mut [0; 1]).await.expect("open"), 0, "told before it is drained");
        drop(server);
        let sent = sender.await.expect("no panic");
        assert!((LINGER_BYTES..2 * LINGER_BYTES).contains(&sent), "{sent} bytes");
    }
}
