//! Tests of `/values/{path}`.

use e2e::{
    fake_aws::{Account, FakeAws, Reply},
    refusals, service,
    stack::Stack,
};
use serde_json::{Map, json};

#[tokio::test]
async fn everything_below_a_path_comes_at_once() {
    let stack = Stack::start().await;
    for (name, value) in [
        ("/app/host", "hush 主机"),
        ("/app/db/port", "hush 5432"),
        ("/app/db/deep/er", "hush\n2"),
        ("/application/host", "hush not below /app"),
        ("/other", "hush"),
    ] {
        stack.aws.put(name, value).await;
    }
    let values = json!({ "/app/host": "hush 主机", "/app/db/port": "hush 5432", "/app/db/deep/er": "hush\n2" });
    let answer = json!({ "path": "/app", "values": values, "omitted": [] });
    for path in ["/values/app", "/values/%2Fapp"] {
        assert_eq!(stack.ok(path).await, answer);
    }
    let below = stack.ok("/values/app/db").await;
    assert_eq!(below["path"], "/app/db");
    assert_eq!(
        below["values"],
        json!({ "/app/db/port": "hush 5432", "/app/db/deep/er": "hush\n2" })
    );
}

#[tokio::test]
async fn a_path_with_nothing_below_it_is_empty() {
    let stack = Stack::start().await;
    let answer = json!({ "path": "/nothing", "values": {}, "omitted": [] });
    assert_eq!(stack.ok("/values/nothing").await, answer);
}

#[tokio::test]
async fn every_page_of_the_values_is_read() {
    let stack = Stack::start().await;
    let values: Map<_, _> = (0..45)
        .map(|number| (format!("/many/{number:02}"), format!("hush {number}").into()))
        .collect();
    for (name, value) in &values {
        stack.aws.put(name, value.as_str().unwrap()).await;
    }
    let answer = stack.ok("/values/many").await;
    assert_eq!(answer["values"], json!(values));
    // Both services sent a request, and AWS returns ten values a page.
    assert_eq!(stack.aws.proxy.calls("GetParametersByPath"), 2 * 5);
}

#[tokio::test]
async fn secure_strings_are_left_out_and_named() {
    let stack = Stack::start().await;
    stack.aws.put("/app/host", "hush").await;
    stack.aws.put_typed("/app/password", "SecureString", "hush-decrypted").await;
    let answer =
        json!({ "path": "/app", "values": { "/app/host": "hush" }, "omitted": ["/app/password"] });
    assert_eq!(stack.ok("/values/app").await, answer);
}

#[tokio::test]
async fn allowed_secure_strings_are_decrypted_among_the_others() {
    let stack = Stack::with(|aux| aux.with("ALLOW_SECURE_STRINGS", "true"), |main| main).await;
    stack.aws.put("/app/host", "hush").await;
    stack.aws.put_typed("/app/password", "SecureString", "hush-decrypted").await;
    let values = json!({ "/app/host": "hush", "/app/password": "hush-decrypted" });
    let answer = json!({ "path": "/app", "values": values, "omitted": [] });
    assert_eq!(stack.ok("/values/app").await, answer);
    for service in [&stack.aux, &stack.main] {
        let reply = service.get("/values/app").await;
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{}: {reply:?}", service.name);
    }
}

#[tokio::test]
async fn a_path_that_ssm_could_never_hold_is_refused_without_a_call() {
    let stack = Stack::start().await;
    let sixteen_levels = "/values/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16";
    for path in ["/values/with%20space", "/values/%E9%85%8D", sixteen_levels] {
        stack.refused(path, 400, "invalid-parameter-name").await;
    }
    assert_eq!(stack.aws.proxy.all_calls(), 0);
}

/// AWS refuses a whole page with one SecureString whose key the service may not use.
#[tokio::test]
async fn a_secure_string_that_cannot_be_decrypted_is_left_out_and_named() {
    let keys = ["/app/db/password", "/app/db/token"];
    let aws = FakeAws::start(move |call| {
        let parameter = |name: &str, kind: &str, value: String| {
            json!({ "Name": name, "Type": kind, "Value": value, "Version": 1 })
        };
        let names = ["/app/db/host", keys[0], keys[1]];
        match call.operation.as_str() {
            "GetParametersByPath" if call.body["WithDecryption"] == true => {
                refusals::kms_denied().into()
            }
            "GetParametersByPath" => {
                let parameters: Vec<_> = names
                    .iter()
                    .map(|name| {
                        let kind = if keys.contains(name) { "SecureString" } else { "String" };
                        parameter(name, kind, format!("hush: of {name}"))
                    })
                    .collect();
                Reply::json(&json!({ "Parameters": parameters }))
            }
            "GetParameter" if call.body["Name"] == keys[0] => {
                Reply::json(&json!({ "Parameter": parameter(keys[0], "SecureString", "hush: 1".to_owned()) }))
            }
            _ => refusals::kms_denied().into(),
        }
    })
    .await;
    let aux = service::aux_at(&aws.url).with("ALLOW_SECURE_STRINGS", "true").start().await;
    let body = aux.get("/values/app").await.ok();
    assert_eq!(
        body["values"],
        json!({ "/app/db/host": "hush: of /app/db/host", keys[0]: "hush: 1" })
    );
    assert_eq!(body["omitted"], json!([keys[1]]));
}

/// The pages before the one that AWS refuses have used up the quota, so the second reading waits.
#[tokio::test]
async fn a_long_path_with_an_unreadable_value_arrives_at_a_low_rate() {
    let account = Account::of(60);
    let aws = FakeAws::start(move |call| {
        let decrypts = call.body["WithDecryption"] == true;
        if call.operation == "GetParametersByPath" && decrypts && call.nth == 4 {
            return refusals::kms_denied().into();
        }
        account.reply(call)
    })
    .await;
    let aux = service::aux_at(&aws.url)
        .with("ALLOW_SECURE_STRINGS", "true")
        .with("AWS_RATE_GET", "4")
        .start()
        .await;
    let body = aux.get("/values/app").await.ok();
    assert_eq!(body["values"].as_object().unwrap().len(), 60);
}
