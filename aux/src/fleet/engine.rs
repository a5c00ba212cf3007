//! The engine: its connection, the time limit of each command, and the circuit that keeps a broken
//! engine away from requests.
//!
//! The first command that fails opens the circuit. While it is open, no command is sent. A task
//! connects again and closes the circuit when the engine writes a key in time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use redis::{FromRedisValue, RedisError, ScriptInvocation};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    connection::{ConnectError, Connection, Connector},
    metrics::{self, Operation, Outcome},
    scripts::{self, PROBE},
};

/// The pause before the first new connection. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The upper bound of the pause. A longer pause would delay the use of an engine that works again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The duration of a connection after which the next pause is a first one again. An engine that fails
/// for some commands only would otherwise be connected and lost twice a second.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// The interval between two probes while no command fails, so that a replica without traffic knows
/// the state of the engine too.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The time limit of commands that no request waits for.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// The time limit of a command that a request waits for.
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
    /// Absent while the engine works, and during the first attempt to connect.
    degraded_since: Option<SystemTime>,
    /// The kind of the last failure that was logged.
    logged: String,
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

impl Failure {
    /// Returns the kind of the failure. Failures of one kind are logged once.
    fn kind(&self) -> String {
        match self {
            Self::Connect(ConnectError::Timeout) | Self::Timeout(_) => "timeout".to_owned(),
            Self::Connect(ConnectError::Engine(error)) | Self::Command(error) => {
                error.code().map_or_else(|| format!("{:?}", error.kind()), str::to_owned)
            }
        }
    }
}

/// The absence of a result: this replica is alone.
pub(super) struct NoReply {
    engine: Engine,
    /// The connection on which the engine may still run the script.
    late: Option<Connection>,
}

impl NoReply {
    /// Sends a script that reverts the one without a reply, if the engine may run that one late. The
    /// same connection keeps the order of the two.
    pub(super) fn revert(self, operation: Operation, script: ScriptInvocation<'static>) {
        let Some(mut connection) = self.late else { return };
        let limit = self.engine.background_timeout();
        tokio::spawn(async move {
            let started = Instant::now();
            let reverted = timeout(limit, script.invoke_async::<bool>(&mut connection)).await;
            let outcome = match reverted {
                Ok(Ok(_)) => Outcome::Stored,
                Ok(Err(_)) => Outcome::Error,
                Err(_) => Outcome::Timeout,
            };
            metrics::record(operation, outcome, started.elapsed());
        });
    }
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
        let link = Mutex::new(Link {
            connection: None,
            generation: 0,
            degraded_since: None,
            logged: String::new(),
        });
        let inner = Inner { connector, probe_key, timeout: limit, link, lost: Notify::new() };
        let engine = Self(Arc::new(inner));
        let (sender, first_attempt) = oneshot::channel();
        tokio::spawn(engine.clone().stay_connected(sender));
        if timeout(START_TIMEOUT, first_attempt).await.is_err() {
            engine.report_degraded(&Failure::Timeout(START_TIMEOUT));
        }
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

    fn background_timeout(&self) -> Duration {
        BACKGROUND_TIMEOUT.max(self.0.timeout)
    }

    /// Runs a script for a request that waits.
    ///
    /// # Errors
    ///
    /// The engine does not work, or does not respond before the deadline.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        operation: Operation,
        script: &ScriptInvocation<'_>,
        deadline: Instant,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Result<Reply<T>, NoReply> {
        let (generation, connection) = {
            let link = self.0.link.lock();
            (link.generation, link.connection.clone())
        };
        let Some(mut connection) = connection else {
            metrics::record_skipped(operation);
            return Err(NoReply { engine: self.clone(), late: None });
        };
        let started = Instant::now();
        let result = timeout_at(deadline, script.invoke_async(&mut connection)).await;
        let round_trip = started.elapsed();
        let (failure, late) = match result {
            Ok(Ok(value)) => {
                metrics::record(operation, outcome(&value), round_trip);
                return Ok(Reply { value, round_trip });
            }
            Ok(Err(error)) => {
                metrics::record(operation, Outcome::Error, round_trip);
                (Failure::Command(error), None)
            }
            Err(_) => {
                metrics::record(operation, Outcome::Timeout, round_trip);
                (Failure::Timeout(round_trip), Some(connection))
            }
        };
        self.open_circuit(generation, &failure);
        Err(NoReply { engine: self.clone(), late })
    }

