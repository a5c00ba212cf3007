//! The keys of entries, and the entries that a change concerns.

use cache::Effect;
use service::changes::{ChangedNames, NameChange};

use super::StoreQuery;
use crate::{
    fleet::RecordKey,
    name::ParameterName,
    parameter::{PathQuery, SecretForm},
};

/// The key of the list of all buckets.
const BUCKETS: &str = "/buckets";

/// The key of the list of all parameters.
pub(super) const PARAMETERS: &str = "/params";

/// The key of an entry.
///
/// It is the path of the query in its simplest form. Equal queries have equal keys, and different
/// queries have different keys.
pub(super) fn key_of(query: &StoreQuery) -> String {
    match query {
        StoreQuery::Buckets => BUCKETS.to_owned(),
        StoreQuery::Parameters => PARAMETERS.to_owned(),
        StoreQuery::Parameter(name, form) => parameter_key(name, *form),
        StoreQuery::Values(PathQuery { path, recursive, form }) => {
            format!("{}{}", path_base(*recursive, *form), path.as_str())
        }
    }
}

/// The key of one parameter.
pub(super) fn parameter_key(name: &ParameterName, form: SecretForm) -> String {
    [parameter_base(form), &name.path()].concat()
}

/// No route has the base of ciphertexts.
fn parameter_base(form: SecretForm) -> &'static str {
    match form {
        SecretForm::Value => "/param",
        SecretForm::Ciphertext => "/ciphertext",
    }
}

/// No route has the bases except the first.
fn path_base(recursive: bool, form: SecretForm) -> &'static str {
    match (form, recursive) {
        (SecretForm::Value, true) => "/values",
        (SecretForm::Value, false) => "/level",
        (SecretForm::Ciphertext, true) => "/ciphertexts",
        (SecretForm::Ciphertext, false) => "/level-ciphertexts",
    }
}

/// The place of a query's record in the shared cache, which holds no ciphertexts.
pub(super) fn record_key(query: &StoreQuery) -> RecordKey {
    let (resource, variant) = match query {
        StoreQuery::Buckets | StoreQuery::Parameters => (key_of(query), String::new()),
        StoreQuery::Parameter(name, _) => {
            let variant = match (name.selector(), name.account()) {
                (Some(selector), _) => format!(":{selector}"),
                // The account of this service may be unknown, so a change of a name concerns each
                // ARN with that name.
                (None, Some(_)) => format!("#{}", name.as_str()),
                (None, None) => String::new(),
            };
            let name = if variant.is_empty() { name.path() } else { name.bare().into() };
            (parameter_resource(&name), variant)
        }
        StoreQuery::Values(PathQuery { path, recursive, .. }) => {
            let variant = if *recursive { "" } else { "#level" };
            (path_resource(path.as_str()), variant.to_owned())
        }
    };
    RecordKey { resource, variant }
}

/// The resource of a parameter in the shared cache. The name has its leading slash.
pub(super) fn parameter_resource(name: &str) -> String {
    format!("{}{name}", parameter_base(SecretForm::Value))
}

/// The resource of a path in the shared cache, with or without a trailing slash.
pub(super) fn path_resource(path: &str) -> String {
    format!("{}/{}", path_base(true, SecretForm::Value), path.trim_matches('/'))
}

/// Returns the effect of changes on the entry of a key. `lists` says whether the lists of names have
/// changed too.
pub(super) fn effect(changed: &ChangedNames, lists: bool, key: &str) -> Effect {
    let after = |base: &str| key.strip_prefix(base).filter(|rest| rest.starts_with('/'));
    let forms = [SecretForm::Value, SecretForm::Ciphertext];
    if let Some(name) = forms.iter().find_map(|form| after(parameter_base(*form))) {
        return match changed.find(name) {
            None => Effect::Keep,
            Some(NameChange::Changed) => Effect::Expire,
            Some(NameChange::Deleted) => Effect::Drop,
        };
    }
    let bases = forms.iter().flat_map(|form| [path_base(true, *form), path_base(false, *form)]);
    let concerned = match bases.into_iter().find_map(after) {
        Some(path) => changed.is_below(path),
        None => key == PARAMETERS && lists,
    };
    if concerned { Effect::Expire } else { Effect::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ParameterPath;

    fn parameter(text: &str, form: SecretForm) -> StoreQuery {
        StoreQuery::Parameter(ParameterName::parse(text).expect("a name"), form)
    }

    fn values(path: &str, recursive: bool, form: SecretForm) -> StoreQuery {
        let path = ParameterPath::parse(path).expect("a path");
        StoreQuery::Values(PathQuery { path, recursive, form })
    }

    const ARN: &str = "arn:aws:ssm:eu-west-2:210987654321:parameter/a/b:3";

    #[test]
    fn records_of_one_resource_share_its_changes_and_no_key() {
        let level = |path| values(path, false, SecretForm::Value);
        let recursive = |path| values(path, true, SecretForm::Value);
        for (query, resource, variant) in [
            (parameter("a/b", SecretForm::Value), "/param/a/b", ""),
            (parameter("/a/b:3", SecretForm::Value), "/param/a/b", ":3"),
            (parameter("/a/b:lock", SecretForm::Value), "/param/a/b", ":lock"),
            (
                parameter(ARN, SecretForm::Value),
                "/param/a/b",
                "#arn:aws:ssm:eu-west-2:210987654321:parameter/a/b:3",
            ),
            (recursive("/a/"), "/values/a", ""),
            (level("a"), "/values/a", "#level"),
            (recursive("/"), "/values/", ""),
            (level("/"), "/values/", "#level"),
            (StoreQuery::Parameters, "/params", ""),
            (StoreQuery::Buckets, "/buckets", ""),
        ] {
            let RecordKey { resource: found, variant: other } = record_key(&query);
            assert_eq!((found.as_str(), other.as_str()), (resource, variant), "{query:?}");
        }
    }

    #[test]
    fn a_change_concerns_the_entries_made_of_its_parameter_and_no_other() {
        use Effect::{Drop, Expire, Keep};
        let forms = [SecretForm::Value, SecretForm::Ciphertext];
        for (change, lists, of_name) in
            [(NameChange::Changed, false, Expire), (NameChange::Deleted, true, Drop)]
        {
            let changed = ChangedNames::of_names([("/app/eu/db", change)]);
            let of = |query: StoreQuery| effect(&changed, lists, &key_of(&query));
            for form in forms {
                for name in ["/app/eu/db", "app/eu/db:3", "/app/eu/db:green"] {
                    assert_eq!(of(parameter(name, form)), of_name, "{name}");
                }
                for name in ["/app/eu", "/app/eu/db2", "/app/eu/db/x", "/db"] {
                    assert_eq!(of(parameter(name, form)), Keep, "{name}");
                }
                for recursive in [true, false] {
                    for path in ["/", "/app", "/app/eu"] {
                        assert_eq!(of(values(path, recursive, form)), Expire, "{path}");
                    }
                    for path in ["/app/eu/db", "/ap", "/other"] {
                        assert_eq!(of(values(path, recursive, form)), Keep, "{path}");
                    }
                }
            }
            assert_eq!(of(StoreQuery::Parameters), if lists { Expire } else { Keep });
            assert_eq!(of(StoreQuery::Buckets), Keep);
        }
    }
}
