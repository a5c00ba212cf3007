//! Prefixes and secrets that the service does not allow.

use e2e::{
    MARK,
    moto::Aws,
    sdk_clients::{Question, SDKS},
};
use serde_json::{Value, json};

use super::{Front, TARGETS};

async fn account() -> Aws {
    let aws = Aws::start().await;
    for name in ["/app/db/host", "/app/key", "/application/key", "/other/key", "/shared/key"] {
        aws.put(name, MARK).await;
    }
    aws.put_typed("/app/db/password", "SecureString", &format!("{MARK} secret")).await;
    aws
}

fn names(result: &Value) -> Vec<&str> {
    let parameters = result["output"]["Parameters"].as_array();
    let parameters = parameters.unwrap_or_else(|| panic!("no list: {result}"));
    parameters.iter().map(|parameter| parameter["Name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_hold_only_names_below_the_allowed_prefixes() {
    for target in TARGETS {
        let aws = account().await;
        let settings = [("PARAMETER_PREFIXES", "/app/,/shared/")];
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        for kind in SDKS {
            let mut client = front.client(kind);
            let all = client.ask(&Question::all_pages("DescribeParameters", json!({}))).await;
            let mut found = names(&all);
            found.sort_unstable();
            let allowed = ["/app/db/host", "/app/db/password", "/app/key", "/shared/key"];
            assert_eq!(found, allowed, "{kind:?}");
            let other =
                json!([{ "Key": "Name", "Option": "BeginsWith", "Values": ["/appl", "/other"] }]);
            let question =
                Question::new("DescribeParameters", json!({ "ParameterFilters": other }));
            assert_eq!(names(&client.ask(&question).await), [""; 0], "{kind:?}");
            let below = Question::new("GetParametersByPath", json!({ "Path": "/app" }));
            assert_eq!(names(&client.ask(&below).await), ["/app/key"], "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_forbidden_name_denies_the_call_without_a_call_to_aws() {
    for target in TARGETS {
        let aws = account().await;
        let settings = [("PARAMETER_PREFIXES", "/app/")];
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        let arn = format!("arn:aws:ssm:eu-west-2:{}:parameter/other/key", aws.account());
        let shared = "arn:aws:ssm:eu-west-2:999999999999:parameter/other/key";
        for kind in SDKS {
            let mut client = front.client(kind);
            for question in [
                Question::get("/other/key"),
                Question::get("/application/key"),
                Question::get("/other/key:1"),
                Question::get("other"),
                Question::get(&arn),
                Question::get(&format!("{arn}:1")),
                Question::get(shared),
                Question::new("GetParameters", json!({ "Names": ["/app/key", "/other/key"] })),
                Question::new("GetParameters", json!({ "Names": ["/app/key", arn] })),
                Question::new("GetParametersByPath", json!({ "Path": "/other" })),
                Question::new(
                    "GetParametersByPath",
                    json!({ "Path": "/other", "Recursive": true }),
                ),
            ] {
                let code = client.error(&question).await;
                assert_eq!(code, "AccessDeniedException", "{kind:?}: {question:?}");
            }
        }
        assert_eq!(aws.proxy.all_calls(), 0, "{target:?}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_allowed_denies_the_whole_call() {
    for target in TARGETS {
        let aws = account().await;
        let front = Front::start(target, &aws.proxy.url, &[]).await;
        let (secret, string) = ("/app/db/password", "/app/key");
        for kind in SDKS {
            let mut client = front.client(kind);
            for (operation, input) in [
                ("GetParameter", json!({ "Name": secret })),
                ("GetParameters", json!({ "Names": [secret, string] })),
                ("GetParametersByPath", json!({ "Path": "/app", "Recursive": true })),
                ("GetParametersByPath", json!({ "Path": "/app/db" })),
            ] {
                let encrypted = Question::new(operation, input.clone());
                let result = client.ask(&encrypted).await;
                assert!(result["output"].is_object(), "{kind:?}: {encrypted:?}: {result}");
                assert!(result.to_string().contains("kms:alias/aws/ssm:"), "{result}");
                let mut input = input;
                input["WithDecryption"] = true.into();
                let decrypted = Question::new(operation, input);
                let code = client.error(&decrypted).await;
                assert_eq!(code, "AccessDeniedException", "{kind:?}: {decrypted:?}");
            }
            // A string needs no permission, whatever the flag.
            let input = json!({ "Name": string, "WithDecryption": true });
            let result = client.ask(&Question::new("GetParameter", input)).await;
            assert_eq!(result["output"]["Parameter"]["Value"], MARK, "{kind:?}");
        }
    }
}