    /// Runs a script for a task that no request waits for.
    ///
    /// # Errors
    ///
    /// The engine does not work, or does not respond in time.
    pub(super) async fn run_patiently<T: FromRedisValue>(
        &self,
        operation: Operation,
        script: &ScriptInvocation<'_>,
        outcome: impl FnOnce(&T) -> Outcome,
    ) -> Result<Reply<T>, NoReply> {
        let deadline = Instant::now() + self.background_timeout();
        self.run(operation, script, deadline, outcome).await
    }

    /// Makes a connection of its own, for commands that block.
    pub(super) async fn connect_separately(&self) -> Result<Connection, ConnectError> {
        self.0.connector.connect().await
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
            // The state of the circuit is the only result.
            let _ = engine.run_patiently(operation, &prepare(), outcome).await;
        });
    }

    fn open_circuit(&self, generation: u64, failure: &Failure) {
        {
            let mut link = self.0.link.lock();
            if link.generation != generation {
                return;
            }
            link.connection = None;
        }
        self.report_degraded(failure);
        self.0.lost.notify_one();
    }

    /// Shows that the engine does not work, unless it works again already.
    fn report_degraded(&self, failure: &Failure) {
        let kind = failure.kind();
        let is_new = {
            let mut link = self.0.link.lock();
            if link.connection.is_some() {
                return;
            }
            let since = *link.degraded_since.get_or_insert_with(SystemTime::now);
            // The gauge changes under the lock, so that it agrees with the state.
            metrics::record_degraded_since(Some(since));
            let is_new = link.logged != kind;
            link.logged = kind;
            is_new
        };
        if is_new {
            tracing::warn!(
                engine = self.0.connector.hosts(),
                reason = %failure,
                "the shared cache does not work; this replica continues alone"
            );
        }
    }

    fn close_circuit(&self, connection: Connection) {
        let was_degraded = {
            let mut link = self.0.link.lock();
            link.connection = Some(connection);
            link.logged.clear();
            metrics::record_degraded_since(None);
            link.degraded_since.take().is_some()
        };
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
            if connected_at.elapsed() > GOOD_CONNECTION {
                pause = FIRST_PAUSE;
            }
            sleep(pause.mul_f64(0.75 + 0.25 * fastrand::f64())).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Makes a connection that has proven to be fast enough for requests.
    async fn connect(&self) -> Result<Connection, Failure> {
        let mut connection = self.0.connector.connect().await?;
        let limit = self.background_timeout();
        let loaded = timeout(limit, scripts::load(&mut connection)).await;
        loaded.map_err(|_| Failure::Timeout(limit))??;
        let probe = PROBE.key(&self.0.probe_key);
        let probed = timeout(self.0.timeout, probe.invoke_async::<()>(&mut connection)).await;
        probed.map_err(|_| Failure::Timeout(self.0.timeout))??;
        Ok(connection)
    }

    /// Probes the connection until it is lost. Returns at once if there is none.
    async fn watch(&self) {
        while self.0.link.lock().connection.is_some() {
            tokio::select! {
                () = self.0.lost.notified() => {}
                () = sleep(PROBE_INTERVAL) => {
                    let probe = PROBE.key(&self.0.probe_key);
                    let outcome = |(): &()| Outcome::Stored;
                    let _ = self.run_patiently(Operation::Probe, &probe, outcome).await;
                }
            }
        }
    }
}
