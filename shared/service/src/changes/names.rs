//! The names of changes that are applied together, prepared for a pass over the keys of a cache.

use std::collections::{HashMap, HashSet};

use super::ChangeEvent;

/// The names of changes. A lookup takes the same time however many there are.
pub struct ChangedNames {
    /// The names without their leading slash.
    names: HashMap<Box<str>, NameChange>,
    /// The paths above the names, without slashes around them. The root is empty.
    paths_above: HashSet<Box<str>>,
}

/// A change of a name. The greater of two has the greater effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameChange {
    /// The parameter is new or has changed.
    Changed,
    /// The parameter is gone, or was gone in between.
    Deleted,
}

impl ChangedNames {
    /// Collects the names of events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a ChangeEvent>) -> Self {
        Self::of_names(events.into_iter().map(|event| {
            let change = if event.deleted { NameChange::Deleted } else { NameChange::Changed };
            (&*event.name, change)
        }))
    }

    /// Collects names with their changes.
    pub fn of_names<'a>(names: impl IntoIterator<Item = (&'a str, NameChange)>) -> Self {
        let mut changed = Self { names: HashMap::new(), paths_above: HashSet::new() };
        for (name, change) in names {
            changed.add(bare(name), change);
        }
        changed
    }

    fn add(&mut self, name: &str, change: NameChange) {
        let known = self.names.entry(name.into()).or_insert(change);
        *known = change.max(*known);
        let mut path = name;
        while !path.is_empty() {
            path = path.rsplit_once('/').map_or("", |(above, _)| above);
            if !self.paths_above.insert(path.into()) {
                // The paths above it are known too.
                return;
            }
        }
    }

    /// The change of the parameter that a client names: with or without a leading slash, a version
    /// or a label, or by its ARN. The account and the region of an ARN are ignored, so a parameter
    /// of another account may be taken for one of this account.
    pub fn find(&self, name: &str) -> Option<NameChange> {
        self.names.get(bare(name)).copied()
    }

    /// The names without their leading slash, with their changes.
    pub fn names(&self) -> impl Iterator<Item = (&str, NameChange)> {
        self.names.iter().map(|(name, change)| (&**name, *change))
    }

    /// The paths above the names, without slashes around them. The root is empty.
    pub fn paths_above(&self) -> impl Iterator<Item = &str> {
        self.paths_above.iter().map(|path| &**path)
    }

    /// Whether any of the names lies below a path, at any depth. The path may have slashes around it.
    pub fn is_below(&self, path: &str) -> bool {
        self.paths_above.contains(path.trim_matches('/'))
    }
}

/// The bare name: without its leading slash, without a version or label, and without what stands
/// before it in an ARN.
fn bare(name: &str) -> &str {
    let name = name.strip_prefix('/').unwrap_or(name);
    let name = match name.split_once(":parameter/") {
        Some((arn, name)) if arn.starts_with("arn:") => name,
        _ => name,
    };
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    name.strip_prefix('/').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(names: &[(&str, bool)]) -> ChangedNames {
        let events = names.iter().map(|&(name, deleted)| ChangeEvent {
            id: "1".into(),
            name: name.into(),
            deleted,
        });
        ChangedNames::of(&events.collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_found_in_every_spelling() {
        for event in ["/app/db", "app/db"] {
            let changed = changed(&[(event, false)]);
            for name in [
                "/app/db",
                "app/db",
                "/app/db:3",
                "app/db:green",
                "arn:aws:ssm:eu-west-2:123456789012:parameter/app/db",
                "/arn:aws:ssm:eu-west-2:123456789012:parameter/app/db:3",
                "arn:aws-cn:ssm:cn-north-1::parameter/app/db",
            ] {
                assert_eq!(changed.find(name), Some(NameChange::Changed), "{name}");
            }
            for name in ["/app/db2", "/app", "/app/db/x", "/x/app/db", "", "/", ":", "/APP/DB"] {
                assert_eq!(changed.find(name), None, "{name}");
            }
        }
    }

    #[test]
    fn a_deletion_outweighs_an_earlier_and_a_later_change() {
        let names = [("/a", false), ("/a", true), ("/a", false), ("/b", false)];
        let changed = changed(&names);
        assert_eq!(changed.find("/a"), Some(NameChange::Deleted));
        assert_eq!(changed.find("/b"), Some(NameChange::Changed));
    }

    #[test]
    fn each_path_above_a_name_and_no_other_path_has_a_name_below_it() {
        let changed = changed(&[("/app/eu/db", false), ("/app/us/db", false), ("/top", false)]);
        for path in ["", "/", "/app", "/app/", "app", "/app/eu", "/app/us"] {
            assert!(changed.is_below(path), "{path}");
        }
        for path in ["/app/eu/db", "/ap", "/apple", "/app/e", "/top", "/x"] {
            assert!(!changed.is_below(path), "{path}");
        }
    }
}
