//! A stand-in for AWS: one moto server for all tests, and a separate account for each test.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, oneshot};

use crate::{MARK, proxy::Proxy};

pub const REGION: &str = "eu-west-2";

/// An empty AWS account for one test, behind a [`Proxy`] on which calls fail on command.
///
/// The proxy adds the account to each call, so tests share the server and nothing else. Names of
/// buckets are an exception: they are global, as on AWS.
pub struct Aws {
    pub proxy: Proxy,
    moto: &'static str,
    account: String,
}

impl Aws {
    pub async fn start() -> Self {
        static ACCOUNTS: AtomicU64 = AtomicU64::new(100_000_000_000);
        let account = ACCOUNTS.fetch_add(1, Ordering::Relaxed).to_string();
        let moto = &SHARED.get_or_init(Server::start).await.url;
        let proxy = Proxy::adding((ACCOUNT_HEADER, account.clone()), moto).await;
        Self { proxy, moto, account }
    }

    /// Returns the number of the account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Stores a `String` parameter under this name.
    pub async fn put(&self, name: &str, value: &str) {
        self.put_typed(name, "String", value).await;
    }

    /// Stores a parameter of any type: a new one, or the next version of an existing one.
    pub async fn put_typed(&self, name: &str, kind: &str, value: &str) {
        assert!(value.contains(MARK), "a value without `{MARK}` could leak unseen: {value}");
        let tier = if value.len() > 4096 { "Advanced" } else { "Standard" };
        self.ssm(
            "PutParameter",
            json!({ "Name": name, "Type": kind, "Value": value, "Tier": tier, "Overwrite": true }),
        )
        .await;
    }

    pub async fn label(&self, name: &str, version: u64, label: &str) {
        let body = json!({ "Name": name, "ParameterVersion": version, "Labels": [label] });
        self.ssm("LabelParameterVersion", body).await;
    }

    pub async fn create_bucket(&self, name: &str) {
        let body = "<CreateBucketConfiguration><LocationConstraint>eu-west-2</LocationConstraint></CreateBucketConfiguration>";
        self.seed("s3", Method::PUT, &format!("/{name}"), &[], body.to_owned()).await;
    }

    /// Sends a call of SSM directly to moto, like all of the setup.
    pub async fn ssm(&self, operation: &str, body: Value) {
        let target = format!("AmazonSSM.{operation}");
        let headers = [("x-amz-target", &*target), ("content-type", "application/x-amz-json-1.1")];
        self.seed("ssm", Method::POST, "/", &headers, body.to_string()).await;
    }

    /// Sends a call of SQS directly to moto, and returns the response.
    pub(crate) async fn sqs(&self, operation: &str, body: Value) -> Value {
        let target = format!("AmazonSQS.{operation}");
        let headers = [("x-amz-target", &*target), ("content-type", "application/x-amz-json-1.0")];
        let text = self.seed("sqs", Method::POST, "/", &headers, body.to_string()).await;
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Sends a call directly to moto, past the proxy, so that the setup of a test does not count as
    /// one of the calls that it observes.
    async fn seed(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> String {
        let mut request = reqwest::Client::new()
            .request(method, format!("{}{path}", self.moto))
            .header(ACCOUNT_HEADER, &self.account)
            .header("authorization", authorization(service));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body.clone()).send().await.expect("moto answers");
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        assert!(status.is_success(), "moto refused {path} {body}: {status} {text}");
        text
    }
}

/// Whether moto is installed.
pub fn is_installed() -> bool {
    python().exists()
}

/// Returns the Python of moto's environment, which `checks/moto.sh` makes.
fn python() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it has a root");
    workspace.join(".tools/moto/bin/python")
}

/// Builds the header from which moto reads the service and the region. moto accepts any signature.
fn authorization(service: &str) -> String {
    let scope = format!("AKIAEXAMPLE/20260101/{REGION}/{service}/aws4_request");
    format!("AWS4-HMAC-SHA256 Credential={scope}, Signature=0")
}

const ACCOUNT_HEADER: &str = "x-moto-account-id";

/// The shared server. It takes most of a second to start, so the whole run uses one.
static SHARED: OnceCell<Server> = OnceCell::const_new();

struct Server {
    url: String,
    _process: Child,
    _lifeline: ChildStdin,
}

impl Server {
    async fn start() -> Self {
        let python = python();
        assert!(
            is_installed(),
            "moto, the AWS of these tests, is not installed; `make test` installs it (checks/moto.sh alone does, too)"
        );
        let mut process = Command::new(python)
            .args(["-c", UNTIL_THE_LIFELINE_ENDS])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C in the terminal must not reach moto before the program that uses it.
            .process_group(0)
            .spawn()
            .expect("moto's Python starts");
        let lifeline = process.stdin.take().expect("it is piped");
        let output = process.stderr.take().expect("it is piped");
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            let mut before = String::new();
            // The thread continues to read after the address. Otherwise moto would block when the
            // pipe is full.
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("Running on ") {
                    sender.take().map(|sender| sender.send(Ok(address.trim().to_owned())));
                } else if sender.is_some() {
                    before += &format!("{line}\n");
                }
            }
            sender.map(|sender| sender.send(Err(before)));
        });
        let url = receiver.await.expect("the thread above sends before it ends");
        let url = url.unwrap_or_else(|output| panic!("moto did not start:\n{output}"));
        let server = Self { url, _process: process, _lifeline: lifeline };
        server.warm_up().await;
        server
    }

    /// Makes moto load both services. It loads a service at the first call, which takes longer than
    /// some deadlines of these tests.
    async fn warm_up(&self) {
        for (service, target) in [("s3", ""), ("ssm", "AmazonSSM.DescribeParameters")] {
            let warm = reqwest::Client::new()
                .post(&self.url)
                .header("x-amz-target", target)
                .header("authorization", authorization(service))
                .body("{}")
                .send();
            warm.await.expect("moto answers");
        }
    }
}

/// The program of moto's server. It ends when its standard input ends, and so with the tests in
/// every case: a static is never dropped, and a killed test run cleans up nothing.
const UNTIL_THE_LIFELINE_ENDS: &str = "
import os, sys, threading
from moto.server import main

def watch():
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=watch, daemon=True).start()
main(['-H', '127.0.0.1', '-p', '0'])
";
