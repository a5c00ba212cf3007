//! A balancer that works like a Kubernetes Service: each connection goes to the next ready replica,
//! and stays with it. The balancer retries nothing, so a client loses every request that a replica
//! loses.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// The interval between two readiness checks of a replica.
const PERIOD: Duration = Duration::from_millis(100);

/// A balancer that runs. When it is dropped, it ends and closes the connections through it.
pub struct Balancer {
    pub url: String,
    replicas: Arc<Mutex<Replicas>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Replicas {
    /// The addresses of all replicas, as `host:port`.
    known: Vec<String>,
    ready: Vec<String>,
    next: usize,
}

impl Balancer {
    /// Starts a balancer in front of the replicas with these URLs.
    pub async fn before(urls: &[&str]) -> Self {
        Self::at("127.0.0.1:0", urls).await
    }

    /// Starts a balancer on this address, which must be free, and waits until all replicas are
    /// ready.
    pub async fn at(address: &str, urls: &[&str]) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let replicas = Arc::default();
        let tasks = [
            tokio::spawn(watch(Arc::clone(&replicas))),
            tokio::spawn(accept(listener, Arc::clone(&replicas))),
        ];
        let balancer = Self { url, replicas, tasks };
        balancer.replace(urls);
        balancer.all_ready().await;
        balancer
    }

    /// Waits until all replicas are ready.
    pub async fn all_ready(&self) {
        while !self.is_all_ready() {
            sleep(PERIOD).await;
        }
    }

    fn is_all_ready(&self) -> bool {
        let replicas = self.replicas.lock().expect("nothing panics while it holds this");
        replicas.ready == replicas.known
    }

    /// Replaces the replicas.
    pub fn replace(&self, urls: &[&str]) {
        let address = |url: &&str| url.trim_start_matches("http://").to_owned();
        let mut replicas = self.replicas.lock().expect("nothing panics while it holds this");
        replicas.known = urls.iter().map(address).collect();
    }

    /// Returns the number of replicas that are ready at the moment.
    pub fn ready(&self) -> usize {
        self.replicas.lock().expect("nothing panics while it holds this").ready.len()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn watch(replicas: Arc<Mutex<Replicas>>) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()
        .expect("a client without TLS needs nothing that could be missing");
    loop {
        let known = replicas.lock().expect("nothing panics while it holds this").known.clone();
        let mut ready = Vec::new();
        for address in known {
            let answer = client.get(format!("http://{address}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                ready.push(address);
            }
        }
        replicas.lock().expect("nothing panics while it holds this").ready = ready;
        sleep(PERIOD).await;
    }
}

async fn accept(listener: TcpListener, replicas: Arc<Mutex<Replicas>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let address = {
            let mut replicas = replicas.lock().expect("nothing panics while it holds this");
            replicas.next = replicas.next.wrapping_add(1);
            let ready = &replicas.ready;
            ready.get(replicas.next % ready.len().max(1)).cloned()
        };
        connections.spawn(async move {
            // Without a ready replica, the client's connection ends here.
            if let Some(address) = address
                && let Ok(mut replica) = TcpStream::connect(address).await
            {
                let _ = copy_bidirectional(&mut client, &mut replica).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
