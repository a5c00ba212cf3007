//! The effect of changes on the entries of the caches.

use std::time::Duration;

use cache::Effect;
use service::{
    changes::{ChangedNames, NameChange},
    contract::{
        routes::{RouteId, Routes},
        ssm,
    },
};

use crate::upstream::call::CALLED_ROUTES;

/// Returns the effect of changes on the entry of a key.
///
/// A list expires with every change. Its reload is a conditional request, so it costs little.
pub(crate) fn effect(changed: &ChangedNames, key: &str) -> Effect {
    let Some(route) = Routes(&CALLED_ROUTES).parse_path(key) else {
        return ssm_effect(changed, key);
    };
    let parameter = route.parameter(key).unwrap_or_default();
    match route {
        RouteId::Param | RouteId::Parameter => of_names(changed, [parameter]),
        RouteId::Values => of_path(changed, parameter),
        RouteId::Params => Effect::Expire,
        RouteId::Buckets => Effect::Keep,
        // A needless load costs less than an old value.
        _ => Effect::Expire,
    }
}

/// The effect on the entry of a request in AWS's protocol.
fn ssm_effect(changed: &ChangedNames, key: &str) -> Effect {
    match ssm::Request::of_key(key) {
        Some(ssm::Request::GetParameter(request)) => of_names(changed, [request.name.as_str()]),
        Some(ssm::Request::GetParameters(request)) => {
            of_names(changed, request.names.iter().map(String::as_str))
        }
        Some(ssm::Request::GetParametersByPath(request)) => of_path(changed, &request.path),
        Some(ssm::Request::DescribeParameters(_)) | None => Effect::Expire,
    }
}

/// The effect on a response about some parameters.
fn of_names<'a>(changed: &ChangedNames, names: impl IntoIterator<Item = &'a str>) -> Effect {
    match names.into_iter().filter_map(|name| changed.find(name)).max() {
        Some(NameChange::Deleted) => Effect::Drop,
        Some(NameChange::Changed) => Effect::Expire,
        None => Effect::Keep,
    }
}

/// The effect on a response about the parameters below a path.
fn of_path(changed: &ChangedNames, path: &str) -> Effect {
    if changed.is_below(path) { Effect::Expire } else { Effect::Keep }
}

/// The resolution of `Age`, which has whole seconds and is rounded down.
const AGE_RESOLUTION: Duration = Duration::from_secs(1);

/// The time after a change in which a replica of aux-service may not have learned of it. A replica
/// whose connection to the engine breaks reads the stream again within nine seconds, pauses and
/// timeouts included.
const SPREAD: Duration = Duration::from_secs(15);

/// Whether a response may be from before a change. `age` is its `Age`, and `since_change` the time
/// since the change.
///
/// `Age` alone cannot tell a response from the moment before a change from one of the moment after
/// it. After [`SPREAD`], such a response counts as one from after it.
pub(crate) fn may_precede(age: Duration, since_change: Duration) -> bool {
    let doubt = if since_change < SPREAD { AGE_RESOLUTION } else { Duration::ZERO };
    age.saturating_add(doubt) > since_change
}

#[cfg(test)]
mod tests {
    use service::contract::ssm::Operation;

    use super::*;

    /// The key of the entry for a path.
    fn key(path: &str) -> String {
        let route = Routes(&CALLED_ROUTES).parse_path(path).expect("a route");
        route.cache_key(path).expect("UTF-8").into_owned()
    }

    fn ssm_key(operation: Operation, body: &str) -> String {
        ssm::Request::parse_body(operation, body.as_bytes()).expect("a request").key()
    }

