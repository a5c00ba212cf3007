//! Pages, their tokens, and facts of parameters that the emulator does not have.

use e2e::{
    MARK,
    fake_aws::{FakeAws, Reply},
    moto::Aws,
    sdk_clients::{Kind, Question, SDKS, SdkClient, Settings},
};
use serde_json::{Value, json};

use super::{Front, TARGETS};

/// The questions whose lists have several pages of two.
fn lists() -> [Question; 3] {
    [
        Question::new("GetParametersByPath", json!({ "Path": "/app", "MaxResults": 2 })),
        Question::new(
            "GetParametersByPath",
            json!({ "Path": "/app", "Recursive": true, "MaxResults": 2 }),
        ),
        Question::new("DescribeParameters", json!({ "MaxResults": 2 })),
    ]
}

async fn account() -> Aws {
    let aws = Aws::start().await;
    for number in 0..7 {
        aws.put(&format!("/app/{number}"), MARK).await;
    }
    aws
}

fn names(result: &Value) -> Vec<String> {
    let parameters = result["output"]["Parameters"].as_array();
    let parameters = parameters.unwrap_or_else(|| panic!("no list: {result}"));
    parameters.iter().map(|parameter| parameter["Name"].as_str().unwrap().to_owned()).collect()
}

fn wire(front: &Front) -> SdkClient {
    SdkClient::start(Kind::Wire, &Settings::of(&front.service().url))
}

/// Returns the question for the page after this one.
fn next(question: &Question, page: &Value) -> Question {
    let mut question = question.clone();
    question.input["NextToken"] = page["output"]["NextToken"].clone();
    assert!(question.input["NextToken"].is_string(), "a page has no token: {page}");
    question
}

#[tokio::test]
async fn a_token_of_one_replica_continues_on_another() {
    for target in TARGETS {
        let aws = account().await;
        let replicas = [
            Front::start(target, &aws.proxy.url, &[]).await,
            Front::start(target, &aws.proxy.url, &[]).await,
        ];
        for question in lists() {
            let mut page = wire(&replicas[0]).ask(&question).await;
            let mut found = names(&page);
            for number in 1..4 {
                page = wire(&replicas[number % 2]).ask(&next(&question, &page)).await;
                found.extend(names(&page));
            }
            let all: Vec<_> = (0..7).map(|number| format!("/app/{number}")).collect();
            assert_eq!(found, all, "{question:?}");
            assert!(page["output"].get("NextToken").is_none(), "{question:?}: {page}");
        }
    }
}

#[tokio::test]
async fn a_token_continues_after_its_name_when_the_list_has_changed() {
    for target in TARGETS {
        let aws = account().await;
        let mut pages = Vec::new();
        for question in lists() {
            let front = Front::start(target, &aws.proxy.url, &[]).await;
            let page = wire(&front).ask(&question).await;
            pages.push(next(&question, &page));
        }
        // A deleted name before the token moves the positions of all names after it.
        aws.ssm("DeleteParameter", json!({ "Name": "/app/0" })).await;
        for question in pages {
            let front = Front::start(target, &aws.proxy.url, &[]).await;
            let page = wire(&front).ask(&question).await;
            assert_eq!(names(&page), ["/app/2", "/app/3"], "{question:?}");
        }
    }
}

#[tokio::test]
async fn a_token_of_another_list_is_invalid() {
    for target in TARGETS {
        let aws = account().await;
        aws.put("/other/key", MARK).await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        for question in &lists()[..2] {
            let page = wire(&front).ask(question).await;
            let mut other = next(question, &page);
            other.input["Path"] = "/other".into();
            for kind in SDKS {
                let code = front.client(kind).error(&other).await;
                assert_eq!(code, "InvalidNextToken", "{kind:?}: {other:?}");
            }
        }
    }
}

/// The emulator has no selectors, no source results, no ARNs in descriptions and no text of policies. AWS has
/// (API_Parameter, API_ParameterMetadata).
#[tokio::test]
async fn every_fact_of_a_parameter_reaches_the_client() {
    for target in TARGETS {
        let aws = FakeAws::start(|call| {
            let name = match call.operation.as_str() {
                "GetParameter" => call.body["Name"].as_str(),
                "GetParameters" => call.body["Names"][0].as_str(),
                _ => None,
            };
            let (_, selector) = name.unwrap_or_default().split_once(':').unwrap_or_default();
            let parameter = parameter((!selector.is_empty()).then(|| format!(":{selector}")));
            let result = match call.operation.as_str() {
                "GetParameter" => json!({ "Parameter": parameter }),
                "GetParameters" => json!({ "Parameters": [parameter], "InvalidParameters": [] }),
                "GetParametersByPath" => json!({ "Parameters": [parameter] }),
                _ => json!({ "Parameters": [description()] }),
            };
            Reply::json(&result)
        })
        .await;
        let front = Front::start(target, &aws.url, &[("ALLOW_SECURE_STRINGS", "true")]).await;
        for kind in [SDKS.as_slice(), &[Kind::Wire]].concat() {
            let mut fake = SdkClient::start(kind, &Settings::of(&aws.url));
            let mut client = front.client(kind);
            for question in [
                Question::get("/app/key"),
                Question::get("/app/key:4"),
                Question::get("/app/key:stable"),
                Question::new("GetParameters", json!({ "Names": ["/app/key:stable"] })),
                Question::new("GetParametersByPath", json!({ "Path": "/app" })),
                Question::new("GetParametersByPath", json!({ "Path": "/app", "Recursive": true })),
                Question::new("DescribeParameters", json!({})),
            ] {
                let result = client.ask(&question).await;
                assert_eq!(result, fake.ask(&question).await, "{kind:?}: {question:?}");
            }
        }
    }
}

fn parameter(selector: Option<String>) -> Value {
    let mut parameter = json!({
        "ARN": "arn:aws:ssm:eu-west-2:123456789012:parameter/app/key",
        "DataType": "text",
        "LastModifiedDate": 1_530_018_761.888,
        "Name": "/app/key",
        "Type": "String",
        "Value": MARK,
        "Version": 4,
    });
    if let Some(selector) = selector {
        parameter["Selector"] = selector.into();
    }
    parameter
}

fn description() -> Value {
    json!({
        "ARN": "arn:aws:ssm:eu-west-2:123456789012:parameter/app/key",
        "AllowedPattern": "^h.*",
        "DataType": "text",
        "Description": "A description",
        "KeyId": "alias/aws/ssm",
        "LastModifiedDate": 1_530_018_761.888,
        "LastModifiedUser": "arn:aws:iam::123456789012:user/e2e",
        "Name": "/app/key",
        "Policies": [{
            "PolicyStatus": "Pending",
            "PolicyText": "{\"Type\":\"Expiration\",\"Version\":\"1.0\"}",
            "PolicyType": "Expiration",
        }],
        "Tier": "Advanced",
        "Type": "String",
        "Version": 4,
    })
}
