//! Counts the calls of aux-service to AWS by its own metrics, across restarts.

use std::{collections::HashMap, sync::Arc, time::Duration};

use e2e::{exposition::Exposition, service::Service};
use tokio::{sync::Mutex, task::JoinHandle, time::sleep};

use crate::{clients::http_client, figures::Day};

/// The time between two samples. The calls between the last sample and the end of a process are
/// lost, so a restart takes a sample of its own.
const PERIOD: Duration = Duration::from_millis(500);

/// The time limit of one sample.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The metric, with the labels `operation` and `outcome`.
const METRIC: &str = "aws_requests_total";

/// The operations of the queue. They read no parameter.
const QUEUE: [&str; 2] = ["ReceiveMessage", "DeleteMessage"];

/// A sampler that runs. When this is dropped, it ends.
pub(crate) struct AwsCalls {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    day: Arc<Day>,
    http: reqwest::Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The process and the URL of each replica.
    replicas: Vec<(u32, String)>,
    /// The last counts, by process, operation and outcome.
    last: HashMap<(u32, String, String), u64>,
}

impl AwsCalls {
    pub(crate) fn start(day: &Arc<Day>) -> Self {
        let (day, http, state) = (Arc::clone(day), http_client(), Mutex::default());
        let inner = Arc::new(Inner { day, http, state });
        let sampling = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            loop {
                sampling.sample().await;
                sleep(PERIOD).await;
            }
        });
        Self { inner, task }
    }

    /// Takes a sample, and then continues with these replicas.
    pub(crate) async fn follow(&self, replicas: &[Service]) {
        self.inner.sample().await;
        let replicas = replicas.iter().map(|replica| (replica.pid(), replica.url.clone()));
        self.inner.state.lock().await.replicas = replicas.collect();
    }

    pub(crate) async fn sample(&self) {
        self.inner.sample().await;
    }
}

impl Drop for AwsCalls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    async fn sample(&self) {
        let mut state = self.state.lock().await;
        for (process, url) in state.replicas.clone() {
            let request = self.http.get(format!("{url}/metrics")).timeout(TIMEOUT);
            let Ok(response) = request.send().await else { continue };
            let Ok(text) = response.text().await else { continue };
            for (labels, count) in Exposition::parse(&text).samples_of(METRIC) {
                let (operation, outcome) = (&labels["operation"], &labels["outcome"]);
                if QUEUE.contains(&operation.as_str()) {
                    continue;
                }
                let series = (process, operation.clone(), outcome.clone());
                let count = count as u64;
                let last = state.last.insert(series, count);
                let calls = count.saturating_sub(last.unwrap_or_default());
                if calls > 0 {
                    self.day.record_aws_calls(outcome, calls);
                }
            }
        }
    }
}
