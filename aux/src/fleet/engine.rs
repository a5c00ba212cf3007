//! The engine: its connection, the time limit of each command, and the circuit that keeps a broken
//! engine away from requests.
//!
//! The first command that fails opens the circuit. While it is open, no command is sent. A task
//! connects again and closes the circuit when the engine writes a key in time.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    connection::{ConnectError, Connection, Connector},
    metrics::{self, Operation, Outcome},
};

/// The pause before the first new connection. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The upper bound of the pause. A longer pause would delay the use of an engine that works again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The interval between two probes while no command fails, so that a replica without traffic knows
/// the state of the engine too.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The time limit of commands that no request waits for.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes a key of its own, because a full engine or a read-only server still answers a `PING`.
static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('SET', KEYS[1], '1', 'PX', 10000)"));

/// The time for which the start waits for the first connection. A replica that starts while AWS
/// fails has nothing to serve without the engine.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle of the engine. Clones share the connection.
#[derive(Clone)]
pub(super) struct Engine(Arc<Inner>);

struct Inner {
    connector: Connector,
    /// The key that a probe writes.
    probe_key: String,
    timeout: Duration,
    link: Mutex<Link>,
    /// Wakes the task that connects.
    lost: Notify,
}

/// The state of the circuit.
struct Link {
    /// Absent while the circuit is open.
    connection: Option<Connection>,
    /// The number of connections so far. A command that fails late must not discard the next one.
    generation: u64,
    /// Absent while the engine works, and before the first attempt to connect.
    degraded_since: Option<SystemTime>,
}

/// The reason for opening the circuit.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("it did not respond within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Command(#[from] RedisError),
}

/// The result of a script, and the time that it took.
pub(super) struct Reply<T> {
    pub(super) value: T,
    pub(super) round_trip: Duration,
}

impl Engine {
    /// Connects to the engine, and starts the task that connects again. Returns without a connection
    /// if the engine does not work or takes long.
    pub(super) async fn start(connector: Connector, probe_key: String, limit: Duration) -> Self {
        metrics::describe();
        metrics::record_degraded_since(None);
        let link = Mutex::new(Link { connection: None, generation: 0, degraded_since: None });
        let inner = Inner { connector, probe_key, timeout: limit, link, lost: Notify::new() };
        let engine = Self(Arc::new(inner));
        let (sender, first_attempt) = oneshot::channel();
        tokio::spawn(engine.clone().stay_connected(sender));
        // A connection that is made later is used from then on.
        let _ = timeout(START_TIMEOUT, first_attempt).await;
        engine
    }

    /// Returns the time since which the engine has not worked; `None` while it works.
    pub(super) fn degraded_since(&self) -> Option<SystemTime> {
        self.0.link.lock().degraded_since
    }

    /// Returns the point in time at which a request stops waiting for commands that it sends now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.0.timeout
    }

    /// Runs a script for a request that waits. Returns `None` if the engine does not work, or does
    /// not respond before the deadline: this replica is then alone.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        operation: Operation,
        script: &ScriptInvocation<'_>,
        deadline: Instant,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Option<Reply<T>> {
        let (generation, connection) = {
            let link = self.0.link.lock();
            (link.generation, link.connection.clone())
        };
        let Some(mut connection) = connection else {
            metrics::record_skipped(operation);
            return None;
        };
        let started = Instant::now();
        let result = timeout_at(deadline, script.invoke_async(&mut connection)).await;
        let round_trip = started.elapsed();
        let failure = match result {
            Ok(Ok(value)) => {
                metrics::record(operation, outcome(&value), round_trip);
                return Some(Reply { value, round_trip });
            }
            Ok(Err(error)) => {
                metrics::record(operation, Outcome::Error, round_trip);
                Failure::Command(error)
            }
            Err(_) => {
                metrics::record(operation, Outcome::Timeout, round_trip);
                Failure::Timeout(round_trip)
            }
        };
        self.open_circuit(generation, &failure);
        None
    }

    /// Runs a script in a task of its own, for a request that does not wait.
    pub(super) fn run_in_background<T: FromRedisValue + Send>(
        &self,
        operation: Operation,
        prepare: impl FnOnce() -> ScriptInvocation<'static> + Send + 'static,
        outcome: impl FnOnce(&T) -> Outcome + Send + 'static,
    ) {
        // A load may be dropped while the runtime shuts down.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let engine = self.clone();
        runtime.spawn(async move {
            let deadline = Instant::now() + BACKGROUND_TIMEOUT.max(engine.0.timeout);
            engine.run(operation, &prepare(), deadline, outcome).await;
        });
    }

    fn open_circuit(&self, generation: u64, failure: &Failure) {
        let since = {
            let mut link = self.0.link.lock();
            if link.generation != generation {
                return;
            }
            link.connection = None;
            if link.degraded_since.is_some() {
                return;
            }
            *link.degraded_since.insert(SystemTime::now())
        };
        metrics::record_degraded_since(Some(since));
        tracing::warn!(
            engine = self.0.connector.hosts(),
            reason = %failure,
            "the shared cache does not work; this replica continues alone"
        );
        self.0.lost.notify_one();
    }

    fn close_circuit(&self, connection: Connection) {
        let was_degraded = {
            let mut link = self.0.link.lock();
            link.connection = Some(connection);
            link.degraded_since.take().is_some()
        };
        metrics::record_degraded_since(None);
        if was_degraded {
            tracing::info!("the shared cache works again");
        } else {
            tracing::info!(engine = self.0.connector.hosts(), "the shared cache is connected");
        }
    }

    /// Connects, watches the connection, and connects again when it is lost.
    async fn stay_connected(self, first_attempt: oneshot::Sender<()>) {
        let (mut pause, mut first_attempt) = (FIRST_PAUSE, Some(first_attempt));
        loop {
            let generation = {
                let mut link = self.0.link.lock();
                link.generation += 1;
                link.generation
            };
            match self.connect().await {
                Ok(connection) => self.close_circuit(connection),
                Err(failure) => self.open_circuit(generation, &failure),
            }
            drop(first_attempt.take());
            let connected_at = Instant::now();
            self.watch().await;
            // An engine that fails at once is no better than one that does not respond.
            if connected_at.elapsed() > PROBE_INTERVAL {
                pause = FIRST_PAUSE;
            }
            sleep(pause.mul_f64(0.75 + 0.25 * fastrand::f64())).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Makes a connection that has proven to be fast enough for requests.
    async fn connect(&self) -> Result<Connection, Failure> {
        let mut connection = self.0.connector.connect().await?;
        // The first run loads the script, which takes another round trip.
        for _ in 0..2 {
            let probe = PROBE.key(&self.0.probe_key);
            let probed = timeout_at(self.deadline(), probe.invoke_async::<()>(&mut connection));
            probed.await.map_err(|_| Failure::Timeout(self.0.timeout))??;
        }
        Ok(connection)
    }

    /// Probes the connection until it is lost. Returns at once if there is none.
    async fn watch(&self) {
        while self.0.link.lock().connection.is_some() {
            tokio::select! {
                () = self.0.lost.notified() => {}
                () = sleep(PROBE_INTERVAL) => {
                    let probe = PROBE.key(&self.0.probe_key);
                    let deadline = Instant::now() + BACKGROUND_TIMEOUT.max(self.0.timeout);
                    self.run::<()>(Operation::Probe, &probe, deadline, |()| Outcome::Stored).await;
                }
            }
        }
    }
}
