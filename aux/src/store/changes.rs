//! Changes of parameters: their effect on the entries of this replica, and their way to the other
//! replicas and to the streams of clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use cache::{Cache, Effect};
use service::changes::{ChangeEvent, ChangeLog, ChangedNames, NameChange};

use super::{
    LoadError,
    keys::{PARAMETERS, effect, parameter_resource, path_resource},
};
use crate::{
    change::{Change, ChangeKind, ChangeSource, NotPublished, PublishChanges},
    fleet::{FollowChanges, Mark, SharedChange, SharedChanges},
    name::Prefixes,
};

/// The engine learns of a change a moment later, so `since` is lengthened by this time: the record of
/// the load that has found the change must stay.
const CLOCK_MARGIN: Duration = Duration::from_millis(100);

/// The changes that this replica has learned of. Cloning is shallow.
#[derive(Clone)]
pub struct Changes(Arc<Inner>);

struct Inner {
    cache: Cache<LoadError>,
    prefixes: Prefixes,
    /// Absent without an engine.
    shared: Option<SharedChanges>,
    log: ChangeLog,
    /// The beginning of the ids of changes that no other replica knows.
    own_ids: String,
    last_id: AtomicU64,
}

/// The entry that a load has just replaced, and that is therefore up to date.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) key: String,
    /// The [resource](crate::fleet::RecordKey::resource) of the record, if another replica has loaded
    /// it: its load may have begun before the load of the entry.
    pub(super) resource: Option<String>,
}

impl Changes {
    pub(super) fn new(
        cache: Cache<LoadError>,
        prefixes: Prefixes,
        shared: Option<SharedChanges>,
    ) -> Self {
        let own_ids = format!("{:016x}", fastrand::u64(..));
        let log = ChangeLog::with_random_start();
        let last_id = AtomicU64::new(0);
        Self(Arc::new(Inner { cache, prefixes, shared, log, own_ids, last_id }))
    }

    /// The changes as `/changes` reports them.
    pub fn log(&self) -> &ChangeLog {
        &self.0.log
    }

    /// Starts to follow the changes of the other replicas.
    pub(super) fn follow(&self) {
        if let Some(shared) = &self.0.shared {
            tokio::spawn(shared.clone().follow(Arc::new(self.clone())));
        }
    }

    /// Publishes changes that a load of this replica has found. The load began `since` ago.
    pub(super) async fn publish_found(
        &self,
        changes: Vec<Change>,
        since: Duration,
        current: Current,
    ) {
        // The entries of replicas that do not learn of it become stale by themselves.
        let since = since + CLOCK_MARGIN;
        let _ = self.spread(ChangeSource::Refresh, changes, since, Some(&current)).await;
    }

    async fn spread(
        &self,
        source: ChangeSource,
        mut changes: Vec<Change>,
        since: Duration,
        current: Option<&Current>,
    ) -> Result<(), NotPublished> {
        let inner = &*self.0;
        changes.retain(|change| inner.prefixes.allow(&change.name));
        if changes.is_empty() {
            return Ok(());
        }
        source.count(changes.len());
        let current_key = current.map(|current| current.key.as_str());
        let concerned = Concerned::by(&changes);
        let Some(shared) = &inner.shared else {
            self.apply(&concerned, current_key);
            inner.log.publish(self.own_events(&changes));
            return Ok(());
        };
        // The shared records come first: a load of this replica would otherwise find an old one.
        let mut marks = concerned.marks();
        let up_to_date = current.and_then(|current| current.resource.as_ref());
        marks.retain(|mark| up_to_date != Some(&mark.resource));
        let marked = shared.mark(&marks, since).await;
        self.apply(&concerned, current_key);
        let announced = match marked {
            Ok(()) => shared.announce(&changes).await,
            failed => failed,
        };
        announced.map_err(|_| {
            inner.log.publish(self.own_events(&changes));
            NotPublished
        })
    }

    /// Applies changes to the entries of this replica, except the one that is up to date.
    fn apply(&self, Concerned { names, lists }: &Concerned, current: Option<&str>) {
        self.0.cache.apply(|key| match current {
            Some(current) if current == key => Effect::Keep,
            _ => effect(names, *lists, key),
        });
    }

