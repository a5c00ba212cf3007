use axum::http::HeaderValue;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn headers(target: Option<&str>, content_type: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [(TARGET, target), (header::CONTENT_TYPE, content_type)] {
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
        }
    }
    headers
}

fn parse(operation: Operation, body: &str) -> Result<Request, AwsError> {
    let headers = headers(Some(operation.target()), Some("application/x-amz-json-1.1"));
    Request::parse(&headers, body.as_bytes())
}

/// The code and the message of the error of a request.
fn error(operation: Operation, body: &str) -> (String, String) {
    let error = parse(operation, body).expect_err(body);
    (error.code.into_owned(), error.message.into_owned())
}

fn normal(operation: Operation, body: &str) -> String {
    parse(operation, body).expect(body).body()
}

use Operation::{
    DescribeParameters as Describe, GetParameter as One, GetParameters as Several,
    GetParametersByPath as ByPath,
};

#[test]
fn equal_requests_have_one_normal_form() {
    for (operation, body, expected) in [
        (One, r#"{"Name":"/a"}"#, r#"{"Name":"/a"}"#),
        (One, r#" {"WithDecryption":false,"Name":"a:3","X":[{}]}"#, r#"{"Name":"a:3"}"#),
        (One, r#"{"WithDecryption":null,"Name":"/a"}"#, r#"{"Name":"/a"}"#),
        (One, r#"{"WithDecryption":true,"Name":"/a"}"#, r#"{"Name":"/a","WithDecryption":true}"#),
        (Several, r#"{"Names":["b","a "," b"]}"#, r#"{"Names":["b","a"]}"#),
        (ByPath, r#"{"Path":"/a/"}"#, r#"{"Path":"/a/","MaxResults":10}"#),
        (ByPath, r#"{"Path":"/","NextToken":""}"#, r#"{"Path":"/","MaxResults":10}"#),
        (
            ByPath,
            r#"{"MaxResults":3,"Recursive":true,"Path":"/a","NextToken":"OTovYS9i"}"#,
            r#"{"Path":"/a","Recursive":true,"MaxResults":3,"NextToken":"OTovYS9i"}"#,
        ),
        (Describe, "{}", r#"{"MaxResults":10}"#),
        (Describe, r#"{"Filters":[],"Shared":false}"#, r#"{"MaxResults":10}"#),
        (
            Describe,
            r#"{"ParameterFilters":[{"Values":["/a"],"Key":"Path"}],"MaxResults":50}"#,
            r#"{"ParameterFilters":[{"Key":"Path","Option":"OneLevel","Values":["/a"]}],"MaxResults":50}"#,
        ),
    ] {
        let form = normal(operation, body);
        assert_eq!(form, expected, "{body}");
        assert_eq!(normal(operation, &form), form, "the normal form is its own normal form");
        let request = parse(operation, body).expect("valid");
        assert_eq!(Request::of_key(&request.key()), Some(request));
    }
    for text in ["", "/param/a", "AmazonSSM.GetParameter", "AmazonSSM.PutParameter {}"] {
        assert_eq!(Request::of_key(text), None, "{text}");
    }
    let request = parse(One, r#"{"Name":"/a"}"#).expect("valid");
    assert_eq!(request.key(), r#"AmazonSSM.GetParameter {"Name":"/a"}"#);
}

#[test]
fn the_target_and_the_content_type_decide_the_operation() {
    let json = Some("application/x-amz-json-1.1");
    for (target, content_type, expected) in [
        (Some("AmazonSSM.GetParameter"), json, Target::Read(One)),
        (
            Some("AmazonSSM.GetParameter"),
            Some("Application/X-AMZ-JSON-1.1; charset=utf-8"),
            Target::Read(One),
        ),
        (Some("AmazonSSM.GetParameter"), Some("application/json"), Target::Unknown),
        (Some("AmazonSSM.GetParameter"), None, Target::Unknown),
        (None, json, Target::Unknown),
        (Some("AmazonSSM.getparameter"), json, Target::Unknown),
        (Some("AmazonSSM.GetParameterHistory"), json, Target::Unknown),
        (Some("AmazonSSM.ListTagsForResource"), json, Target::Unknown),
        (Some("AmazonSSM.Putty"), json, Target::Unknown),
        (Some("secretsmanager.PutSecretValue"), json, Target::Unknown),
        (Some("AmazonSSM.PutParameter"), json, Target::Write),
        (Some("AmazonSSM.DeleteParameters"), json, Target::Write),
        (Some("AmazonSSM.LabelParameterVersion"), json, Target::Write),
    ] {
        assert_eq!(
            Target::of(&headers(target, content_type)),
            expected,
            "{target:?} {content_type:?}"
        );
    }
}

#[test]
fn requests_that_ssm_refuses_get_its_errors() {
    let long = json!({ "Name": "a".repeat(2049) }).to_string();
    let eleven = json!({ "Names": (0..11).map(|n| n.to_string()).collect::<Vec<_>>() }).to_string();
    let validation = "ValidationException";
    for (operation, body, code, message) in [
        (One, "", "SerializationException", "not a JSON object"),
        (One, "nonsense", "SerializationException", "not a JSON object"),
        (One, "[]", "SerializationException", ""),
        (One, r#"{"Name":3}"#, "SerializationException", ""),
        (One, r#"{"Name":"/a"} x"#, "SerializationException", ""),
        (
            One,
            "{}",
            validation,
            "Value null at 'name' failed to satisfy constraint: Member must not be null",
        ),
        (One, r#"{"Name":""}"#, validation, "length greater than or equal to 1"),
        (One, &long, validation, "length less than or equal to 2048"),
        (Several, "{}", validation, "Value null at 'names'"),
        (Several, r#"{"Names":[]}"#, validation, "length greater than or equal to 1"),
        (
            Several,
            &eleven,
            validation,
            "Value at 'names' failed to satisfy constraint: Member must have length less than or equal to 10",
        ),
        (ByPath, "{}", validation, "Value null at 'path'"),
        (ByPath, r#"{"Path":"a"}"#, validation, "must begin with a forward slash"),
        (
            ByPath,
            r#"{"Path":"/a","MaxResults":11}"#,
            validation,
            "Value '11' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 10",
        ),
        (ByPath, r#"{"Path":"/a","MaxResults":0}"#, validation, "greater than or equal to 1"),
        (ByPath, r#"{"Path":"/a","MaxResults":2.5}"#, "SerializationException", ""),
        (ByPath, r#"{"Path":"/a","NextToken":"10"}"#, "InvalidNextToken", ""),
        (
            ByPath,
            r#"{"Path":"/a","ParameterFilters":[{"Key":"Name","Values":["a"]}]}"#,
            "InvalidFilterKey",
            "[Type]",
        ),
        (Describe, r#"{"MaxResults":51}"#, validation, "less than or equal to 50"),
        (Describe, r#"{"MaxResults":-1}"#, validation, "greater than or equal to 1"),
        (Describe, r#"{"Shared":true}"#, validation, "other accounts"),
        (Describe, r#"{"Filters":[{"Key":"Name","Values":["a"]}]}"#, "InvalidFilterKey", ""),
        (
            Describe,
            r#"{"Filters":[{}],"ParameterFilters":[{"Key":"Name","Values":["a"]}]}"#,
            validation,
            "either Filters or ParameterFilters",
        ),
        (Describe, r#"{"ParameterFilters":[{}]}"#, validation, "pattern"),
        (Describe, r#"{"ParameterFilters":[{"Key":"name"}]}"#, validation, "pattern"),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"tag:a","Values":["b"]}]}"#,
            "InvalidFilterKey",
            "",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Tier","Values":["Standard"]}]}"#,
            "InvalidFilterKey",
            "",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Label","Values":["a"]}]}"#,
            "InvalidFilterKey",
            "",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Name"}]}"#,
            "InvalidFilterValue",
            "filter key Name",
        ),
        (Describe, r#"{"ParameterFilters":[{"Key":"Name","Values":[""]}]}"#, validation, "1024"),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Name","Option":"OneLevel","Values":["a"]}]}"#,
            "InvalidFilterOption",
            "",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Path","Option":"Equals","Values":["/a"]}]}"#,
            "InvalidFilterOption",
            "[Recursive, OneLevel]",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Type","Option":"Contains","Values":["String"]}]}"#,
            "InvalidFilterOption",
            "",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Type","Values":["Text"]}]}"#,
            "InvalidFilterOption",
            "SecureString",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Path","Values":["a"]}]}"#,
            validation,
            "forward slash",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Path","Values":["/AWS/a"]}]}"#,
            validation,
            "can't be prefixed",
        ),
        (
            Describe,
            r#"{"ParameterFilters":[{"Key":"Name","Values":["a"]},{"Key":"Name","Values":["b"]}]}"#,
            "InvalidFilterKey",
            "duplicated",
        ),
    ] {
        let (found, text) = error(operation, body);
        assert_eq!(found, code, "{body}");
        assert!(text.contains(message), "{body}: {text}");
    }
}

#[test]
fn filters_compare_names_paths_and_types_as_ssm_does() {
    let names = ["/app/db", "/app/db/url", "/apple", "plain"];
    for (filter, expected) in [
        (r#""Key":"Name","Values":["/app/db"]"#, "/app/db"),
        (r#""Key":"Name","Values":["app/db","/plain"]"#, "/app/db plain"),
        (r#""Key":"Name","Option":"BeginsWith","Values":["/app"]"#, "/app/db /app/db/url /apple"),
        (r#""Key":"Name","Option":"BeginsWith","Values":["pl"]"#, "plain"),
        (r#""Key":"Name","Option":"Contains","Values":["l"]"#, "/app/db/url /apple plain"),
        (r#""Key":"Name","Option":"Contains","Values":["/p"]"#, "plain"),
        (r#""Key":"Path","Values":["/app"]"#, "/app/db"),
        (r#""Key":"Path","Values":["/"]"#, "/apple plain"),
        (r#""Key":"Path","Values":["/app/"],"Option":"Recursive""#, "/app/db /app/db/url"),
        (r#""Key":"Path","Values":["/"],"Option":"Recursive""#, "/app/db /app/db/url /apple plain"),
        (r#""Key":"Path","Values":["/app/db/url"],"Option":"Recursive""#, ""),
        (r#""Key":"Type","Values":["String"]"#, "/app/db /app/db/url /apple plain"),
        (r#""Key":"Type","Values":["StringList","SecureString"]"#, ""),
        (
            r#""Key":"Type","Values":["String"],"Option":"BeginsWith""#,
            "/app/db /app/db/url /apple plain",
        ),
    ] {
        let body = format!(r#"{{"ParameterFilters":[{{{filter}}}]}}"#);
        let Ok(Request::DescribeParameters(request)) = parse(Describe, &body) else {
            panic!("{body} is valid")
        };
        let filter = &request.parameter_filters[0];
        let found: Vec<_> =
            names.into_iter().filter(|name| filter.matches(name, "String")).collect();
        assert_eq!(found.join(" "), expected, "{body}");
    }
}

proptest! {
    #[test]
    fn any_body_is_a_request_or_an_error_of_ssm(
        body in r#"\{("(Name|Names|Path|NextToken|MaxResults|WithDecryption|ParameterFilters)":("[a/:]{0,3}"|\["a"\]|[0-9]{1,2}|true|null|\[\{"Key":"Name"\}\]),?){0,4}\}"#,
        operation in prop::sample::select(&Operation::ALL[..]),
    ) {
        if let Ok(request) = parse(operation, &body) {
            prop_assert_eq!(parse(operation, &request.body()), Ok(request));
        }
    }
}
