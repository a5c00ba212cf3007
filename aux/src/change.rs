//! A change of a parameter, as its sources report it, and the interface that spreads it.
//!
//! Imports go one way: `event` → this file. `queue_url` imports nothing.

pub mod event;
pub mod queue_url;

use async_trait::async_trait;
use service::changes::{changes_of, describe_changes};

/// A changed parameter of this account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// The name with a leading slash, without a version or label.
    pub name: String,
    pub kind: ChangeKind,
}

/// The kind of a change. It decides which entries the change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The parameter exists since the change. The lists of names change too.
    Created,
    /// The value, a label or another fact of the parameter changed.
    Updated,
    /// The parameter is gone. The lists of names change too.
    Deleted,
}

/// The component that learned of a change: the label `source` of the metric `changes_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeSource {
    /// The queue of AWS's events.
    Queue,
    /// A refresh that found another value.
    Refresh,
    /// Another replica.
    Fleet,
}

impl ChangeSource {
    const ALL: [Self; 3] = [Self::Queue, Self::Refresh, Self::Fleet];

    fn label(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Refresh => "refresh",
            Self::Fleet => "fleet",
        }
    }

    /// Describes the metric, and exports the counter of each source from the start, at zero.
    pub(crate) fn describe_metric() {
        describe_changes(Self::ALL.map(Self::label));
    }

    /// Counts changes of this source.
    pub(crate) fn count(self, changes: usize) {
        changes_of(self.label()).increment(changes as u64);
    }
}

/// Publishes changes to all entries that they concern, on every replica.
#[async_trait]
pub trait PublishChanges: Send + Sync {
    /// Publishes these changes. Changes of names that this service may not show are ignored. The
    /// caller may drop the future when it takes too long.
    ///
    /// # Errors
    ///
    /// Some replicas may not have learned of the changes. The caller may publish them again:
    /// publishing a change twice does no harm.
    async fn publish(&self, source: ChangeSource, changes: Vec<Change>)
    -> Result<(), NotPublished>;
}

/// The error of changes that may not have reached every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("some replicas may not have learned of the changes")]
pub struct NotPublished;