    fn own_events(&self, changes: &[Change]) -> Vec<ChangeEvent> {
        let event = |change| {
            let number = self.0.last_id.fetch_add(1, Relaxed);
            event(format!("{}-{number}", self.0.own_ids), change)
        };
        changes.iter().map(event).collect()
    }
}

#[async_trait]
impl PublishChanges for Changes {
    async fn publish(
        &self,
        source: ChangeSource,
        changes: Vec<Change>,
    ) -> Result<(), NotPublished> {
        self.spread(source, changes, Duration::ZERO, None).await
    }
}

impl FollowChanges for Changes {
    fn restart(&self, start: String, recent: Vec<SharedChange>) {
        self.0.cache.apply(|_| Effect::MarkStale);
        self.0.log.reset(start);
        self.0.log.publish(events(&recent));
    }

    fn arrived(&self, mut changes: Vec<SharedChange>) {
        // A program that can write to the engine could otherwise report any name.
        changes.retain(|shared| self.0.prefixes.allow(&shared.change.name));
        // This replica has applied its own changes before it published them.
        let others = changes.iter().filter(|shared| !shared.own);
        let others: Vec<_> = others.map(|shared| shared.change.clone()).collect();
        if !others.is_empty() {
            ChangeSource::Fleet.count(others.len());
            self.apply(&Concerned::by(&others), None);
        }
        self.0.log.publish(events(&changes));
    }
}

fn events(changes: &[SharedChange]) -> Vec<ChangeEvent> {
    changes.iter().map(|SharedChange { id, change, .. }| event(id.clone(), change)).collect()
}

fn event(id: String, Change { name, kind }: &Change) -> ChangeEvent {
    let deleted = *kind == ChangeKind::Deleted;
    ChangeEvent { id: id.into(), name: name.as_str().into(), deleted }
}

/// Changes that are applied together.
struct Concerned {
    names: ChangedNames,
    /// Whether the lists of names have changed too.
    lists: bool,
}

impl Concerned {
    fn by(changes: &[Change]) -> Self {
        let names = changes.iter().map(|Change { name, kind }| match kind {
            ChangeKind::Created | ChangeKind::Updated => (name.as_str(), NameChange::Changed),
            ChangeKind::Deleted => (name.as_str(), NameChange::Deleted),
        });
        let lists = changes.iter().any(|change| change.kind != ChangeKind::Updated);
        Self { names: ChangedNames::of_names(names), lists }
    }

    /// The records that the changes outdate: those of the names, of all paths above them, and of the
    /// list of names if that has changed.
    fn marks(&self) -> Vec<Mark> {
        let changed = |resource| Mark { resource, deleted: false };
        let names = self.names.names().map(|(name, change)| Mark {
            resource: parameter_resource(&format!("/{name}")),
            deleted: change == NameChange::Deleted,
        });
        let paths = self.names.paths_above().map(|path| changed(path_resource(path)));
        let list = self.lists.then(|| changed(PARAMETERS.to_owned()));
        names.chain(paths).chain(list).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, kind: ChangeKind) -> Change {
        Change { name: name.to_owned(), kind }
    }

    fn marked(changes: &[Change]) -> Vec<String> {
        let text = |Mark { resource, deleted }: Mark| match deleted {
            true => format!("{resource} deleted"),
            false => resource,
        };
        let mut marked: Vec<_> = Concerned::by(changes).marks().into_iter().map(text).collect();
        marked.sort();
        marked
    }

    #[test]
    fn a_change_outdates_the_records_of_its_name_and_of_all_paths_above() {
        let updated = change("/app/eu/db", ChangeKind::Updated);
        let paths = ["/values/", "/values/app", "/values/app/eu"];
        assert_eq!(
            marked(&[updated.clone(), updated]),
            [&["/param/app/eu/db"], &paths[..]].concat()
        );
        assert_eq!(
            marked(&[change("/a", ChangeKind::Deleted), change("/b", ChangeKind::Created)]),
            ["/param/a deleted", "/param/b", "/params", "/values/"]
        );
    }
}