    #[test]
    fn a_change_expires_each_response_about_its_name() {
        let changed = ChangedNames::of_names([("/app/eu/db", NameChange::Changed)]);
        for path in [
            "/param/app/eu/db",
            "/param//app/eu/db",
            "/param/app%2Feu%2Fdb",
            "/param/app/eu/db:3",
            "/param/app/eu/db:green",
            "/parameter/app/eu/db",
            "/parameter/app/eu/db:3",
            "/param/arn:aws:ssm:eu-west-2:123456789012:parameter/app/eu/db",
            "/parameter/arn:aws:ssm:eu-west-2:123456789012:parameter/app/eu/db:3",
            "/values/",
            "/values/app",
            "/values/app/",
            "/values//app/eu",
            "/params",
        ] {
            assert_eq!(effect(&changed, &key(path)), Effect::Expire, "{path}");
        }
        for path in [
            "/param/app/eu/db2",
            "/param/app/eu",
            "/parameter/db",
            "/param/params",
            "/values/app/eu/db",
            "/values/ap",
            "/values/app/us",
            "/buckets",
        ] {
            assert_eq!(effect(&changed, &key(path)), Effect::Keep, "{path}");
        }
    }

    #[test]
    fn a_deletion_drops_the_responses_about_its_name_and_expires_the_others() {
        let changed = ChangedNames::of_names([
            ("/app/db", NameChange::Deleted),
            ("/other", NameChange::Changed),
        ]);
        for path in ["/param/app/db", "/parameter/app/db:3"] {
            assert_eq!(effect(&changed, &key(path)), Effect::Drop, "{path}");
        }
        for path in ["/values/app", "/params", "/param/other"] {
            assert_eq!(effect(&changed, &key(path)), Effect::Expire, "{path}");
        }
    }

    #[test]
    fn a_change_concerns_the_requests_of_the_protocol_of_aws() {
        use Operation::{
            DescribeParameters as Describe, GetParameter as One, GetParameters as Several,
            GetParametersByPath as ByPath,
        };
        let changed = ChangedNames::of_names([
            ("/app/db", NameChange::Changed),
            ("/gone", NameChange::Deleted),
        ]);
        let arn = r#"{"Name":"arn:aws:ssm:eu-west-2:123456789012:parameter/app/db"}"#;
        for (operation, body, expected) in [
            (One, r#"{"Name":"/app/db","WithDecryption":true}"#, Effect::Expire),
            (One, r#"{"Name":"app/db:3"}"#, Effect::Expire),
            (One, arn, Effect::Expire),
            (One, r#"{"Name":"gone"}"#, Effect::Drop),
            (One, r#"{"Name":"/app"}"#, Effect::Keep),
            (Several, r#"{"Names":["/x","/app/db"]}"#, Effect::Expire),
            (Several, r#"{"Names":["/app/db","/gone:1"]}"#, Effect::Drop),
            (Several, r#"{"Names":["/x","/y"]}"#, Effect::Keep),
            (ByPath, r#"{"Path":"/app/","Recursive":true}"#, Effect::Expire),
            (ByPath, r#"{"Path":"/","NextToken":"OTovYS9i","MaxResults":3}"#, Effect::Expire),
            (ByPath, r#"{"Path":"/apple"}"#, Effect::Keep),
            (Describe, "{}", Effect::Expire),
        ] {
            let key = ssm_key(operation, body);
            assert_eq!(effect(&changed, &key), expected, "{body}");
        }
    }

    #[test]
    fn an_unknown_key_expires() {
        let changed = ChangedNames::of_names([("/a", NameChange::Changed)]);
        for key in ["", "/status", "/new/x", "AmazonSSM.GetHistory {}", "text"] {
            assert_eq!(effect(&changed, key), Effect::Expire, "{key}");
        }
    }

    #[test]
    fn a_response_may_be_from_before_a_change_while_replicas_learn_of_it() {
        let secs = Duration::from_secs_f64;
        for (age, since_change, expected) in [
            (0.0, 0.1, true),
            (0.0, 1.1, false),
            (3.0, 3.9, true),
            (3.0, 4.1, false),
            // A response whose load has found the change, or was caused by it.
            (17.0, 17.9, false),
            (17.0, 17.01, false),
            // An older one.
            (18.0, 17.9, true),
            (60.0, 17.0, true),
        ] {
            assert_eq!(
                may_precede(secs(age), secs(since_change)),
                expected,
                "{age} {since_change}"
            );
        }
    }
}
