//! An event of Parameter Store from the queue: only the name of a parameter is a change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;

// The target includes the files themselves, because their package depends on the whole AWS SDK.
#[path = "../../aux/src/change/event.rs"]
mod event;
#[allow(dead_code)]
#[path = "../../aux/src/name.rs"]
mod name;

use event::{Event, InvalidEvent, parse};
use name::ParameterName;

/// The two types that `event.rs` imports from its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    pub kind: ChangeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Created,
    Updated,
    Deleted,
}

/// A name with its slash, if it is one without a version, and of no other account.
fn plain(name: &str) -> Option<String> {
    let name = ParameterName::parse(name).ok()?;
    (name.as_str() == name.bare()).then(|| name.bare().to_owned())
}

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (text, name, operation) = input;
    if let Ok(Event::Change(change)) = parse(text) {
        assert!(change.name.starts_with('/'), "{}", change.name);
        assert_eq!(plain(&change.name).as_ref(), Some(&change.name));
    }
    let event = json!({
        "source": "aws.ssm",
        "detail-type": "Parameter Store Change",
        "detail": { "name": name, "operation": operation },
    });
    let kind = match operation {
        "Create" => ChangeKind::Created,
        "Delete" => ChangeKind::Deleted,
        _ => ChangeKind::Updated,
    };
    let expected = match plain(name) {
        Some(name) => Ok(Event::Change(Change { name, kind })),
        None => Err(InvalidEvent::NoName),
    };
    assert_eq!(parse(event.to_string().as_bytes()), expected);
});
