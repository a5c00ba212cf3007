//! Tests of `/params` and `/param/{name}`.

use e2e::{proxy::Answer, refusals, stack::Stack};
use serde_json::{Value, json};

#[tokio::test]
async fn any_name_that_ssm_can_hold_is_found() {
    let stack = Stack::start().await;
    let fifteen_levels = "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15";
    for name in ["/app.prod/db-host_1.example", "/-._/_.-", "/UPPER/lower", "/one", fifteen_levels]
    {
        stack.aws.put(name, "hush").await;
        let path = name.strip_prefix('/').unwrap();
        for route in [
            format!("/param/{path}"),
            format!("/param/{}", path.replace('/', "%2F")),
            format!("/param/%2F{}", path.replace('/', "%2f")),
            format!("/param/{}", path.replace('-', "%2D").replace('.', "%2E").replace('_', "%5f")),
        ] {
            assert_eq!(stack.ok(&route).await, json!({ "value": "hush" }), "{name} as {route}");
        }
    }
}

#[tokio::test]
async fn a_value_arrives_as_it_was_stored() {
    let stack = Stack::start().await;
    let values = [
        "hush 🦀👩‍👩‍👧 配置 пароль عربى e\u{301}".to_owned(),
        "hush \"double\" 'single' `back` \\ / </script> {\"json\": [null]}".to_owned(),
        "hush\nline\r\nline\ttab  \u{7f}\u{2028}\u{feff} trailing \n".to_owned(),
        "  hush with space around  ".to_owned(),
        "hush=%2F%00&a+b;c#d?e".to_owned(),
        // The largest values of the standard and of the advanced tier.
        "hush".repeat(1024),
        "hush".repeat(2048),
    ];
    for value in values {
        stack.aws.put("/as/stored", &value).await;
        assert_eq!(stack.ok("/param/as/stored").await, json!({ "value": value }));
    }
}

#[tokio::test]
async fn a_string_list_is_its_text_with_commas() {
    let stack = Stack::start().await;
    stack.aws.put_typed("/hosts", "StringList", "hush-a,hush-b,,hush-c").await;
    assert_eq!(stack.ok("/param/hosts").await, json!({ "value": "hush-a,hush-b,,hush-c" }));
}

#[tokio::test]
async fn a_version_or_a_label_chooses_among_old_values() {
    let stack = Stack::start().await;
    for value in ["hush-1", "hush-2", "hush-3"] {
        stack.aws.put("/app/key", value).await;
    }
    stack.aws.label("/app/key", 2, "stable").await;
    for (selector, value) in [
        ("", "hush-3"),
        (":1", "hush-1"),
        ("%3A2", "hush-2"),
        (":3", "hush-3"),
        (":stable", "hush-2"),
    ] {
        let path = format!("/param/app/key{selector}");
        assert_eq!(stack.ok(&path).await, json!({ "value": value }), "{path}");
    }
    for selector in [":4", ":nobody"] {
        let path = format!("/param/app/key{selector}");
        stack.refused(&path, 404, "parameter-not-found").await;
    }
}

#[tokio::test]
async fn a_parameter_that_is_not_there_is_not_found() {
    let stack = Stack::start().await;
    let problem = stack.refused("/param/app/none", 404, "parameter-not-found").await;
    assert_eq!(problem["retryable"], false);
}

#[tokio::test]
async fn a_name_that_ssm_could_never_hold_is_refused_without_a_call() {
    let stack = Stack::start().await;
    let sixteen_levels = "/param/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16";
    let too_long = format!("/param/{}", "x".repeat(2048));
    for path in [
        "/param/with%20space",
        "/param/dollar$",
        "/param/%E9%85%8D%E7%BD%AE",
        "/param/star*",
        "/param/new%0Aline",
        "/param/nul%00",
        "/param/broken-utf8-%ff",
        sixteen_levels,
        &too_long,
    ] {
        let problem = stack.refused(path, 400, "invalid-parameter-name").await;
        assert_eq!(problem["retryable"], false);
    }
    assert_eq!(stack.aws.proxy.all_calls(), 0);
}

