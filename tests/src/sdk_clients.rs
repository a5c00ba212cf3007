//! AWS clients that know nothing of these services: boto3, the AWS CLI, the AWS SDKs for JavaScript
//! and Rust, and the bare protocol.
//!
//! Each client sends the same [`Question`]s to an endpoint, and returns the result in the same
//! form: `{"output": {…}}` or `{"error": {"code": …, "status": …}}`. The clients in other languages
//! are programs in `tests/clients/`, which only their environment configures.

mod programs;
pub mod rust;
pub mod wire;

use serde_json::{Value, json};

use crate::moto::REGION;
use programs::Program;

/// A call of an operation of SSM.
#[derive(Clone, Debug)]
pub struct Question {
    pub operation: String,
    pub input: Value,
    /// Whether the client's paginator reads all pages. `MaxResults` is then the size of a page.
    pub pages: bool,
}

impl Question {
    pub fn new(operation: &str, input: Value) -> Self {
        Self { operation: operation.to_owned(), input, pages: false }
    }

    /// A list, read to its end by the client's paginator.
    pub fn all_pages(operation: &str, input: Value) -> Self {
        Self { pages: true, ..Self::new(operation, input) }
    }

    pub fn get(name: &str) -> Self {
        Self::new("GetParameter", json!({ "Name": name }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boto3,
    AwsCli,
    JavaScript,
    Rust,
    /// The protocol without a client library, which shows members that the SDKs would not.
    Wire,
}

/// The clients that people use, without the bare protocol.
pub const SDKS: [Kind; 4] = [Kind::Boto3, Kind::AwsCli, Kind::JavaScript, Kind::Rust];

/// The settings of a client.
#[derive(Clone, Debug)]
pub struct Settings {
    pub url: String,
    pub secret_key: String,
    pub session_token: Option<String>,
    /// The attempts of a call, or `None` for the client's own default.
    pub attempts: Option<u32>,
}

impl Settings {
    /// Settings for this endpoint, with credentials that no service checks.
    pub fn of(url: &str) -> Self {
        let secret_key = "e2e".to_owned();
        Self { url: url.to_owned(), secret_key, session_token: None, attempts: None }
    }

    /// Makes the client return the first error instead of a repetition.
    #[must_use]
    pub fn one_attempt(self) -> Self {
        Self { attempts: Some(1), ..self }
    }

    #[must_use]
    pub fn token(self, token: &str) -> Self {
        Self { session_token: Some(token.to_owned()), ..self }
    }
}

pub struct SdkClient {
    pub kind: Kind,
    client: Client,
}

enum Client {
    Program(Box<Program>),
    Rust(rust::Client),
    Wire(wire::Client),
}

impl SdkClient {
    pub fn start(kind: Kind, settings: &Settings) -> Self {
        let client = match kind {
            Kind::Boto3 | Kind::AwsCli | Kind::JavaScript => {
                Client::Program(Box::new(Program::start(kind, settings)))
            }
            Kind::Rust => Client::Rust(rust::Client::new(settings)),
            Kind::Wire => Client::Wire(wire::Client::new(settings)),
        };
        Self { kind, client }
    }

    pub async fn ask(&mut self, question: &Question) -> Value {
        match &mut self.client {
            Client::Program(program) => program.ask(question).await,
            Client::Rust(client) => client.ask(question).await,
            Client::Wire(client) => client.ask(question).await,
        }
    }

    /// Returns the value of a parameter.
    pub async fn value(&mut self, name: &str) -> Value {
        let result = self.ask(&Question::get(name)).await;
        let value = result["output"]["Parameter"]["Value"].clone();
        assert!(value.is_string(), "{:?} cannot read {name}: {result}", self.kind);
        value
    }

    /// Returns the code of the error of a call that must fail.
    pub async fn error(&mut self, question: &Question) -> String {
        let result = self.ask(question).await;
        let code = result["error"]["code"].as_str();
        let code = code.unwrap_or_else(|| panic!("{:?}: {question:?}: {result}", self.kind));
        code.to_owned()
    }
}

/// Whether the client in Rust can send this operation. The others can send all.
pub fn can_send(kind: Kind, operation: &str) -> bool {
    kind != Kind::Rust || rust::OPERATIONS.contains(&operation)
}
