//! The messages of one receive, by their meaning.

use std::{collections::HashMap, time::SystemTime};

use super::message::Message;
use crate::change::{
    Change, ChangeKind,
    event::{self, Event, InvalidEvent},
};

/// The receive after which a message without a meaning is deleted. A message that this version does
/// not understand may reach a replica of another version before.
const LAST_RECEIVE_OF_POISON: u32 = 3;

/// The messages of one receive.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The changes, one for each name.
    pub(super) changes: Vec<Change>,
    /// The receipts of the messages with a change. They may be deleted when it is published.
    pub(super) changed: Vec<String>,
    /// The times at which the messages with a change arrived in the queue.
    pub(super) sent_at: Vec<SystemTime>,
    /// The number of events that change no parameter.
    pub(super) foreign: usize,
    /// The reasons why messages have no meaning.
    pub(super) poison: Vec<InvalidEvent>,
    /// The receipts of the messages that have no further use.
    pub(super) finished: Vec<String>,
}

impl Batch {
    pub(super) fn of(mut messages: Vec<Message>) -> Self {
        // A standard queue does not keep the order. The time of arrival is the best hint at it.
        messages.sort_by_key(|message| message.sent_at);
        let mut batch = Self::default();
        let mut changes = Changes::default();
        for message in messages {
            match event::parse(message.body.as_bytes()) {
                Ok(Event::Change(change)) => {
                    changes.add(change);
                    batch.changed.push(message.receipt);
                    batch.sent_at.extend(message.sent_at);
                }
                Ok(Event::Other) => {
                    batch.foreign += 1;
                    batch.finished.push(message.receipt);
                }
                Err(reason) => {
                    batch.poison.push(reason);
                    if message.receive_count >= LAST_RECEIVE_OF_POISON {
                        batch.finished.push(message.receipt);
                    }
                }
            }
        }
        batch.changes = changes.merged;
        batch
    }
}

/// Changes, merged to one for each name.
#[derive(Default)]
struct Changes {
    merged: Vec<Change>,
    by_name: HashMap<String, usize>,
}

impl Changes {
    /// Adds a later change. The last creation or deletion of a name applies. An update adds nothing
    /// to either of them: both concern every entry that an update concerns.
    fn add(&mut self, change: Change) {
        match self.by_name.get(&change.name) {
            Some(&index) => {
                if change.kind != ChangeKind::Updated {
                    self.merged[index].kind = change.kind;
                }
            }
            None => {
                self.by_name.insert(change.name.clone(), self.merged.len());
                self.merged.push(change);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::aws::change_queue::message::test::{change_message, message};

    fn merged(operations: &[&str]) -> Vec<Change> {
        let messages = operations.iter().map(|operation| change_message("/a", operation));
        Batch::of(messages.collect()).changes
    }

    #[test]
    fn changes_of_one_name_become_one_that_concerns_the_entries_of_all() {
        for (operations, kind) in [
            (&["Update", "Update"][..], ChangeKind::Updated),
            (&["Create", "Update"], ChangeKind::Created),
            (&["Create", "Delete"], ChangeKind::Deleted),
            (&["Create", "Update", "Delete"], ChangeKind::Deleted),
            (&["Update", "Delete"], ChangeKind::Deleted),
            (&["Delete", "Create"], ChangeKind::Created),
            // An update cannot follow a deletion, so it arrived late.
            (&["Delete", "Update"], ChangeKind::Deleted),
        ] {
            let expected = [Change { name: "/a".to_owned(), kind }];
            assert_eq!(merged(operations), expected, "{operations:?}");
        }
    }

    #[test]
    fn the_time_of_arrival_decides_which_change_is_the_last() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let deleted = Message { sent_at: at(20), ..change_message("/a", "Delete") };
        let created = Message { sent_at: at(10), ..change_message("/a", "Create") };
        let batch = Batch::of(vec![deleted, created]);
        assert_eq!(batch.changes, [Change { name: "/a".to_owned(), kind: ChangeKind::Deleted }]);
        assert_eq!(batch.sent_at, [at(10).expect("set"), at(20).expect("set")]);
    }

    #[test]
    fn each_message_is_a_change_or_foreign_or_poison() {
        let foreign = r#"{"source":"aws.ec2","detail-type":"x","detail":{}}"#;
        let batch = Batch::of(vec![
            Message { receipt: "change".to_owned(), ..change_message("/a", "Create") },
            Message { receipt: "same name".to_owned(), ..change_message("a", "Update") },
            Message { receipt: "other name".to_owned(), ..change_message("/b", "Update") },
            Message { receipt: "foreign".to_owned(), ..message(foreign) },
            Message { receipt: "poison".to_owned(), ..message("?") },
        ]);
        let names: Vec<_> = batch.changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["/a", "/b"]);
        assert_eq!(batch.changed, ["change", "same name", "other name"]);
        assert_eq!((batch.foreign, &batch.poison[..]), (1, &[InvalidEvent::NoJson][..]));
        assert_eq!(batch.finished, ["foreign"]);
    }

    #[test]
    fn a_message_without_a_meaning_is_deleted_after_its_third_receive() {
        for (receive_count, is_finished) in [(1, false), (2, false), (3, true), (4, true)] {
            let batch = Batch::of(vec![Message { receive_count, ..message("{}") }]);
            assert_eq!(batch.poison, [InvalidEvent::NoEvent]);
            assert_eq!(!batch.finished.is_empty(), is_finished, "{receive_count}");
        }
    }
}
