//! The events of Parameter Store, as EventBridge sends them.
//!
//! The formats are those of AWS's examples
//! (<https://docs.aws.amazon.com/systems-manager/latest/userguide/monitoring-systems-manager-event-examples.html>)
//! and of its patterns for rules
//! (<https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-cwe.html>).

use serde::Deserialize;
use serde_json::Value;

use super::{Change, ChangeKind};
use crate::name::ParameterName;

/// The source of all events of Parameter Store.
const SOURCE: &str = "aws.ssm";

/// The meaning of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A parameter changed.
    Change(Change),
    /// No parameter changed: the event has another source or type, or it only announces a change.
    Other,
}

/// The reason why a text has no meaning. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    #[error("it is no JSON")]
    NoJson,
    #[error("it is no event of EventBridge")]
    NoEvent,
    #[error("it names no parameter")]
    NoName,
}

/// The members of every event that decide its meaning.
#[derive(Deserialize)]
struct Envelope {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    detail: Value,
}

/// Parses an event.
///
/// # Errors
///
/// The text is no event, or it is an event of Parameter Store without the name of a parameter.
pub fn parse(text: &[u8]) -> Result<Event, InvalidEvent> {
    let json: Value = serde_json::from_slice(text).map_err(|_| InvalidEvent::NoJson)?;
    let Envelope { source, detail_type, detail } =
        serde_json::from_value(json).map_err(|_| InvalidEvent::NoEvent)?;
    let change = match (source.as_str(), detail_type.as_str()) {
        (SOURCE, "Parameter Store Change") => {
            let kind = match detail["operation"].as_str() {
                Some("Create") => ChangeKind::Created,
                Some("Delete") => ChangeKind::Deleted,
                // AWS documents two more operations: `Update` and `LabelParameterVersion`. An unknown
                // one has changed the parameter too, and an update only causes a new read.
                _ => ChangeKind::Updated,
            };
            Change { name: name(&detail["name"])?, kind }
        }
        (SOURCE, "Parameter Store Policy Action") if deletes(&detail) => {
            Change { name: name(&detail["parameter-name"])?, kind: ChangeKind::Deleted }
        }
        _ => return Ok(Event::Other),
    };
    Ok(Event::Change(change))
}

/// Whether a policy has deleted its parameter. The other types of policies send notifications only.
fn deletes(policy_action: &Value) -> bool {
    let failed = |status: &str| !status.eq_ignore_ascii_case("Success");
    policy_action["policy-type"] == "Expiration"
        && !policy_action["action-status"].as_str().is_some_and(failed)
}

/// Returns a parameter's name with its leading slash. AWS omits the slash where the parameter was
/// created without it.
fn name(value: &Value) -> Result<String, InvalidEvent> {
    let name = value.as_str().and_then(|text| ParameterName::parse(text).ok());
    // A version, a label and an ARN belong to requests. A change concerns the parameter.
    let plain = name.filter(|name| name.as_str() == name.bare());
    plain.map(|name| name.bare().to_owned()).ok_or(InvalidEvent::NoName)
}

#[cfg(test)]
mod tests;
