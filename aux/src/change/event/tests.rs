use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Returns an event in EventBridge's envelope.
fn event(source: &str, detail_type: &str, detail: &Value) -> String {
    json!({
        "version": "0",
        "id": "6a7e4feb-b491-4cf7-a9f1-bf3703497718",
        "detail-type": detail_type,
        "source": source,
        "account": "123456789012",
        "time": "2026-01-22T16:43:48Z",
        "region": "eu-west-2",
        "resources": ["arn:aws:ssm:eu-west-2:123456789012:parameter/app/key"],
        "detail": detail,
    })
    .to_string()
}

fn parse_change(detail: &Value) -> Result<Event, InvalidEvent> {
    parse(event("aws.ssm", "Parameter Store Change", detail).as_bytes())
}

fn parse_policy_action(detail: &Value) -> Result<Event, InvalidEvent> {
    parse(event("aws.ssm", "Parameter Store Policy Action", detail).as_bytes())
}

fn changed(name: &str, kind: ChangeKind) -> Result<Event, InvalidEvent> {
    Ok(Event::Change(Change { name: name.to_owned(), kind }))
}

#[test]
fn each_operation_is_a_kind_of_change() {
    for (operation, kind) in [
        ("Create", ChangeKind::Created),
        ("Update", ChangeKind::Updated),
        ("LabelParameterVersion", ChangeKind::Updated),
        ("Delete", ChangeKind::Deleted),
        // AWS may add operations.
        ("Rename", ChangeKind::Updated),
    ] {
        let detail = json!({ "operation": operation, "name": "/app/key", "type": "String" });
        assert_eq!(parse_change(&detail), changed("/app/key", kind), "{operation}");
    }
    let detail = json!({ "name": "/app/key" });
    assert_eq!(parse_change(&detail), changed("/app/key", ChangeKind::Updated), "no operation");
}

#[test]
fn a_name_has_a_leading_slash_and_the_syntax_of_a_parameter() {
    for (name, expected) in [("key", "/key"), ("/key", "/key"), ("app/key", "/app/key")] {
        let detail = json!({ "operation": "Update", "name": name, "description": "Sample" });
        assert_eq!(parse_change(&detail), changed(expected, ChangeKind::Updated), "{name}");
    }
    for name in [
        json!(""),
        json!("/"),
        json!("/app//key"),
        json!("/app/../key"),
        json!("/app/key:3"),
        json!("/a b"),
        json!("arn:aws:ssm:eu-west-2:210987654321:parameter/app/key"),
        json!("x".repeat(3000)),
        json!(7),
        json!(["/app/key"]),
        Value::Null,
    ] {
        let detail = json!({ "operation": "Update", "name": name });
        assert_eq!(parse_change(&detail), Err(InvalidEvent::NoName), "{name}");
    }
    assert_eq!(parse_change(&json!({ "operation": "Update" })), Err(InvalidEvent::NoName));
    assert_eq!(parse_change(&json!("/app/key")), Err(InvalidEvent::NoName));
}

#[test]
fn an_expired_parameter_is_deleted_and_a_notification_changes_nothing() {
    let action = |policy: &str, status: &str| {
        json!({
            "parameter-name": "/app/key",
            "parameter-type": "SecureString",
            "policy-type": policy,
            "policy-content": r#"{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2026-01-22T16:43:48Z"}}"#,
            "action-status": status,
            "action-reason": "",
        })
    };
    let deleted = changed("/app/key", ChangeKind::Deleted);
    assert_eq!(parse_policy_action(&action("Expiration", "Success")), deleted);
    assert_eq!(parse_policy_action(&action("Expiration", "SUCCESS")), deleted);
    for (policy, status) in [
        ("Expiration", "Failed"),
        ("ExpirationNotification", "Success"),
        ("NoChangeNotification", "Success"),
        ("Unheard-of", "Success"),
    ] {
        let parsed = parse_policy_action(&action(policy, status));
        assert_eq!(parsed, Ok(Event::Other), "{policy} {status}");
    }
    let without_status = json!({ "parameter-name": "app", "policy-type": "Expiration" });
    assert_eq!(parse_policy_action(&without_status), changed("/app", ChangeKind::Deleted));
    let without_name = json!({ "policy-type": "Expiration", "action-status": "Success" });
    assert_eq!(parse_policy_action(&without_name), Err(InvalidEvent::NoName));
}

#[test]
fn an_event_of_another_source_or_type_changes_nothing() {
    let detail = json!({ "operation": "Delete", "name": "/app/key" });
    for (source, detail_type) in [
        ("aws.ec2", "EC2 Instance State-change Notification"),
        ("aws.ssm", "EC2 Command Status-change Notification"),
        ("aws.ssm", "parameter store change"),
        ("my.application", "Parameter Store Change"),
        ("", ""),
    ] {
        let parsed = parse(event(source, detail_type, &detail).as_bytes());
        assert_eq!(parsed, Ok(Event::Other), "{source} {detail_type}");
    }
}

#[test]
fn a_text_that_is_no_event_is_invalid() {
    for text in ["", "hello", "{", "\u{0}", "{\"source\":\"aws.ssm\"", "[1,]"] {
        assert_eq!(parse(text.as_bytes()), Err(InvalidEvent::NoJson), "{text}");
    }
    assert_eq!(parse(b"\xff\xfe"), Err(InvalidEvent::NoJson));
    assert_eq!(parse("[".repeat(100_000).as_bytes()), Err(InvalidEvent::NoJson));
    for text in [
        "null",
        "7",
        "[]",
        "{}",
        r#"{"source":"aws.ssm","detail":{"name":"/app/key"}}"#,
        r#"{"source":"aws.ssm","detail-type":"Parameter Store Change"}"#,
        r#"{"source":7,"detail-type":"Parameter Store Change","detail":{"name":"/app/key"}}"#,
        // The detail alone, as a rule with an input path sends it.
        r#"{"operation":"Update","name":"/app/key","type":"String"}"#,
    ] {
        assert_eq!(parse(text.as_bytes()), Err(InvalidEvent::NoEvent), "{text}");
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_parsed_without_a_panic(text: Vec<u8>) {
        let _ = parse(&text);
    }

    #[test]
    fn a_change_has_a_name_that_a_request_could_have(
        operation in "Create|Update|Delete|[a-zA-Z]{0,12}",
        name in "[/a-z.:]{0,12}|\\PC{0,8}",
    ) {
        let detail = json!({ "operation": operation, "name": name });
        if let Ok(Event::Change(change)) = parse_change(&detail) {
            let requested = ParameterName::parse(&change.name).expect("a name");
            prop_assert_eq!(requested.bare(), change.name.as_str());
            prop_assert!(change.name.starts_with('/'));
        }
    }
}
