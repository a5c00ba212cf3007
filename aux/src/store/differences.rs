//! The changes between two results of one query: a refresh that finds another value is a change too.

use std::collections::HashSet;

use cache::CachedBody;

use super::StoreQuery;
use crate::{
    change::{Change, ChangeKind},
    error::Error,
    record::ssm::{fact_lines, name_of},
};

/// Returns the changes between two bodies of a query.
pub(super) fn differences(query: &StoreQuery, old: &CachedBody, new: &CachedBody) -> Vec<Change> {
    match query {
        StoreQuery::Buckets => Vec::new(),
        StoreQuery::Parameter(..) => {
            let same = old.bytes() == new.bytes() && old.annotation() == new.annotation();
            if same { Vec::new() } else { of_parameter(query, ChangeKind::Updated) }
        }
        // The descriptions in the list follow each change of a parameter, so only the names say
        // something new.
        StoreQuery::Parameters => {
            let mut changes = compare(old, new);
            changes.retain(|change| change.kind != ChangeKind::Updated);
            changes
        }
        StoreQuery::Values(_) => compare(old, new),
    }
}

/// Returns the deletion that the error of a query reports, if an entry existed before.
pub(super) fn deletion(query: &StoreQuery, error: &Error) -> Vec<Change> {
    match error {
        Error::ParameterNotFound => of_parameter(query, ChangeKind::Deleted),
        _ => Vec::new(),
    }
}

/// Returns a change of the parameter that a query names. Other accounts and services report their
/// changes to nobody.
fn of_parameter(query: &StoreQuery, kind: ChangeKind) -> Vec<Change> {
    match query {
        StoreQuery::Parameter(name, _)
            if name.account().is_none() && !name.is_secret_reference() =>
        {
            vec![Change { name: name.bare().to_owned(), kind }]
        }
        _ => Vec::new(),
    }
}

/// Compares the facts of the parameters of two bodies.
fn compare(old: &CachedBody, new: &CachedBody) -> Vec<Change> {
    if old.annotation() == new.annotation() {
        return Vec::new();
    }
    let (old_lines, new_lines): (HashSet<_>, HashSet<_>) =
        (fact_lines(old).collect(), fact_lines(new).collect());
    let names_of = |lines: &HashSet<&str>, others: &HashSet<&str>| -> HashSet<String> {
        let names = lines.difference(others).map(|line| name_of(line));
        names.map(|name| format!("/{}", name.trim_start_matches('/'))).collect()
    };
    let (gone, arrived) = (names_of(&old_lines, &new_lines), names_of(&new_lines, &old_lines));
    let change = |name: &String| {
        let kind = match (gone.contains(name), arrived.contains(name)) {
            (true, true) => ChangeKind::Updated,
            (true, false) => ChangeKind::Deleted,
            (false, _) => ChangeKind::Created,
        };
        Change { name: name.clone(), kind }
    };
    gone.union(&arrived).map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{ParameterName, ParameterPath};
    use crate::parameter::{PathQuery, SecretForm};

    fn body(text: &str, facts: &[&str]) -> CachedBody {
        CachedBody::json(&text).expect("JSON").annotated(&facts.join("\n"))
    }

    fn found(query: &StoreQuery, old: &CachedBody, new: &CachedBody) -> Vec<(String, ChangeKind)> {
        let changes = differences(query, old, new);
        let mut found: Vec<_> =
            changes.into_iter().map(|change| (change.name, change.kind)).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    fn parameter(name: &str) -> StoreQuery {
        StoreQuery::Parameter(ParameterName::parse(name).expect("a name"), SecretForm::Value)
    }

    #[test]
    fn another_value_or_another_fact_of_a_parameter_is_a_change() {
        let old = body("a", &[r#"{"Name":"/app","Version":1}"#]);
        let updated = vec![("/app".to_owned(), ChangeKind::Updated)];
        for name in ["/app", "/app:green"] {
            let query = parameter(name);
            assert_eq!(found(&query, &old, &old.clone()), []);
            assert_eq!(
                found(&query, &old, &body("b", &[r#"{"Name":"/app","Version":1}"#])),
                updated
            );
            assert_eq!(
                found(&query, &old, &body("a", &[r#"{"Name":"/app","Version":2}"#])),
                updated
            );
        }
        let foreign = parameter("arn:aws:ssm:eu-west-2:210987654321:parameter/app");
        assert_eq!(found(&foreign, &old, &body("b", &[])), []);
    }

    #[test]
    fn the_names_of_changed_parameters_below_a_path_are_found() {
        let path = ParameterPath::parse("/").expect("a path");
        let values = StoreQuery::Values(PathQuery::all_below(path));
        let [a, a2, b, c] = [
            r#"{"Name":"/a","Version":1}"#,
            r#"{"Name":"/a","Version":2}"#,
            r#"{"Name":"/b","Version":1}"#,
            r#"{"Name":"c","Version":1}"#,
        ];
        let old = body("old", &[&format!("1 {a}"), &format!("20 {b}")]);
        let name = |name: &str, kind| (name.to_owned(), kind);
        assert_eq!(found(&values, &old, &body("new", &[a, b])), []);
        assert_eq!(found(&values, &old, &body("new", &[b, a])), [], "the order is no change");
        let changes = [
            name("/a", ChangeKind::Updated),
            name("/b", ChangeKind::Deleted),
            name("/c", ChangeKind::Created),
        ];
        assert_eq!(found(&values, &old, &body("new", &[a2, c])), changes);
        let names = found(&StoreQuery::Parameters, &old, &body("new", &[a2, c]));
        assert_eq!(names, changes[1..], "an update changes no name");
        assert_eq!(found(&StoreQuery::Buckets, &old, &body("new", &[])), []);
    }

    #[test]
    fn a_parameter_that_is_not_found_any_more_is_deleted() {
        let deleted = vec![Change { name: "/app".to_owned(), kind: ChangeKind::Deleted }];
        assert_eq!(deletion(&parameter("/app"), &Error::ParameterNotFound), deleted);
        assert_eq!(deletion(&parameter("/app:3"), &Error::ParameterVersionNotFound), []);
        assert_eq!(deletion(&parameter("/app"), &Error::AwsTimeout(None)), []);
    }
}
