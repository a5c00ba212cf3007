//! The body of our answer, made of that of aux-service's: the same members, and both builds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use shared::wire::{Aggregated, Buckets, Parameters, Value, Values, Versioned};
use zeroize::{Zeroize, Zeroizing};

use crate::upstream::Route;

/// A body. It may hold a secret, so it is wiped from memory in the end.
pub(crate) type Body = Zeroizing<Vec<u8>>;

/// Makes ours of theirs, given our build; `None` if theirs is not what its route answers.
pub(crate) type Aggregate = fn(&[u8], &str) -> Option<Body>;

impl Route {
    pub(crate) fn aggregate(self) -> Aggregate {
        match self {
            Self::Buckets => |theirs, version| aggregate::<Buckets>(theirs, version),
            Self::Params => |theirs, version| aggregate::<Parameters>(theirs, version),
            Self::Param => |theirs, version| aggregate::<Value<Text>>(theirs, version),
            Self::Values => |theirs, version| aggregate::<Values<Text>>(theirs, version),
            Self::Status => |theirs, _| {
                let _: IgnoredAny = serde_json::from_slice(theirs).ok()?;
                Some(theirs.to_vec().into())
            },
        }
    }
}

/// A value where it stands in their body. Only what is written with escapes is a copy.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Drop for Text<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(copy) = &mut self.0 {
            copy.zeroize();
        }
    }
}

/// What our envelope has around our build and before theirs.
const ENVELOPE: usize = r#""main_version":"","aux_"#.len();

/// A character of a string takes at most this many bytes: `\u0000`.
const LONGEST_ESCAPE: usize = 6;

fn aggregate<'a, T: Deserialize<'a> + Serialize>(theirs: &'a [u8], version: &str) -> Option<Body> {
    // The parser's message may quote a value, so it goes no further.
    let Versioned { version: aux_version, body } = serde_json::from_slice(theirs).ok()?;
    let ours = Aggregated::<T> { main_version: version.to_owned(), aux_version, body };
    // No JSON is shorter than ours of the same, so there is room for all of it: a buffer that grows
    // leaves the outgrown one, with what it held, in freed memory.
    let room = theirs.len() + ENVELOPE + LONGEST_ESCAPE * version.len();
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *body, &ours).ok()?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ours(route: Route, theirs: &str) -> Option<serde_json::Value> {
        let body = route.aggregate()(theirs.as_bytes(), "2")?;
        Some(serde_json::from_slice(&body).expect("JSON"))
    }

    #[test]
    fn the_members_stay_and_both_builds_are_told() {
        assert_eq!(
            ours(Route::Buckets, r#"{"version":"1","buckets":["a"]}"#),
            Some(json!({ "main_version": "2", "aux_version": "1", "buckets": ["a"] }))
        );
        assert_eq!(
            ours(Route::Param, r#" { "value" : "\u00e9\n" , "version" : "1" , "more" : 1 } "#),
            Some(json!({ "main_version": "2", "aux_version": "1", "value": "é\n" }))
        );
    }

    #[test]
    fn what_its_route_does_not_answer_is_refused() {
        for theirs in [r#"{"version":"1"}"#, r#"{"value":"v"}"#, r#"{"version":"1","value":1}"#, ""]
        {
            assert_eq!(ours(Route::Param, theirs), None, "{theirs}");
        }
        assert_eq!(ours(Route::Status, "{"), None);
    }

    proptest! {
        #[test]
        fn there_is_room_for_whatever_is_told(
            version in ".*",
            values in prop::collection::btree_map(".*", ".*", 0..5),
        ) {
            let body = Values { path: version.clone(), values, omitted: vec![version.clone()] };
            let theirs = serde_json::to_vec(&Versioned { version: version.clone(), body }).expect("JSON");
            let ours = Route::Values.aggregate()(&theirs, &version).expect("it is what the route answers");
            let most = theirs.len() + ENVELOPE + LONGEST_ESCAPE * version.len();
            prop_assert_eq!(ours.capacity(), most, "it never grew");
            let read: Aggregated<Values> = serde_json::from_slice(&ours).expect("ours");
            let sent: Versioned<Values> = serde_json::from_slice(&theirs).expect("theirs");
            prop_assert_eq!(read.body, sent.body);
        }
    }
}
