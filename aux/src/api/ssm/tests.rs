use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache::Priority;
use clap::Parser;
use parking_lot::Mutex;
use serde_json::{Value, json};
use service::contract::ssm::{Operation, ParameterMetadata, Timestamp};

use super::*;
use crate::{
    backend::ParameterStore,
    batch::GroupMember,
    config::Config,
    parameter::{Details, Parameter, PathValues},
    progress::ListProgress,
};

use Operation::{
    DescribeParameters as Describe, GetParameter as One, GetParameters as Several,
    GetParametersByPath as ByPath,
};

const MILLISECONDS: i64 = 1_769_860_800_123;

/// A store of parameters that records its calls. It fails while `fails` is set.
#[derive(Default)]
struct Fake {
    calls: Mutex<Vec<String>>,
    fails: Mutex<Option<Error>>,
}

const PARAMETERS: [(&str, &str); 6] = [
    ("/app/a", "String"),
    ("/app/b", "StringList"),
    ("/app/deep/c", "String"),
    ("/app/z-secret", "SecureString"),
    ("/other", "String"),
    ("plain", "String"),
];

impl Fake {
    fn call(&self, text: String) -> Result<(), Error> {
        self.calls.lock().push(text);
        self.fails.lock().clone().map_or(Ok(()), Err)
    }

    fn parameter_of(name: &str, kind: &str, form: SecretForm) -> Parameter {
        let secure = kind == "SecureString";
        let value = if secure && form == SecretForm::Ciphertext { "AQIC" } else { "va\"lue" };
        Parameter {
            name: name.to_owned(),
            value: value.to_owned().into(),
            secure,
            details: Details {
                arn: Some(format!("arn:aws:ssm:eu-west-2:123456789012:parameter{name}")),
                data_type: Some("text".to_owned()),
                last_modified_date: Some(Timestamp { milliseconds: MILLISECONDS }),
                selector: None,
                kind: kind.to_owned(),
                version: 3,
            },
        }
    }
}

#[async_trait]
impl ParameterStore for Fake {
    async fn buckets(&self, _: Priority, _: &ListProgress) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    async fn parameters(
        &self,
        _: Priority,
        _: &ListProgress,
    ) -> Result<Vec<ParameterMetadata>, Error> {
        self.call("list".to_owned())?;
        let metadata = |(name, kind): (&str, &str)| ParameterMetadata {
            name: name.to_owned(),
            kind: Some(kind.to_owned()),
            tier: Some("Standard".to_owned()),
            description: Some("line\nbreak".to_owned()),
            last_modified_date: Some(Timestamp { milliseconds: MILLISECONDS }),
            version: Some(3),
            ..ParameterMetadata::default()
        };
        Ok(PARAMETERS.into_iter().map(metadata).collect())
    }

    async fn parameter(
        &self,
        name: &ParameterName,
        form: SecretForm,
        _: Priority,
        _: Option<GroupMember>,
    ) -> Result<Parameter, Error> {
        self.call(format!("{} {form:?}", name.as_str()))?;
        let bare = |stored: &str| format!("/{}", stored.trim_start_matches('/'));
        let found = PARAMETERS.into_iter().find(|(stored, _)| bare(stored) == name.bare());
        match (found, name.selector()) {
            (None, _) => Err(Error::ParameterNotFound),
            (Some((stored, kind)), None | Some("3")) => {
                let mut parameter = Self::parameter_of(stored, kind, form);
                parameter.details.selector = name.selector().map(|version| format!(":{version}"));
                Ok(parameter)
            }
            (Some(_), Some(_)) => Err(Error::ParameterVersionNotFound),
        }
    }

    async fn values(
        &self,
        query: &PathQuery,
        _: Priority,
        _: &ListProgress,
    ) -> Result<PathValues, Error> {
        let PathQuery { path, recursive, form } = query;
        self.call(format!("{} recursive={recursive} {form:?}", path.as_str()))?;
        let below = PARAMETERS.into_iter().filter(|(name, _)| query.holds(name));
        let below = below.map(|(name, kind)| Self::parameter_of(name, kind, *form));
        Ok(PathValues::readable(below.collect()))
    }

    fn health(&self) -> Value {
        Value::Null
    }
}

struct Api {
    ssm: SsmApi,
    fake: Arc<Fake>,
}

