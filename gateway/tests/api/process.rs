//! The real binary in a process of its own, with metrics that no other test changes.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::gateway::ssm_request;

pub(crate) struct Process {
    url: String,
    client: reqwest::Client,
    /// The process, which is killed when this is dropped.
    _child: Child,
}

impl Process {
    pub(crate) async fn start(aux_url: &str, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_main-api"))
            .arg(format!("--aux-url={aux_url}"))
            .args(["--listen-addr=127.0.0.1:0", "--log-format=json"])
            .args(flags)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = loop {
            let line = log.next_line().await.expect("the log is text").expect("it keeps running");
            let line: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
            if line["message"] == "listening" {
                break line["address"].as_str().expect("an address").to_owned();
            }
        };
        // The process would block on its log if the pipe were full.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url: format!("http://{address}"), client, _child: child }
    }

    /// Returns the status, and the body as text.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await;
        let response = response.expect("main-api always answers");
        (response.status().as_u16(), response.text().await.expect("a whole answer"))
    }

    /// Sends a request in AWS's protocol. Returns the status.
    pub(crate) async fn ssm(&self, operation: &str, body: &str) -> u16 {
        let response = ssm_request(&self.client, &self.url, operation, body).send().await;
        response.expect("main-api always answers").status().as_u16()
    }

    pub(crate) async fn scrape(&self) -> Metrics {
        Metrics(self.get("/metrics").await.1)
    }
}

/// The metrics of one scrape.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Returns the value of one series. Labels may be in any order.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.series(name).into_iter().find_map(|(found, value)| {
            let same = found.len() == labels.len()
                && labels.iter().all(|(k, v)| found.contains(&(k.to_string(), v.to_string())));
            same.then_some(value)
        })
    }

    /// Whether a text occurs anywhere.
    pub(crate) fn contain(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// Returns every series of a metric.
    pub(crate) fn series(&self, name: &str) -> Vec<(Vec<(String, String)>, f64)> {
        let mut series = Vec::new();
        for line in self.0.lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            let (labels, value) = match rest.split_at(1) {
                ("{", rest) => rest.split_once("} ").expect("labels have an end"),
                (" ", value) => ("", value),
                _ => continue,
            };
            let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
                let (key, value) = label.split_once('=').expect("a label has a value");
                (key.to_owned(), value.trim_matches('"').to_owned())
            });
            series.push((labels.collect(), value.parse().expect("a sample is a number")));
        }
        series
    }

    /// Returns the names of all metrics with this prefix.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| line.split(' ').next());
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
        names.sort();
        names
    }
}
