//! The effect of a change of the upstream's data on an entry.

/// The effect of a change on the entry of a key, in ascending order. Every effect except
/// [`Keep`](Self::Keep) drops a negative entry.
///
/// A load that was in progress at the time of the change may have read the old data, so the effect
/// applies to its result too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The change does not concern the entry.
    Keep,
    /// The change may concern the entry. It is stale: it is served at once while it is refreshed.
    MarkStale,
    /// The change concerns the entry. It is served only if the upstream fails.
    Expire,
    /// The change ended what the entry describes. It is never served again.
    Drop,
}