impl Api {
    fn start(flags: &[&str]) -> Self {
        let flags = ["aux-service", "--cache-ttl-jitter=0"].iter().chain(flags);
        let config = Config::try_parse_from(flags).expect("valid");
        let fake = Arc::<Fake>::default();
        let store = CachedStore::new(&config, Arc::<Fake>::clone(&fake), None);
        let prefixes = Arc::new(config.parameter_prefixes.clone());
        Self { ssm: SsmApi::new(Access { store, prefixes }), fake }
    }

    async fn send(&self, operation: Operation, body: &Value) -> Result<Served, Problem> {
        let request = Request::parse_body(operation, body.to_string().as_bytes())?;
        if let Some(found) = self.ssm.lookup(&request, Instant::now()) {
            return found;
        }
        let deadline = Deadline(Instant::now() + Duration::from_secs(5));
        self.ssm.respond(SsmQuery { request, mode: Mode::Normal, deadline }).await
    }

    async fn ok(&self, operation: Operation, body: Value) -> Value {
        let served = self.send(operation, &body).await.expect("a response");
        serde_json::from_slice(served.body().bytes()).expect("JSON")
    }

    /// The code of the error in AWS's protocol, or that of the problem.
    async fn error(&self, operation: Operation, body: Value) -> String {
        let problem = self.send(operation, &body).await.err().expect("an error");
        problem.aws_error.map_or(problem.code, |error| error.code).into_owned()
    }

    /// The calls of the store since the last time.
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.fake.calls.lock())
    }
}

fn names(page: &Value) -> Vec<&str> {
    let parameters = page["Parameters"].as_array().expect("a list");
    parameters.iter().map(|parameter| parameter["Name"].as_str().expect("a name")).collect()
}

fn expected(name: &str, kind: &str, value: &str) -> Value {
    json!({
        "ARN": format!("arn:aws:ssm:eu-west-2:123456789012:parameter{name}"),
        "DataType": "text", "LastModifiedDate": 1_769_860_800.123, "Name": name, "Type": kind,
        "Value": value, "Version": 3,
    })
}

#[tokio::test(start_paused = true)]
async fn all_routes_of_a_parameter_share_one_entry() {
    let api = Api::start(&[]);
    let found = api.ok(One, json!({ "Name": "/app/a" })).await;
    assert_eq!(found, json!({ "Parameter": expected("/app/a", "String", "va\"lue") }));
    for name in ["/app/a", "app/a"] {
        assert_eq!(api.ok(One, json!({ "Name": name, "WithDecryption": true })).await, found);
    }
    let several = api.ok(Several, json!({ "Names": ["/app/a", "app/a"] })).await;
    assert_eq!(names(&several), ["/app/a", "/app/a"]);
    let plain = ParameterName::parse("/app/a").expect("valid");
    let store = &api.ssm.access.store;
    assert!(store.lookup_parameter(&plain, SecretForm::Value, Instant::now()).is_some());
    let arn = "arn:aws:ssm:eu-west-2:123456789012:parameter/app/a";
    assert_eq!(api.ok(One, json!({ "Name": arn })).await, found);
    assert_eq!(api.calls(), ["/app/a Value"], "one call for all of them");
}

#[tokio::test(start_paused = true)]
async fn a_version_has_a_selector_and_a_missing_one_its_own_error() {
    let api = Api::start(&[]);
    let found = api.ok(One, json!({ "Name": "/app/a:3" })).await;
    assert_eq!(found["Parameter"]["Selector"], ":3");
    assert_eq!(found["Parameter"]["Name"], "/app/a");
    for _ in 0..2 {
        assert_eq!(api.error(One, json!({ "Name": "/app/a:9" })).await, "ParameterVersionNotFound");
        assert_eq!(api.error(One, json!({ "Name": "/none" })).await, "ParameterNotFound");
    }
    assert_eq!(api.calls(), ["/app/a:3 Value", "/app/a:9 Value", "/none Value"]);
}

