//! A balancer as a Kubernetes Service is one: each connection goes to the next replica that is
//! ready, and stays with it. It retries nothing, so whatever a replica loses, a client loses.

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

/// How often replicas are asked whether they are ready.
const PERIOD: Duration = Duration::from_millis(100);

/// It ends, and the connections through it with it, when it is dropped.
pub struct Balancer {
    pub url: String,
    replicas: Arc<Mutex<Replicas>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Replicas {
    /// Addresses, `host:port`.
    known: Vec<String>,
    ready: Vec<String>,
    next: usize,
}

impl Balancer {
    /// In front of the replicas that have these URLs.
    pub async fn before(urls: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let replicas = Arc::default();
        let tasks = [
            tokio::spawn(watch(Arc::clone(&replicas))),
            tokio::spawn(accept(listener, Arc::clone(&replicas))),
        ];
        let balancer = Self { url, replicas, tasks };
        balancer.replace(urls);
        while balancer.ready() < urls.len() {
            sleep(PERIOD).await;
        }
        balancer
    }

    /// From now on these are the replicas.
    pub fn replace(&self, urls: &[&str]) {
        let address = |url: &&str| url.trim_start_matches("http://").to_owned();
        let mut replicas = self.replicas.lock().expect("nothing panics while it holds this");
        replicas.known = urls.iter().map(address).collect();
    }

    /// How many replicas take connections at the moment.
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
            // Without a replica the client's connection ends here.
            if let Some(address) = address
                && let Ok(mut replica) = TcpStream::connect(address).await
            {
                let _ = copy_bidirectional(&mut client, &mut replica).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
