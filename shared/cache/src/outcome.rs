//! The outcome of a lookup.

/// The outcome of a lookup. Each lookup counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A fresh entry was served.
    Hit,
    /// A stale entry was served within `stale-while-revalidate`.
    Stale,
    /// A stored entry was served because the load failed, or did not end before the
    /// request's deadline.
    StaleError,
    /// The request shared a load that another request had begun.
    Coalesced,
    /// The upstream responded. A "not found" counts as a response.
    Miss,
    /// A negative entry was served.
    Negative,
    /// The upstream responded, and the cache is off.
    Bypass,
    /// The upstream failed or refused the request, and no entry was usable.
    Error,
}

impl Outcome {
    /// Every outcome, in the order of the declaration.
    pub const ALL: [Self; 8] = [
        Self::Hit,
        Self::Stale,
        Self::StaleError,
        Self::Coalesced,
        Self::Miss,
        Self::Negative,
        Self::Bypass,
        Self::Error,
    ];

    /// The value of the label `outcome`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::StaleError => "stale_error",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
            Self::Negative => "negative",
            Self::Bypass => "bypass",
            Self::Error => "error",
        }
    }
}
