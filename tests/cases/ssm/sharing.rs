//! SDKs and the plain routes share the entries of the cache, and so their calls to AWS.

use std::collections::BTreeMap;

use e2e::{
    MARK,
    engine::Engine,
    moto::Aws,
    sdk_clients::{Kind, Question, SDKS, SdkClient},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Front, TARGETS, Target};

/// A lifetime that no entry exceeds, even on a busy machine.
const LONG: (&str, &str) = ("CACHE_TTL", "1h");

const NAMES: usize = 5;

/// The reads of each of the four clients: 13, so at least 50 together.
const READS: usize = 13;

fn name(number: usize) -> String {
    format!("/app/{}", number % NAMES)
}

fn value(number: usize) -> String {
    format!("{MARK}: {}", number % NAMES)
}

/// Reads through one SDK: single names, several names and the path.
async fn read(mut client: SdkClient) {
    for number in 0..READS {
        assert_eq!(client.value(&name(number)).await, value(number));
    }
    let two = Question::new("GetParameters", json!({ "Names": [name(0), name(1)] }));
    let result = client.ask(&two).await;
    assert_eq!(result["output"]["Parameters"][1]["Value"], value(1), "{result}");
    for _ in 0..2 {
        let path = json!({ "Path": "/app", "Recursive": true });
        let result = client.ask(&Question::new("GetParametersByPath", path)).await;
        let parameters = result["output"]["Parameters"].as_array().unwrap();
        assert_eq!(parameters.len(), NAMES, "{result}");
    }
}

/// Returns the number of calls to AWS for each name.
fn calls_by_name(aws: &Aws) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    let mut count = |name: &Value| {
        *calls.entry(name.as_str().expect("a name").to_owned()).or_default() += 1;
    };
    for request in aws.proxy.requests("GetParameter") {
        count(&body(&request.body)["Name"]);
    }
    for request in aws.proxy.requests("GetParameters") {
        body(&request.body)["Names"].as_array().expect("names").iter().for_each(&mut count);
    }
    calls
}

fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the SDK sends JSON")
}

#[tokio::test]
async fn sdks_and_plain_routes_make_one_call_for_a_name_and_one_for_a_path() {
    for target in TARGETS {
        let aws = Aws::start().await;
        for number in 0..NAMES {
            aws.put(&name(number), &value(number)).await;
        }
        let front = Front::start(target, &aws.proxy.url, &[LONG]).await;
        let mut readers = JoinSet::new();
        for kind in SDKS {
            readers.spawn(read(front.client(kind)));
        }
        for number in 0..50 {
            let service = front.service().url.clone();
            readers.spawn(async move {
                let route = ["param", "parameter"][number % 2];
                let reply = e2e::http::get(&format!("{service}/{route}{}", name(number))).await;
                let body = reply.ok();
                let found =
                    if route == "param" { &body["value"] } else { &body["parameter"]["value"] };
                assert_eq!(*found, value(number), "{reply:?}");
            });
        }
        for _ in 0..2 {
            let url = format!("{}/values/app", front.service().url);
            readers.spawn(async move {
                let values = e2e::http::get(&url).await.ok();
                assert_eq!(values["values"][name(3)], value(3));
            });
        }
        readers.join_all().await;
        let expected = (0..NAMES).map(|number| (name(number), 1)).collect();
        assert_eq!(calls_by_name(&aws), expected, "{target:?}: one call for each name");
        assert_eq!(aws.proxy.calls("GetParametersByPath"), 1, "{target:?}: one call for the path");
    }
}

/// Returns the settings of a service with this engine, if there is one. A busy machine must not look
/// like a slow engine.
fn with_engine(engine: Option<&Engine>) -> Vec<(&'static str, String)> {
    let mut settings = vec![(LONG.0, LONG.1.to_owned())];
    if let Some(engine) = engine {
        settings.push(("SHARED_CACHE_URL", engine.url()));
        settings.push(("SHARED_CACHE_TIMEOUT", "2s".to_owned()));
    }
    settings
}

