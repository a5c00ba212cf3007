//! The loads of one request for several names, which a batch waits for.

use std::{iter, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// The longest time that a batch waits for the other members of a group. A member may come late or
/// never: the shared cache is slow, or another request loads its name already.
pub(super) const GROUP_WINDOW: Duration = Duration::from_millis(10);

/// One of several loads that start together. The batch that it joins waits until each other member
/// has joined a batch or is dropped, so that all of them share a call.
///
/// Dropping a member says that its load needs no batch, for example because the cache has its
/// entry.
#[derive(Clone, Debug)]
pub struct GroupMember {
    group: Arc<watch::Sender<()>>,
    /// The group counts the receivers: they are the members that have not joined.
    _not_joined: watch::Receiver<()>,
}

impl GroupMember {
    /// Returns the members of a group of this size.
    pub fn group(size: usize) -> impl Iterator<Item = Self> {
        let (group, _not_joined) = watch::channel(());
        iter::repeat_n(Self { group: Arc::new(group), _not_joined }, size)
    }

    /// Notes that the member has joined a batch.
    pub(super) fn joined(self) -> Group {
        Group(self.group)
    }
}

/// The members that have not joined.
pub(super) struct Group(Arc<watch::Sender<()>>);

impl Group {
    /// Waits until no member is left, for [`GROUP_WINDOW`] at most.
    pub(super) async fn complete(self) {
        let _ = timeout(GROUP_WINDOW, self.0.closed()).await;
    }
}
