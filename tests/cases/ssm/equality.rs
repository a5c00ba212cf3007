//! Every client gets AWS's results from the services.

use e2e::{
    moto::Aws,
    sdk_clients::{Kind, Question, SdkClient, Settings, can_send},
};
use serde_json::{Value, json};

use super::{
    Front, TARGETS, account,
    questions::{self, Case, Expected},
};

#[tokio::test]
async fn boto3_gets_the_results_of_aws() {
    gets_the_results_of_aws(Kind::Boto3).await;
}

#[tokio::test]
async fn the_aws_cli_gets_the_results_of_aws() {
    gets_the_results_of_aws(Kind::AwsCli).await;
}

#[tokio::test]
async fn the_javascript_sdk_gets_the_results_of_aws() {
    gets_the_results_of_aws(Kind::JavaScript).await;
}

#[tokio::test]
async fn the_rust_sdk_gets_the_results_of_aws() {
    gets_the_results_of_aws(Kind::Rust).await;
}

#[tokio::test]
async fn the_bare_protocol_gets_the_results_of_aws() {
    gets_the_results_of_aws(Kind::Wire).await;
}

/// Sends all questions to the emulator and to each service, with the same client.
async fn gets_the_results_of_aws(kind: Kind) {
    let aws = account::stocked().await;
    let cases = questions_for(kind, &aws);
    let mut emulator = Emulator::start(kind, &aws);
    for target in TARGETS {
        let front = Front::start(target, &aws.proxy.url, &[("ALLOW_SECURE_STRINGS", "true")]).await;
        let settings = Settings::of(&front.proxy.url).one_attempt();
        let mut client = SdkClient::start(kind, &settings);
        let mut differences = Vec::new();
        for Case { title, question, expected } in &cases {
            let result = client.ask(question).await;
            if !is_ordered(question, &result) {
                differences.push(format!("{title}: not in alphabetical order: {result}"));
            }
            let (result, expected) =
                (comparable(kind, question, result), emulator.expected(question, expected).await);
            if result != expected {
                differences.push(format!("{title}: {result}\n  instead of {expected}"));
            }
        }
        let (count, all) = (differences.len(), cases.len());
        assert!(
            differences.is_empty(),
            "{count} of {all} results of {target:?} differ:\n{}",
            differences.join("\n")
        );
        for case in &cases {
            if let Expected::Unsupported { .. } = case.expected {
                let operation = &case.question.operation;
                let supported = ["DescribeParameters", "GetParametersByPath"];
                assert!(supported.contains(&&**operation) || aws.proxy.calls(operation) == 0);
            }
        }
    }
}

fn questions_for(kind: Kind, aws: &Aws) -> Vec<Case> {
    let mut cases = questions::all(aws.account());
    cases.retain(|case| can_send(kind, &case.question.operation));
    cases
}

/// The emulator, with AWS's results where its own are wrong.
struct Emulator {
    client: SdkClient,
}

impl Emulator {
    fn start(kind: Kind, aws: &Aws) -> Self {
        Self { client: SdkClient::start(kind, &Settings::of(&aws.proxy.url).one_attempt()) }
    }

    async fn result(&mut self, question: &Question) -> Value {
        let result = self.client.ask(question).await;
        comparable(self.client.kind, question, result)
    }

    async fn expected(&mut self, question: &Question, expected: &Expected) -> Value {
        match expected {
            Expected::Emulated => self.result(question).await,
            Expected::Corrected { correct, .. } => {
                let mut result = self.result(question).await;
                correct(&mut result);
                result
            }
            Expected::Instead { question, .. } => self.result(question).await,
            Expected::Refused { code, .. } | Expected::Unsupported { code } => {
                let error = json!({ "error": { "code": code, "status": 400 } });
                comparable(self.client.kind, question, error)
            }
        }
    }
}

/// Returns the result without the parts that may differ: the text of tokens, and the order of
/// `GetParameters`, which is arbitrary in the emulator.
fn comparable(kind: Kind, question: &Question, mut result: Value) -> Value {
    if let Some(token) = result["output"].get_mut("NextToken") {
        *token = "a token".into();
    }
    if question.operation == "GetParameters"
        && let Some(parameters) = result["output"]["Parameters"].as_array_mut()
    {
        let key =
            |parameter: &Value| (parameter["Name"].to_string(), parameter["Version"].as_i64());
        parameters.sort_by_key(key);
    }
    // The AWS CLI shows no status.
    if kind == Kind::AwsCli
        && let Some(error) = result["error"].as_object_mut()
    {
        error.remove("status");
    }
    result.as_object_mut().expect("a result").retain(|_, part| !part.is_null());
    result
}

/// Whether a result has the order that AWS documents (API_GetParameters): "The results for
/// `GetParameters` requests are listed in alphabetical order in query responses."
fn is_ordered(question: &Question, result: &Value) -> bool {
    let parameters = result["output"]["Parameters"].as_array();
    question.operation != "GetParameters"
        || parameters.is_none_or(|all| all.is_sorted_by_key(|parameter| parameter["Name"].as_str()))
}

#[tokio::test]
async fn every_known_fault_of_the_emulator_exists() {
    let aws = account::stocked().await;
    let mut emulator = Emulator::start(Kind::Wire, &aws);
    for Case { title, question, expected } in questions_for(Kind::Wire, &aws) {
        let fault = match expected {
            Expected::Emulated | Expected::Unsupported { .. } => continue,
            Expected::Corrected { fault, .. }
            | Expected::Instead { fault, .. }
            | Expected::Refused { fault, .. } => fault,
        };
        let result = emulator.result(&question).await;
        let corrected = emulator.expected(&question, &expected).await;
        assert_ne!(result, corrected, "{title}: a newer emulator lost the fault that {fault}");
    }
}

#[tokio::test]
async fn every_client_understands_the_emulator_in_the_same_way() {
    let aws = account::stocked().await;
    let mut wire = Emulator::start(Kind::Wire, &aws);
    for kind in e2e::sdk_clients::SDKS {
        let mut sdk = Emulator::start(kind, &aws);
        for Case { title, question, expected } in questions_for(kind, &aws) {
            if let Expected::Emulated | Expected::Corrected { .. } = expected {
                let (plain, result) = (wire.result(&question).await, sdk.result(&question).await);
                assert_eq!(essence(&result), essence(&plain), "{kind:?}: {title}");
            }
        }
    }
}

/// Returns the parts of a result that have the same form in every client: all but dates.
fn essence(result: &Value) -> Value {
    let without_date = |parameter: &Value| {
        let mut parameter = parameter.clone();
        if let Some(parameter) = parameter.as_object_mut() {
            assert!(parameter.remove("LastModifiedDate").is_some(), "{result}");
        }
        parameter
    };
    let output = &result["output"];
    let parameters = output["Parameters"].as_array();
    json!({
        "code": result["error"]["code"],
        "parameter": without_date(&output["Parameter"]),
        "parameters": parameters.map(|all| all.iter().map(without_date).collect::<Vec<_>>()),
        "invalid": output["InvalidParameters"],
        "token": output["NextToken"],
    })
}
