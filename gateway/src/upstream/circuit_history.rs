//! The openings of the circuits, for `/status`.
//!
//! During an outage a circuit changes its state with every probe. One opening stands for all of
//! these changes, so a short list reaches back beyond a long outage.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use humantime::format_rfc3339_millis;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

/// The number of openings that are remembered.
const OPENINGS: usize = 32;

/// The time from the failure that opened the circuit of a route until a probe succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Opening {
    /// The label of the route.
    #[schema(example = "/param/{name}")]
    pub route: String,
    /// The time at which the circuit opened, as in RFC 3339.
    #[schema(example = "2026-11-25T11:51:00.000Z")]
    pub opened_at: String,
    /// The time at which it closed; `null` while it is open or half-open.
    #[schema(example = "2026-11-25T11:53:30.000Z")]
    pub closed_at: Option<String>,
    /// The number of probes that failed.
    #[schema(example = 4)]
    pub failed_probes: u32,
}

/// The latest openings of all circuits, oldest first. Cloning shares them.
#[derive(Clone, Default)]
pub struct CircuitHistory(Arc<Mutex<VecDeque<Opening>>>);

impl CircuitHistory {
    /// Records that the closed circuit of a route has opened.
    pub(crate) fn opened(&self, route: &str) {
        let mut openings = self.0.lock();
        if openings.len() == OPENINGS {
            evict(&mut openings);
        }
        let (route, opened_at) = (route.to_owned(), now());
        openings.push_back(Opening { route, opened_at, closed_at: None, failed_probes: 0 });
    }

    /// Records that a probe of a route has failed.
    pub(crate) fn probe_failed(&self, route: &str) {
        self.update(route, |opening| opening.failed_probes += 1);
    }

    /// Records that the circuit of a route has closed.
    pub(crate) fn closed(&self, route: &str) {
        self.update(route, |opening| opening.closed_at = Some(now()));
    }

    /// Changes the latest opening of a route. Only an opening that has not ended is changed, because a
    /// circuit closes once.
    fn update(&self, route: &str, change: impl FnOnce(&mut Opening)) {
        let mut openings = self.0.lock();
        openings.iter_mut().rfind(|opening| opening.route == route).map(change);
    }

    /// Returns the openings.
    pub(crate) fn openings(&self) -> Vec<Opening> {
        self.0.lock().iter().cloned().collect()
    }
}

fn now() -> String {
    format_rfc3339_millis(SystemTime::now()).to_string()
}

/// Removes the oldest opening that has ended. There are fewer routes than openings, so one has.
fn evict(openings: &mut VecDeque<Opening>) {
    let ended = openings.iter().position(|opening| opening.closed_at.is_some());
    openings.remove(ended.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_one_opening_with_the_number_of_its_failed_probes() {
        let history = CircuitHistory::default();
        history.opened("/buckets");
        for _ in 0..3 {
            history.probe_failed("/buckets");
        }
        let [opening] = &history.openings()[..] else { panic!("{:?}", history.openings()) };
        assert_eq!((opening.failed_probes, &opening.closed_at), (3, &None));

        history.closed("/buckets");
        let [opening] = &history.openings()[..] else { panic!("{:?}", history.openings()) };
        assert!(opening.closed_at.as_ref() >= Some(&opening.opened_at), "{opening:?}");
    }

    #[test]
    fn each_route_has_its_own_openings() {
        let history = CircuitHistory::default();
        history.opened("/buckets");
        history.opened("/params");
        history.closed("/buckets");
        let ended = history.openings().into_iter().map(|o| (o.route, o.closed_at.is_some()));
        let expected = [("/buckets".to_owned(), true), ("/params".to_owned(), false)];
        assert_eq!(ended.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_oldest_opening_that_has_ended_makes_room() {
        let history = CircuitHistory::default();
        history.opened("/params");
        for _ in 0..2 * OPENINGS {
            history.opened("/buckets");
            history.closed("/buckets");
        }
        let openings = history.openings();
        assert_eq!(openings.len(), OPENINGS);
        assert_eq!((openings[0].route.as_str(), &openings[0].closed_at), ("/params", &None));
    }
}