#[tokio::test]
async fn a_name_outside_the_allowed_prefixes_is_refused_without_a_call() {
    let stack =
        Stack::with(|aux| aux.with("PARAMETER_PREFIXES", "/app/,/shared/"), |main| main).await;
    for name in ["/app/key", "/shared/key", "/application/key", "/other/app/key"] {
        stack.aws.put(name, "hush").await;
    }
    stack.ok("/param/app/key").await;
    stack.ok("/param/%2Fshared%2Fkey").await;
    assert_eq!(stack.ok("/params").await, json!({ "parameters": ["/app/key", "/shared/key"] }));

    let allowed = stack.aws.proxy.all_calls();
    for path in ["/param/application/key", "/param/other/app/key", "/values/other"] {
        stack.refused(path, 403, "parameter-not-allowed").await;
    }
    assert_eq!(stack.aws.proxy.all_calls(), allowed);
}

#[tokio::test]
async fn every_page_of_the_names_is_read() {
    let stack = Stack::start().await;
    let names: Vec<String> = (0..130).map(|number| format!("/many/{number:03}")).collect();
    for name in &names {
        stack.aws.put(name, "hush").await;
    }
    assert_eq!(stack.ok("/params").await, json!({ "parameters": names }));
}

#[tokio::test]
async fn an_empty_page_is_not_the_end_of_the_names() {
    let stack = Stack::start().await;
    stack.aws.proxy.fail_nth("DescribeParameters", 1, page(&["/first"], Some("t1")));
    stack.aws.proxy.fail_nth("DescribeParameters", 2, page(&[], Some("t2")));
    stack.aws.proxy.fail_nth("DescribeParameters", 3, page(&["/last"], None));
    let reply = stack.main.get("/params").await.ok();
    assert_eq!(reply["parameters"], json!(["/first", "/last"]));

    let calls = stack.aws.proxy.requests("DescribeParameters");
    let token = |page: usize| {
        let body: serde_json::Value = serde_json::from_slice(&calls[page].body).unwrap();
        body["NextToken"].clone()
    };
    assert_eq!((token(0), token(1), token(2)), (json!(null), json!("t1"), json!("t2")));
    assert_eq!(calls.len(), 3);
}

#[tokio::test]
async fn a_secure_string_is_refused_unless_allowed() {
    let stack = Stack::start().await;
    stack.aws.put_typed("/db/password", "SecureString", "hush").await;
    let problem = stack.refused("/param/db/password", 403, "secure-string-not-allowed").await;
    assert_eq!(problem["retryable"], false);
    // The name is no secret, so the list shows it.
    assert_eq!(stack.ok("/params").await, json!({ "parameters": ["/db/password"] }));
}

#[tokio::test]
async fn an_allowed_secure_string_is_decrypted_and_stored_nowhere() {
    let stack = Stack::with(|aux| aux.with("ALLOW_SECURE_STRINGS", "true"), |main| main).await;
    stack.aws.put_typed("/db/password", "SecureString", "hush-decrypted").await;
    assert_eq!(stack.ok("/param/db/password").await, json!({ "value": "hush-decrypted" }));
    for service in [&stack.aux, &stack.main] {
        let reply = service.get("/param/db/password").await;
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{}: {reply:?}", service.name);
    }
}

fn page(names: &[&str], token: Option<&str>) -> Answer {
    let parameters: Vec<_> =
        names.iter().map(|name| json!({ "Name": name, "Type": "String", "Version": 1 })).collect();
    let mut body = json!({ "Parameters": parameters });
    if let Some(token) = token {
        body["NextToken"] = token.into();
    }
    Answer::new(200, "application/x-amz-json-1.1", &body.to_string())
}

