//! The shared cache: records, the locks of their loads and the notes of changes, as the scripts of
//! `aux/src/fleet/scripts/` keep them.

use std::collections::HashMap;

use crate::{Seconds, cache::Loaded};

/// A record: a value, or `None` for a parameter that does not exist.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    loaded: Option<Loaded>,
    /// The time at which its load took the lock.
    began: Seconds,
    /// The end of a negative record.
    ends: Seconds,
}

#[derive(Clone, Copy, Debug)]
struct Lock {
    replica: usize,
    taken: Seconds,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lookup {
    Value(Loaded),
    NotFound {
        ttl: Seconds,
    },
    /// Another replica loads. The stale value may serve meanwhile.
    Locked(Option<Loaded>),
    /// The caller must load, and has the lock.
    Taken(Option<Loaded>),
}

/// The engine.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    records: HashMap<u32, Record>,
    locks: HashMap<u32, Lock>,
    /// The time of the latest change of a key.
    changes: HashMap<u32, Seconds>,
}

impl Engine {
    /// Looks a record up, and takes the lock if the record is missing, stale or outdated.
    pub(crate) fn lookup(&mut self, key: u32, replica: usize, now: Seconds) -> Lookup {
        let changed = self.changed(key);
        let mut stale = None;
        match self.records.get(&key) {
            Some(Record { loaded: None, began, ends }) if *began > changed && now < *ends => {
                return Lookup::NotFound { ttl: ends - now };
            }
            Some(Record { loaded: Some(loaded), began, .. }) => {
                let (age, mut loaded) = (now - loaded.born, *loaded);
                if *began <= changed {
                    loaded.freshness = loaded.freshness.only_if_error();
                }
                if age < loaded.freshness.lifetime {
                    return Lookup::Value(loaded);
                }
                stale = (age < loaded.freshness.bound()).then_some(loaded);
            }
            Some(_) | None => {}
        }
        if self.locks.get(&key).is_some_and(|lock| lock.taken > changed) {
            return Lookup::Locked(stale);
        }
        self.locks.insert(key, Lock { replica, taken: now });
        Lookup::Taken(stale)
    }

    /// Stores the result of a load and releases the lock, if the caller still has it and nothing has
    /// changed since. `Err` is the end of a negative record. Returns the time at which the load took
    /// the lock.
    pub(crate) fn store(
        &mut self,
        key: u32,
        replica: usize,
        result: Result<Loaded, Seconds>,
    ) -> Option<Seconds> {
        let began = self.take_lock(key, replica)?.taken;
        if began > self.changed(key) {
            let ends = result.err().unwrap_or_default();
            self.records.insert(key, Record { loaded: result.ok(), began, ends });
        }
        Some(began)
    }

    /// Releases a lock without a record to store, if the caller has it.
    pub(crate) fn release(&mut self, key: u32, replica: usize) {
        self.take_lock(key, replica);
    }

    /// Notes a change.
    pub(crate) fn note(&mut self, key: u32, at: Seconds) {
        self.changes.insert(key, at);
    }

    fn take_lock(&mut self, key: u32, replica: usize) -> Option<Lock> {
        self.locks.get(&key).filter(|lock| lock.replica == replica)?;
        self.locks.remove(&key)
    }

    fn changed(&self, key: u32) -> Seconds {
        self.changes.get(&key).copied().unwrap_or(Seconds::NEG_INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::Value, freshness::Freshness};

    fn loaded(at: Seconds) -> Loaded {
        let freshness = Freshness { lifetime: 60.0, while_revalidate: 60.0, if_error: 3600.0 };
        Loaded { value: Value { version: 0, read_at: at }, born: at, freshness, outdated_at: None }
    }

    #[test]
    fn one_replica_gets_the_lock_and_the_others_its_record() {
        let mut engine = Engine::default();
        assert_eq!(engine.lookup(0, 1, 0.0), Lookup::Taken(None));
        assert_eq!(engine.lookup(0, 2, 0.0), Lookup::Locked(None));
        engine.store(0, 1, Ok(loaded(0.0)));
        assert_eq!(engine.lookup(0, 2, 0.1), Lookup::Value(loaded(0.0)));
        assert_eq!(engine.lookup(0, 2, 60.1), Lookup::Taken(Some(loaded(0.0))));
    }

    #[test]
    fn a_load_from_before_a_change_is_not_stored() {
        let mut engine = Engine::default();
        engine.lookup(0, 1, 0.0);
        engine.note(0, 0.5);
        engine.store(0, 1, Ok(loaded(0.0)));
        assert_eq!(engine.lookup(0, 2, 1.0), Lookup::Taken(None));
    }

    #[test]
    fn a_change_outdates_a_record_and_another_replica_takes_the_lock_over() {
        let mut engine = Engine::default();
        engine.lookup(0, 1, 0.0);
        engine.store(0, 1, Ok(loaded(0.0)));
        engine.note(0, 1.0);
        let Lookup::Taken(Some(stale)) = engine.lookup(0, 2, 2.0) else { panic!("not taken") };
        assert_eq!(stale.freshness.lifetime, 0.0);
        engine.note(0, 3.0);
        assert!(matches!(engine.lookup(0, 3, 4.0), Lookup::Taken(_)));
        engine.release(0, 2);
        assert!(matches!(engine.lookup(0, 2, 5.0), Lookup::Locked(_)), "replica 3 has the lock");
    }

    #[test]
    fn a_missing_parameter_is_remembered_for_its_time() {
        let mut engine = Engine::default();
        engine.lookup(0, 1, 0.0);
        engine.store(0, 1, Err(10.0));
        assert_eq!(engine.lookup(0, 2, 4.0), Lookup::NotFound { ttl: 6.0 });
        assert_eq!(engine.lookup(0, 2, 11.0), Lookup::Taken(None));
    }
}
