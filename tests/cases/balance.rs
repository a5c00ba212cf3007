//! Spreads requests over all replicas, behind balancers that see only connections.
//!
//! ```text
//! clients ──► balancer ──► main-api ×3 ──► balancer ──► aux-service ×3, then ×6
//! ```
//!
//! `cargo test` counts for 12 s. `BALANCE_SECONDS=60` sets another time.

use std::{env::temp_dir, fmt::Write, fs, path::PathBuf, process, time::Duration};

use e2e::{
    balancer::Balancer,
    client::Client,
    scale,
    service::{Service, Setup},
};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, sleep_until},
};

/// The time for which requests to three replicas are counted, in seconds.
const SECONDS: u32 = 12;

const MAX_CONNECTION_AGE: Duration = Duration::from_secs(2);

/// The time for which requests are counted after new replicas are ready.
const THREE_AGES: Duration = Duration::from_secs(3 * MAX_CONNECTION_AGE.as_secs());

/// The number of replicas of each service at the start, and of the aux-service replicas that start
/// later.
const REPLICAS: usize = 3;

const NAMES: usize = 1000;

/// The share of the requests that each of three replicas must serve.
const FAIR_SHARE: std::ops::RangeInclusive<f64> = 0.2..=0.5;

/// The least share that each new replica must serve in the three ages after its start.
const NEW_SHARE: f64 = 0.05;

#[tokio::test]
async fn every_aux_service_gets_its_share_of_the_requests() {
    let [a, b, c, d] = [(20, 1), (20, 20), (200, 1), (200, 20)].map(unfair_shares);
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let unfair = [a, b, c, d].concat();
    assert!(unfair.is_empty(), "{unfair:#?}");
}

/// Sends `rate` requests a second, each for another name, and counts the requests of each replica
/// of aux-service: of the first three, and of three more that start later. Returns the shares that
/// are too small or too large.
async fn unfair_shares((rate, clients): (u32, u32)) -> Vec<String> {
    let label = format!("{rate} requests a second, {clients} clients");
    let file = Names::write(rate, clients);
    let aux = || {
        let aux = Setup::of("aux-service").with("BACKEND", "embedded");
        common(aux.with("EMBEDDED_FILE", file.0.to_str().expect("UTF-8")))
    };
    let mut auxes = start(aux).await;
    let to_aux = balance(&auxes).await;
    let mains = start(|| common(Setup::of("main-api").with("AUX_URL", &to_aux.url))).await;
    let to_main = balance(&mains).await;
    let mut load = load(&to_main.url, rate, clients);

    let before = requests_of(&auxes).await;
    sleep(Duration::from_secs(scale("BALANCE_SECONDS", SECONDS).into())).await;
    let shares = shares(&before, &requests_of(&auxes).await);
    eprintln!("{label}: three replicas served {shares:.2?} of the requests");

    auxes.extend(start(aux).await);
    let before = requests_of(&auxes).await;
    to_aux.replace(&urls(&auxes));
    while to_aux.ready() < auxes.len() {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(THREE_AGES).await;
    if let Some(ended) = load.try_join_next() {
        ended.expect("no request fails");
    }
    let later = self::shares(&before, &requests_of(&auxes).await);
    eprintln!("{label}: the three and three new ones served {later:.2?} of the following");

    let mut unfair = Vec::new();
    if !shares.iter().all(|share| FAIR_SHARE.contains(share)) {
        unfair.push(format!("{label}: shares of three replicas: {shares:.2?}"));
    }
    if later[REPLICAS..].iter().any(|share| *share < NEW_SHARE) {
        unfair.push(format!("{label}: shares after three more have started: {later:.2?}"));
    }
    unfair
}

fn common(setup: Setup) -> Setup {
    setup
        .with("MAX_CONNECTION_AGE", &format!("{}s", MAX_CONNECTION_AGE.as_secs()))
        // The cache is off, so each request reaches an aux-service.
        .with("CACHE", "off")
}

/// Starts three replicas at the same time.
async fn start(setup: impl Fn() -> Setup) -> Vec<Service> {
    let replicas: JoinSet<_> = (0..REPLICAS).map(|_| setup().start()).collect();
    replicas.join_all().await
}

fn urls(replicas: &[Service]) -> Vec<&str> {
    replicas.iter().map(|replica| replica.url.as_str()).collect()
}

async fn balance(replicas: &[Service]) -> Balancer {
    Balancer::before(&urls(replicas)).await
}

/// Sends `rate` requests a second until it is dropped. Each client reuses its connection until a
/// response closes it.
fn load(url: &str, rate: u32, clients: u32) -> JoinSet<()> {
    let (start, period) = (Instant::now(), Duration::from_secs(1) * clients / rate);
    let one = |number: u32| {
        let mut client = Client::of(url);
        async move {
            sleep_until(start + period * number / clients).await;
            let mut ticks = interval(period);
            for request in 0.. {
                ticks.tick().await;
                let name = (request * clients + number) as usize % NAMES;
                let response = client.get(&format!("/param/balance/n{name}")).await;
                let response = response.unwrap_or_else(|failure| panic!("{failure:?}"));
                assert_eq!(response.status, 200, "{response:?}");
            }
        }
    };
    (0..clients).map(one).collect()
}

/// Returns the number of requests for a parameter that each replica has served.
async fn requests_of(replicas: &[Service]) -> Vec<f64> {
    let mut counts = Vec::new();
    for replica in replicas {
        let metrics = replica.get("/metrics").await.body;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("axum_http_requests_total{") && line.contains(r#""/param/{name}""#)
        });
        counts.push(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum());
    }
    counts
}

/// Returns the share of each replica in the requests between two counts.
fn shares(before: &[f64], after: &[f64]) -> Vec<f64> {
    let served: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let total: f64 = served.iter().sum();
    served.iter().map(|served| served / total).collect()
}

/// A file of parameters for the embedded backend.
struct Names(PathBuf);

impl Names {
    fn write(rate: u32, clients: u32) -> Self {
        let mut content = "parameters:\n".to_owned();
        for number in 0..NAMES {
            let _ = writeln!(content, "  - {{ name: /balance/n{number}, value: hush }}");
        }
        let name = format!("e2e-balance-{}-{rate}-{clients}.yaml", process::id());
        let file = temp_dir().join(name);
        fs::write(&file, content).unwrap();
        Self(file)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