#[tokio::test]
async fn a_record_shows_all_that_ssm_stores_about_a_parameter() {
    let stack = Stack::start().await;
    stack.aws.put("/app/key", "hush: the first").await;
    stack.aws.put("/app/key", "hush: the second").await;
    let body = stack.ok("/parameter/app/key").await;
    let record = &body["parameter"];
    assert_eq!(record["name"], "/app/key");
    assert_eq!(record["type"], "String");
    assert_eq!(record["value"], "hush: the second");
    assert_eq!(record["version"], 2);
    assert_eq!(record["data_type"], "text");
    let arn = record["arn"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:ssm:eu-west-2:") && arn.ends_with(":parameter/app/key"));
    let modified = record["last_modified"].as_str().unwrap();
    assert!(modified.starts_with("20") && modified.ends_with('Z'), "{modified}");
    assert_eq!(record.as_object().unwrap().len(), 7);

    let first = stack.ok("/parameter/app/key:1").await;
    assert_eq!(
        (&first["parameter"]["value"], &first["parameter"]["version"]),
        (&json!("hush: the first"), &json!(1))
    );
    stack.refused("/parameter/app/nothing", 404, "parameter-not-found").await;
}

#[tokio::test]
async fn both_routes_of_a_parameter_share_one_call_to_aws() {
    let stack = Stack::with(|aux| aux.with("CACHE", "on"), |main| main.with("CACHE", "on")).await;
    stack.aws.put("/app/key", "hush").await;
    stack.ok("/param/app/key").await;
    stack.ok("/parameter/app/key").await;
    stack.ok("/param/app/key").await;
    assert_eq!(stack.aws.proxy.calls("GetParameter"), 1);
    let (value, record) =
        (stack.aux.get("/param/app/key").await, stack.aux.get("/parameter/app/key").await);
    assert_ne!(value.header("etag"), record.header("etag"), "each representation has its tag");
    assert_eq!(record.header("cache-status").unwrap().split(';').nth(1), Some(" hit"));
}

/// A parameter that another account shares is read by its ARN. AWS responds with its bare name.
#[tokio::test]
async fn an_arn_is_read_as_it_is_and_never_in_a_batch() {
    let stack = Stack::with(|aux| aux.with("CACHE", "on"), |main| main).await;
    let arn = "arn:aws:ssm:eu-west-2:210987654321:parameter/shared/vpc-id";
    let body = format!(
        r#"{{"Parameter":{{"Name":"/shared/vpc-id","Type":"String","Value":"hush: vpc-1","Version":4,"ARN":"{arn}","DataType":"text"}}}}"#
    );
    stack.aws.proxy.fail("GetParameter", Answer::new(200, "application/x-amz-json-1.1", &body));
    let record = stack.ok(&format!("/parameter/{arn}")).await;
    assert_eq!(record["parameter"]["value"], "hush: vpc-1");
    assert_eq!(record["parameter"]["arn"], arn);
    stack.ok(&format!("/param/{arn}")).await;
    let calls = stack.aws.proxy.requests("GetParameter");
    let sent: Value = serde_json::from_slice(&calls[0].body).unwrap();
    assert_eq!((calls.len(), &sent["Name"]), (1, &json!(arn)));
    let elsewhere = arn.replace("eu-west-2", "us-east-1");
    stack.refused(&format!("/param/{elsewhere}"), 400, "invalid-parameter-name").await;
}

#[tokio::test]
async fn an_arn_of_this_account_shares_the_entry_of_its_name() {
    let stack =
        Stack::with(|aux| aux.with("CACHE", "on").with("PARAMETER_PREFIXES", "/app"), |main| main)
            .await;
    stack.aws.put("/app/key", "hush").await;
    let record = stack.ok("/parameter/app/key").await;
    let arn = record["parameter"]["arn"].as_str().unwrap();
    stack.ok(&format!("/param/{arn}")).await;
    assert_eq!(stack.aws.proxy.calls("GetParameter"), 1);
    let foreign = "arn:aws:ssm:eu-west-2:210987654321:parameter/app/key";
    stack.refused(&format!("/param/{foreign}"), 403, "parameter-not-allowed").await;
    assert_eq!(stack.aws.proxy.calls("GetParameter"), 1);
}

/// No response has shown the account of the service when the first request names an ARN.
#[tokio::test]
async fn an_arn_of_this_account_is_served_from_the_first_request() {
    let start = async || {
        let stack = Stack::with(|aux| aux.with("PARAMETER_PREFIXES", "/app"), |main| main).await;
        stack.aws.put("/app/key", "hush: the first").await;
        stack.aws.put("/app/key", "hush: the second").await;
        stack
    };
    let known = start().await;
    let record = known.ok("/parameter/app/key").await;
    let arn = record["parameter"]["arn"].as_str().unwrap().to_owned();
    let account = arn.split(':').nth(4).unwrap();

    // Each test has an account of its own, so the second service needs the ARN of its account.
    let fresh = start().await;
    let other = fresh.ok("/parameter/app/key").await["parameter"]["arn"].clone();
    let own = other.as_str().unwrap().to_owned();
    for suffix in ["", ":1"] {
        let stack = Stack::with(|aux| aux.with("PARAMETER_PREFIXES", "/app"), |main| main).await;
        stack.aws.put("/app/key", "hush").await;
        let own = own.replace(own.split(':').nth(4).unwrap(), stack.aws.account());
        assert_eq!(stack.ok(&format!("/param/{own}{suffix}")).await["value"], "hush");
        let foreign = own.replace(stack.aws.account(), account);
        stack.refused(&format!("/param/{foreign}"), 403, "parameter-not-allowed").await;
    }
}

/// An unknown account is no reason for a final refusal, which would end the stale entries of
/// main-api.
#[tokio::test]
async fn an_arn_gets_the_passing_error_of_aws_while_the_account_is_unknown() {
    let stack = Stack::with(|aux| aux.with("PARAMETER_PREFIXES", "/app"), |main| main).await;
    let arn = format!("arn:aws:ssm:eu-west-2:{}:parameter/app/key", stack.aws.account());
    // This account has no such parameter, and the one of the ARN may have it.
    stack.refused(&format!("/param/{arn}"), 403, "parameter-not-allowed").await;
    stack.aws.proxy.fail_all(refusals::ssm_throttled());
    stack.refused(&format!("/param/{arn}"), 503, "aws-throttled").await;
}

/// The same name has another value in each region.
#[tokio::test]
async fn the_arn_of_a_public_parameter_of_another_region_is_refused() {
    let stack = Stack::start().await;
    let arn = |region| format!("/param/arn:aws:ssm:{region}::parameter/aws/service/ami");
    stack.refused(&arn("us-east-1"), 400, "invalid-parameter-name").await;
    assert_eq!(stack.aws.proxy.all_calls(), 0);
    stack.refused(&arn("eu-west-2"), 404, "parameter-not-found").await;
    let sent = &stack.aws.proxy.requests("GetParameter")[0];
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent["Name"], "/aws/service/ami");
}

