//! Clients in other languages: programs that read questions from standard input.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Kind, Question, REGION, Settings};

/// The time limit of one question. It is longer than any client's retries of a call.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Program {
    kind: Kind,
    questions: ChildStdin,
    results: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Program {
    pub(super) fn start(kind: Kind, settings: &Settings) -> Self {
        let (interpreter, program) = match kind {
            Kind::Boto3 => (tool("boto3/bin/python"), "boto3_client.py"),
            Kind::AwsCli => (tool("aws-cli/bin/python"), "aws_cli.py"),
            _ => (PathBuf::from("node"), "javascript.mjs"),
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let mut command = Command::new(&interpreter);
        command
            .arg(folder.join(program))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NODE_MODULES", tool("aws-sdk-js/node_modules"))
            // Versions of Node that the next release of the SDK will not support cause a warning.
            .env("NODE_NO_WARNINGS", "1")
            .env("AWS_ENDPOINT_URL_SSM", &settings.url)
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", &settings.secret_key)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", folder.join("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        if let Some(token) = &settings.session_token {
            command.env("AWS_SESSION_TOKEN", token);
        }
        if let Some(attempts) = settings.attempts {
            command.env("AWS_MAX_ATTEMPTS", attempts.to_string());
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", interpreter.display()));
        let questions = process.stdin.take().expect("it is piped");
        let results = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self { kind, questions, results, _process: process }
    }

    pub(super) async fn ask(&mut self, question: &Question) -> Value {
        let Question { operation, input, pages } = question;
        let line = json!({ "operation": operation, "input": input, "pages": pages });
        let exchange = async {
            self.questions.write_all(format!("{line}\n").as_bytes()).await.ok()?;
            self.results.next_line().await.ok()?
        };
        let result = timeout(TIMEOUT, exchange).await;
        let result = result.unwrap_or_else(|_| panic!("{:?} hangs at {line}", self.kind));
        let result = result.unwrap_or_else(|| panic!("{:?} ended at {line}", self.kind));
        serde_json::from_str(&result).expect("the program writes JSON")
    }
}

/// Returns the path of an installed tool.
fn tool(path: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it has a root");
    let path = workspace.join(".tools").join(path);
    assert!(
        path.exists(),
        "an AWS client of these tests is not installed; `make test` installs it (checks/clients.sh alone does, too)"
    );
    path
}
