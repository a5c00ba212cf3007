//! The processes of the demonstration: both services behind balancers, the engine and AWS.

use std::net::SocketAddr;

use e2e::{
    balancer::Balancer,
    change_queue,
    engine::Engine,
    moto::Aws,
    service::{self, Service, Setup},
};

use crate::parameters;

/// The time for which a value is fresh, in seconds.
pub(crate) const TTL: u64 = 5;

/// The time for which a service that was told to end is not ready and still responds. The balancers
/// look every tenth of a second on an idle machine.
const SHUTDOWN_DELAY: &str = "2s";

/// The timeout of the shared cache. It is longer than the default, so that a busy machine does not
/// look like a slow engine.
const SHARED_CACHE_TIMEOUT: &str = "2s";

/// The seconds until a message of the queue that was not deleted arrives again.
const VISIBILITY_TIMEOUT: u32 = 30;

/// The public addresses.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) main_api: SocketAddr,
    /// One address for each replica of aux-service.
    pub(crate) aux_service: [SocketAddr; 2],
}

/// Everything that runs. When this is dropped, it ends.
pub(crate) struct Deployment {
    pub(crate) main: Service,
    /// The balancer at main-api's public address.
    pub(crate) main_balancer: Balancer,
    pub(crate) replicas: Vec<Service>,
    aux_balancer: Balancer,
    addresses: Addresses,
    aux_setup: Setup,
    main_setup: Setup,
    pub(crate) aws: Aws,
    engine: Option<Engine>,
}

impl Deployment {
    /// Starts everything: two replicas of aux-service with a shared cache, or else one.
    pub(crate) async fn start(addresses: Addresses, with_engine: bool) -> Self {
        let aws = Aws::start().await;
        change_queue::create(&aws, VISIBILITY_TIMEOUT).await;
        parameters::store(&aws).await;
        let engine = if with_engine { Some(Engine::start().await) } else { None };

        let mut aux_setup = service::aux_with_defaults(&aws.proxy.url)
            .with("CHANGE_QUEUE_URL", &change_queue::url(&aws))
            .with("CACHE_TTL", &format!("{TTL}s"))
            .with("SHUTDOWN_DELAY", SHUTDOWN_DELAY)
            .in_own_process_group();
        if let Some(engine) = &engine {
            aux_setup = aux_setup
                .with("SHARED_CACHE_URL", &engine.url())
                .with("SHARED_CACHE_TIMEOUT", SHARED_CACHE_TIMEOUT);
        }
        let mut replicas = Vec::new();
        let count = if with_engine { 2 } else { 1 };
        for address in addresses.aux_service.iter().take(count) {
            replicas.push(listening_on(&aux_setup, *address).start().await);
        }
        let aux_balancer = Balancer::before(&urls(&replicas)).await;
        let main_setup = Setup::of("main-api")
            .with("AUX_URL", &aux_balancer.url)
            .with("SHUTDOWN_DELAY", SHUTDOWN_DELAY)
            .in_own_process_group();
        let main = main_setup.clone().start().await;
        let main_balancer = Balancer::at(&addresses.main_api.to_string(), &[&main.url]).await;
        Self {
            main,
            main_balancer,
            replicas,
            aux_balancer,
            addresses,
            aux_setup,
            main_setup,
            aws,
            engine,
        }
    }

    pub(crate) fn has_shared_cache(&self) -> bool {
        self.engine.is_some()
    }

    /// Ends one replica of aux-service and starts it again at the same address, with an empty memory.
    /// Returns whether the old process has ended as it should.
    pub(crate) async fn restart_aux(&mut self, index: usize) -> bool {
        let ended = self.replicas[index].terminate().await;
        let setup = listening_on(&self.aux_setup, self.addresses.aux_service[index]);
        self.replicas[index] = setup.start().await;
        self.aux_balancer.replace(&urls(&self.replicas));
        self.aux_balancer.all_ready().await;
        ended.success()
    }

    /// Starts a new main-api and then ends the old one, like a rolling update of Kubernetes. Returns
    /// whether the old process has ended as it should.
    pub(crate) async fn restart_main(&mut self) -> bool {
        let new = self.main_setup.clone().start().await;
        self.main_balancer.replace(&[&self.main.url, &new.url]);
        self.main_balancer.all_ready().await;
        let mut old = std::mem::replace(&mut self.main, new);
        let ended = old.terminate().await;
        self.main_balancer.replace(&[&self.main.url]);
        self.main_balancer.all_ready().await;
        ended.success()
    }
}

fn listening_on(setup: &Setup, address: SocketAddr) -> Setup {
    setup.clone().with("LISTEN_ADDR", &address.to_string())
}

fn urls(replicas: &[Service]) -> Vec<&str> {
    replicas.iter().map(|replica| &*replica.url).collect()
}
