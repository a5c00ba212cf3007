//! A change of a parameter, as its sources report it.

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