#[tokio::test(start_paused = true)]
async fn several_names_are_read_at_once_and_unknown_ones_are_named() {
    let api = Api::start(&[]);
    let request = json!({ "Names": ["/none", "/other", "/app/a:9", "/app/a", "plain"] });
    let served = api.send(Several, &request).await.expect("a response");
    let found: Value = serde_json::from_slice(served.body().bytes()).expect("JSON");
    assert_eq!(found["InvalidParameters"], json!(["/none", "/app/a:9"]));
    assert_eq!(names(&found), ["/app/a", "/other", "plain"]);
    assert_eq!(served.freshness().lifetime, Duration::from_secs(10), "as for a negative entry");
    assert_eq!(api.calls().len(), 5);
    api.ok(Several, request).await;
    assert_eq!(api.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_name_outside_the_prefixes_denies_the_call_before_any_call_of_aws() {
    let api = Api::start(&["--parameter-prefixes=/app"]);
    let denied = "parameter-not-allowed";
    assert_eq!(api.error(Several, json!({ "Names": ["/app/a", "/other"] })).await, denied);
    assert_eq!(api.error(One, json!({ "Name": "other" })).await, denied);
    assert_eq!(api.error(ByPath, json!({ "Path": "/other" })).await, denied);
    assert_eq!(api.calls(), [""; 0]);
    let all = api.ok(ByPath, json!({ "Path": "/", "Recursive": true })).await;
    assert_eq!(names(&all), ["/app/a", "/app/b", "/app/deep/c", "/app/z-secret"]);
    let described = api.ok(Describe, json!({})).await;
    assert_eq!(names(&described), ["/app/a", "/app/b", "/app/deep/c", "/app/z-secret"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_needs_permission_and_its_ciphertext_does_not() {
    let secret = json!({ "Name": "/app/z-secret" });
    let decrypted = json!({ "Name": "/app/z-secret", "WithDecryption": true });
    let ciphertext = json!({ "Parameter": expected("/app/z-secret", "SecureString", "AQIC") });
    let denied = "secure-string-not-allowed";
    let api = Api::start(&[]);
    for _ in 0..2 {
        assert_eq!(api.error(One, decrypted.clone()).await, denied);
        assert_eq!(api.ok(One, secret.clone()).await, ciphertext);
    }
    assert_eq!(api.calls(), ["/app/z-secret Value", "/app/z-secret Ciphertext"]);
    let both = json!({ "Names": ["/app/a", "/app/z-secret"], "WithDecryption": true });
    assert_eq!(api.error(Several, both).await, denied, "the whole call");
    let several = api.ok(Several, json!({ "Names": ["/app/z-secret"] })).await;
    assert_eq!(several["Parameters"][0], ciphertext["Parameter"]);

    let api = Api::start(&["--allow-secure-strings=true"]);
    for _ in 0..2 {
        let served = api.send(One, &decrypted).await.expect("it is allowed");
        assert!(served.body().is_confidential());
        let found: Value = serde_json::from_slice(served.body().bytes()).expect("JSON");
        assert_eq!(found["Parameter"]["Value"], "va\"lue");
        let served = api.send(One, &secret).await.expect("a ciphertext");
        assert!(!served.body().is_confidential(), "a ciphertext is no secret");
        let found: Value = serde_json::from_slice(served.body().bytes()).expect("JSON");
        assert_eq!(found, ciphertext);
    }
    assert_eq!(api.calls(), ["/app/z-secret Value", "/app/z-secret Ciphertext"]);
    let both = json!({ "Names": ["/app/a", "/app/z-secret"], "WithDecryption": true });
    assert!(api.send(Several, &both).await.expect("allowed").body().is_confidential());
}

#[tokio::test(start_paused = true)]
async fn a_reference_to_a_secret_is_only_read_with_decryption() {
    let api = Api::start(&["--allow-secure-strings=true"]);
    let name = "/aws/reference/secretsmanager/db";
    assert_eq!(api.error(One, json!({ "Name": name })).await, "ValidationException");
    assert_eq!(api.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_recursive_path_shares_the_entry_of_values_and_one_level_has_its_own() {
    let api = Api::start(&[]);
    let path = |rest: Value| {
        let mut body = json!({ "Path": "/app", "WithDecryption": false });
        body.as_object_mut().expect("an object").extend(rest.as_object().expect("one").clone());
        body
    };
    let first = api.ok(ByPath, path(json!({ "Recursive": true, "MaxResults": 3 }))).await;
    assert_eq!(first["Parameters"][0], expected("/app/a", "String", "va\"lue"));
    assert_eq!(names(&first), ["/app/a", "/app/b", "/app/deep/c"]);
    let token = &first["NextToken"];
    let next = path(json!({ "Recursive": true, "MaxResults": 3, "NextToken": token }));
    let second = api.ok(ByPath, next).await;
    assert_eq!(
        second,
        json!({ "Parameters": [expected("/app/z-secret", "SecureString", "AQIC")] })
    );
    // The first load shows that there is a SecureString, so its ciphertext needs a load of its own.
    assert_eq!(api.calls(), ["/app recursive=true Value", "/app recursive=true Ciphertext"]);
    let level = api.ok(ByPath, path(json!({}))).await;
    assert_eq!(names(&level), ["/app/a", "/app/b", "/app/z-secret"]);
    assert_eq!(api.calls(), ["/app recursive=false Value", "/app recursive=false Ciphertext"]);
    let filter = json!([{ "Key": "Type", "Values": ["StringList"] }]);
    let lists = api.ok(ByPath, path(json!({ "ParameterFilters": filter }))).await;
    assert_eq!(names(&lists), ["/app/b"]);
    assert_eq!(
        api.ok(ByPath, json!({ "Path": "/app/deep/" })).await["Parameters"][0]["Name"],
        "/app/deep/c"
    );
    let other = json!({ "Path": "/app/deep", "NextToken": token });
    assert!(api.send(ByPath, &other).await.is_ok(), "the token names a parameter of this path");
    let foreign = json!({ "Path": "/other", "NextToken": token });
    assert_eq!(api.error(ByPath, foreign).await, "InvalidNextToken");
}

#[tokio::test(start_paused = true)]
async fn a_path_with_a_secret_is_denied_with_decryption_and_not_shown_in_part() {
    let request =
        json!({ "Path": "/app", "Recursive": true, "WithDecryption": true, "MaxResults": 1 });
    let api = Api::start(&[]);
    assert_eq!(api.error(ByPath, request.clone()).await, "secure-string-not-allowed");
    let api = Api::start(&["--allow-secure-strings=true"]);
    let served = api.send(ByPath, &request).await.expect("it is allowed");
    assert!(served.body().is_confidential(), "the entry holds a secret");
}

#[tokio::test(start_paused = true)]
async fn descriptions_come_from_the_entry_of_the_list_in_pages() {
    let api = Api::start(&[]);
    let plain = StoreQuery::Parameters;
    let deadline = Deadline(Instant::now() + Duration::from_secs(5));
    let list = api.ssm.access.store.get(plain, Mode::Normal, deadline).await.expect("a list");
    let list: Value = serde_json::from_slice(list.body().bytes()).expect("JSON");
    let of_table: Vec<_> = PARAMETERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(list["parameters"], json!(of_table), "/params shows names only");
    assert_eq!(list.as_object().expect("an object").len(), 2);

    let (mut found, mut token, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let page = api.ok(Describe, json!({ "MaxResults": 2, "NextToken": token })).await;
        found.extend(names(&page).into_iter().map(str::to_owned));
        pages += 1;
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!((found, pages), (of_table.iter().map(|name| (*name).to_owned()).collect(), 3));
    let filter = json!([{ "Key": "Name", "Values": ["/plain"] }]);
    let page = api.ok(Describe, json!({ "ParameterFilters": filter })).await;
    assert_eq!(
        page,
        json!({ "Parameters": [{
            "Description": "line\nbreak", "LastModifiedDate": 1_769_860_800.123, "Name": "plain",
            "Tier": "Standard", "Type": "String", "Version": 3,
        }] })
    );
    assert_eq!(api.calls(), ["list"]);
}

#[tokio::test(start_paused = true)]
async fn warm_names_are_served_while_aws_fails_and_cold_ones_are_never_not_found() {
    let api = Api::start(&[]);
    let warm = HashMap::from([("Name", json!("/app/a")), ("WithDecryption", json!(true))]);
    let warm = json!(warm);
    let before = api.ok(One, warm.clone()).await;
    let ciphertext = json!({ "Name": "/app/z-secret" });
    let secret = api.ok(One, ciphertext.clone()).await;
    tokio::time::advance(Duration::from_secs(600)).await;
    for error in [
        Error::AwsTimeout(None),
        Error::AwsThrottled { retry_after: Duration::from_secs(1), cause: None },
    ] {
        let code = error.problem().code;
        *api.fake.fails.lock() = Some(error);
        assert_eq!(api.ok(One, warm.clone()).await, before);
        assert_eq!(api.ok(One, ciphertext.clone()).await, secret);
        assert_eq!(api.error(One, json!({ "Name": "/other" })).await, code);
        let cold = json!({ "Names": ["/app/a", "/app/b"] });
        assert_eq!(api.error(Several, cold).await, code, "not an invalid name");
    }
}
