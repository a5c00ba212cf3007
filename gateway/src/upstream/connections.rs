//! The connections to aux-service: eight reqwest clients, each with a pool of its own.
//!
//! A connection stays with the replica of aux-service that it first reached, and a pool reuses its
//! latest connection first. One pool would therefore send low traffic to one replica. Attempts
//! rotate over eight pools instead: calls spread over the replicas, and a retry uses another
//! connection than the attempt that failed.

use std::{
    cell::Cell,
    error::Error,
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use metrics::{Counter, counter, describe_counter};
use reqwest::{Client, ClientBuilder, Request, Response};
use tower::util::MapResponseLayer;

use super::failure::Failure;

/// More clients spread low traffic better. Each costs one idle connection.
const CLIENTS: usize = 8;

/// The timeout of a TCP handshake. A host that exceeds it is considered lost, and a retry may reach
/// another replica.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Half of the 120 s after which aux-service closes an idle connection. Our close comes first, so
/// that no request meets the close of aux-service.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const OPENED_TOTAL: &str = "upstream_connections_opened_total";
const REUSED_TOTAL: &str = "upstream_connections_reused_total";
const RESETS_TOTAL: &str = "upstream_connection_resets_total";

tokio::task_local! {
    /// Whether the current attempt has opened a connection.
    ///
    /// hyper-util polls a new connection's future within the request's own future, so the
    /// connector sees this value. If another request returns its connection first, hyper-util
    /// finishes the new one in a task of its own, which has no such value.
    static OPENED: Cell<bool>;
}

/// The clients. Attempts take them in turn.
pub(crate) struct Connections {
    clients: Vec<Client>,
    /// The number of attempts so far.
    attempts: AtomicUsize,
    reused: Counter,
    resets: Counter,
}

impl Connections {
    /// Builds the clients, without a connection, and starts their metrics at 0.
    ///
    /// # Errors
    ///
    /// reqwest cannot build a client, for example without the system's resolver.
    pub(crate) fn new() -> reqwest::Result<Self> {
        Ok(Self::of((0..CLIENTS).map(|_| client().build()).collect::<reqwest::Result<_>>()?))
    }

    fn of(clients: Vec<Client>) -> Self {
        describe_counter!(OPENED_TOTAL, "Connections to aux-service that were opened");
        describe_counter!(REUSED_TOTAL, "Attempts that were sent over an existing connection");
        describe_counter!(RESETS_TOTAL, "Reused connections that ended before the response");
        for name in [OPENED_TOTAL, REUSED_TOTAL, RESETS_TOTAL] {
            counter!(name).absolute(0);
        }
        Self {
            clients,
            attempts: AtomicUsize::new(0),
            reused: counter!(REUSED_TOTAL),
            resets: counter!(RESETS_TOTAL),
        }
    }

    /// One of the clients, for a wrapper that needs one.
    pub(crate) fn any_client(&self) -> Client {
        self.clients[0].clone()
    }

    /// Sends a request on the next client and returns the response as soon as its head has arrived.
    ///
    /// # Errors
    ///
    /// [`Failure::Reset`] if a reused connection ended before the response, else
    /// [`Failure::Unreachable`].
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let client = &self.clients[self.attempts.fetch_add(1, Relaxed) % self.clients.len()];
        let exchange = async {
            let result = client.execute(request).await;
            (result, OPENED.with(Cell::get))
        };
        let (result, opened) = OPENED.scope(Cell::new(false), exchange).await;
        let unsent = result.as_ref().is_err_and(reqwest::Error::is_connect);
        let reused = !opened && !unsent;
        if reused {
            self.reused.increment(1);
        }
        result.map_err(|error| {
            let error = error.without_url();
            if reused && is_reset(&error) {
                self.resets.increment(1);
                Failure::Reset(error)
            } else {
                Failure::Unreachable(error.into())
            }
        })
    }
}

/// Builds the client of a stream. A stream lasts for minutes, so each has a connection of its own,
/// which may reach another replica than the one before. It counts as no attempt.
///
/// # Errors
///
/// reqwest cannot build a client.
pub(crate) fn streaming_client() -> reqwest::Result<Client> {
    base_client().pool_max_idle_per_host(0).build()
}

fn client() -> ClientBuilder {
    base_client()
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .connector_layer(MapResponseLayer::new(record_opened))
}

fn base_client() -> ClientBuilder {
    Client::builder()
        // Calls stay inside the cluster. A proxy from the environment is not meant for them.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Only the retry layer retries, within its budget. Below it, hyper-util replaces a
        // connection that was closed before it took the request, since nothing was sent then.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http1_only()
}

/// Counts a new connection. The type of a connection is reqwest's own and has no public name.
fn record_opened<C>(connection: C) -> C {
    counter!(OPENED_TOTAL).increment(1);
    // Outside of an attempt's future, there is no value to set: hyper-util finishes this connection
    // by itself.
    let _ = OPENED.try_with(|opened| opened.set(true));
    connection
}

/// Whether the connection ended before the response. An end within the response's head looks the
/// same: hyper reports one error for both.
fn is_reset(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return true;
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            );
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests;