#[tokio::test]
async fn ten_cold_names_are_one_call_with_and_without_a_shared_cache() {
    let engine = Engine::start().await;
    for target in TARGETS {
        for engine in [None, Some(&engine)] {
            let aws = Aws::start().await;
            let names: Vec<_> = (0..10).map(|number| format!("/ten/{number}")).collect();
            for name in &names {
                aws.put(name, MARK).await;
            }
            let settings = with_engine(engine);
            let settings: Vec<_> = settings.iter().map(|(name, v)| (*name, v.as_str())).collect();
            let front = Front::start(target, &aws.proxy.url, &settings).await;
            let question = Question::new("GetParameters", json!({ "Names": names }));
            for _ in 0..2 {
                let result = front.client(Kind::Rust).ask(&question).await;
                let parameters = result["output"]["Parameters"].as_array().unwrap();
                assert_eq!(parameters.len(), names.len(), "{result}");
            }
            let calls = (aws.proxy.calls("GetParameters"), aws.proxy.calls("GetParameter"));
            assert_eq!(calls, (1, 0), "{target:?}, shared cache: {}", engine.is_some());
        }
    }
}

#[tokio::test]
async fn cold_ciphertexts_are_one_call_after_one_for_their_types() {
    let aws = Aws::start().await;
    let names: Vec<_> = (0..4).map(|number| format!("/secret/{number}")).collect();
    for name in &names {
        aws.put_typed(name, "SecureString", MARK).await;
    }
    let front = Front::start(Target::Aux, &aws.proxy.url, &[LONG]).await;
    let question = Question::new("GetParameters", json!({ "Names": names }));
    let result = front.client(Kind::Rust).ask(&question).await;
    assert_eq!(result["output"]["Parameters"].as_array().unwrap().len(), names.len(), "{result}");
    assert_eq!((aws.proxy.calls("GetParameters"), aws.proxy.calls("GetParameter")), (2, 0));
}

#[tokio::test]
async fn descriptions_and_the_plain_list_make_one_call() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put(&name(0), &value(0)).await;
        let front = Front::start(target, &aws.proxy.url, &[LONG]).await;
        let list = front.service().get("/params").await.ok();
        assert_eq!(list["parameters"], json!([name(0)]));
        for kind in SDKS {
            let filters = json!([{ "Key": "Name", "Option": "BeginsWith", "Values": ["/app"] }]);
            let input = json!({ "ParameterFilters": filters });
            let result = front.client(kind).ask(&Question::new("DescribeParameters", input)).await;
            assert_eq!(result["output"]["Parameters"][0]["Name"], name(0), "{result}");
        }
        assert_eq!(aws.proxy.calls("DescribeParameters"), 1, "{target:?}");
    }
}

#[tokio::test]
async fn one_level_of_a_path_does_not_read_the_levels_below() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put("/app/key", MARK).await;
        aws.put("/app/below/key", MARK).await;
        let front = Front::start(target, &aws.proxy.url, &[LONG]).await;
        let question = Question::new("GetParametersByPath", json!({ "Path": "/app" }));
        for kind in SDKS {
            let result = front.client(kind).ask(&question).await;
            let parameters = result["output"]["Parameters"].as_array().unwrap();
            assert_eq!((parameters.len(), &parameters[0]["Name"]), (1, &json!("/app/key")));
        }
        let calls = aws.proxy.requests("GetParametersByPath");
        assert_eq!(calls.len(), 1, "{target:?}");
        assert_ne!(body(&calls[0].body)["Recursive"], true);
    }
}

#[tokio::test]
async fn an_encrypted_and_a_decrypted_secret_are_separate_entries() {
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put_typed("/app/secret", "SecureString", MARK).await;
        let settings = [LONG, ("ALLOW_SECURE_STRINGS", "true")];
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        for kind in SDKS {
            let mut client = front.client(kind);
            for decryption in [false, true, false, true] {
                let input = json!({ "Name": "/app/secret", "WithDecryption": decryption });
                let result = client.ask(&Question::new("GetParameter", input)).await;
                let found = result["output"]["Parameter"]["Value"].as_str().unwrap().to_owned();
                assert_eq!(found == MARK, decryption, "{kind:?}: {result}");
            }
        }
    }
}
