//! Connections to the engine, in each of its topologies.

use std::{num::NonZeroUsize, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    config::{EngineUrl, FleetConfig, SecretFile},
    engine_url::Topology,
    secret_file::text,
};

/// The time limit of a connection's establishment, with its TLS handshake and its authentication.
/// No request waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The time limit of one node of a Cluster. The library waits for all nodes, so a silent one must not
/// take the whole time.
const NODE_TIMEOUT: Duration = Duration::from_millis(500);

/// The configuration of the connection is unusable.
#[derive(Debug, thiserror::Error)]
#[error(
    "--shared-cache-ca-file or --shared-cache-url cannot be used: {0}; check that the file holds valid certificates (PEM)"
)]
pub struct ConfigError(#[source] RedisError);

/// A connection whose clones share one socket per server.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The reason for a failed connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Engine(#[from] RedisError),
    #[error("the connection took longer than {CONNECT_TIMEOUT:?}")]
    Timeout,
}

/// Makes connections to the engine.
pub(super) struct Connector {
    url: EngineUrl,
    password_file: Option<SecretFile>,
    certificates: Option<TlsCertificates>,
}

impl Connector {
    pub(super) fn new(url: &EngineUrl, config: &FleetConfig) -> Result<Self, ConfigError> {
        let ca = config.shared_cache_ca_file.as_ref();
        let certificates = ca.map(|file| TlsCertificates {
            client_tls: None,
            root_cert: Some(file.content().to_vec()),
        });
        let password_file = config.shared_cache_password_file.clone();
        let connector = Self { url: url.clone(), password_file, certificates };
        connector.check().map_err(ConfigError)?;
        Ok(connector)
    }

    /// Returns the hosts, for log lines.
    pub(super) fn hosts(&self) -> String {
        self.url.to_string()
    }

    /// Builds the client once, so that a broken certificate ends the start.
    fn check(&self) -> Result<(), RedisError> {
        match &self.url.topology {
            Topology::Single => self.single().map(drop),
            Topology::Cluster => self.cluster().map(drop),
            Topology::Sentinel { master } => self.sentinel(master).map(drop),
        }
    }

    /// Connects to the engine. The Sentinels are asked for the master each time, and a Cluster for
    /// its slots.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        let connect = async {
            Ok::<_, RedisError>(match &self.url.topology {
                Topology::Single => Connection::Single(multiplexed(&self.single()?).await?),
                Topology::Cluster => {
                    Connection::Cluster(self.cluster()?.get_async_connection().await?)
                }
                Topology::Sentinel { master } => {
                    let client = self.sentinel(master)?.async_get_client().await?;
                    Connection::Single(multiplexed(&client).await?)
                }
            })
        };
        Ok(timeout(CONNECT_TIMEOUT, connect).await.map_err(|_| ConnectError::Timeout)??)
    }

    fn single(&self) -> Result<Client, RedisError> {
        let mut settings = RedisConnectionInfo::default().set_db(self.url.database);
        if let Some(username) = &self.url.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = self.password() {
            settings = settings.set_password(password.as_str());
        }
        let (host, port) = &self.url.hosts[0];
        let info = self.address(host, *port).into_connection_info()?.set_redis_settings(settings);
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn cluster(&self) -> Result<ClusterClient, RedisError> {
        let nodes = self.url.hosts.iter().map(|(host, port)| self.address(host, *port));
        // A failed command opens the circuit, so the library need not repeat it.
        let mut builder = ClusterClient::builder(nodes)
            .retries(1)
            .connection_timeout(NODE_TIMEOUT)
            .response_timeout(CONNECT_TIMEOUT)
            .max_connection_attempts(NonZeroUsize::MIN);
        if self.url.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        if let Some(username) = &self.url.username {
            builder = builder.username(username);
        }
        if let Some(password) = self.password() {
            builder = builder.password(password.as_str());
        }
        builder.build()
    }

    /// The Sentinels themselves get no password, as most installations want it.
    fn sentinel(&self, master: &str) -> Result<SentinelClient, RedisError> {
        let sentinels = self.url.hosts.iter().map(|(host, port)| self.address(host, *port));
        let mut builder =
            SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?;
        if self.url.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        if let Some(username) = &self.url.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = self.password() {
            builder = builder.set_client_to_redis_password(password.as_str());
        }
        builder.build()
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        let host = host.to_owned();
        match self.url.tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        }
    }

    /// Returns the password as the file has it now, or else as it was at the start.
    fn password(&self) -> Option<Zeroizing<String>> {
        let file = self.password_file.as_ref()?;
        let current = file.read_again().and_then(|content| text(&content));
        let password = current.or_else(|reason| {
            tracing::warn!(%reason, "the password file of the shared cache cannot be used; the previous password stays in use");
            text(file.content())
        });
        password.ok()
    }
}

/// The caller limits the time of each command, so the library does not.
async fn multiplexed(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(Some(CONNECT_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}