#[tokio::test]
async fn a_secret_has_no_other_spelling_that_could_hide_it() {
    let stack = Stack::with(|aux| aux.with("ALLOW_SECURE_STRINGS", "true"), |main| main).await;
    let account = stack.aws.account().to_owned();
    for account in ["", &account] {
        let path = format!(
            "/param/arn:aws:ssm:eu-west-2:{account}:parameter/aws/reference/secretsmanager/prod/db"
        );
        stack.refused(&path, 400, "invalid-parameter-name").await;
    }
    assert_eq!(stack.aws.proxy.all_calls(), 0);
}

#[tokio::test]
async fn a_reference_to_a_secret_needs_leave_and_has_the_rules_of_secrets_manager() {
    let closed = Stack::start().await;
    closed
        .refused("/param/aws/reference/secretsmanager/prod/db", 403, "secure-string-not-allowed")
        .await;
    assert_eq!(closed.aws.proxy.all_calls(), 0);

    let stack = Stack::with(|aux| aux.with("ALLOW_SECURE_STRINGS", "true"), |main| main).await;
    for name in [
        "/aws/reference/secretsmanager/prod/db",
        "/aws/reference/secretsmanager/prod/db:AWSPREVIOUS",
        "/aws/reference/secretsmanager/prod/tls+ca@eu",
    ] {
        let body = json!({ "Parameter": { "Name": name, "Type": "SecureString", "Value": "hush", "Version": 0 } });
        let body = Answer::new(200, "application/x-amz-json-1.1", &body.to_string());
        stack.aws.proxy.fail("GetParameter", body);
        assert_eq!(stack.ok(&format!("/param{name}")).await["value"], "hush");
        let calls = stack.aws.proxy.requests("GetParameter");
        let sent: Value = serde_json::from_slice(&calls.last().unwrap().body).unwrap();
        assert_eq!((&sent["Name"], &sent["WithDecryption"]), (&json!(name), &json!(true)));
    }
}
