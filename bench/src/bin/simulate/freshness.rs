//! The limits on a response's age and its state, as `cache::http::Freshness` has them.

use crate::Seconds;

/// The limits of a response. Ages count from the response of AWS, across both services.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Freshness {
    pub(crate) lifetime: Seconds,
    pub(crate) while_revalidate: Seconds,
    pub(crate) if_error: Seconds,
}

/// The state of a response at some age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    /// Served at once, while a refresh runs.
    Stale,
    /// Served only if the load fails.
    StaleIfError,
    Expired,
}

impl Freshness {
    pub(crate) fn state(&self, age: Seconds) -> State {
        if age < self.lifetime {
            State::Fresh
        } else if age < self.lifetime + self.while_revalidate {
            State::Stale
        } else if age < self.bound() {
            State::StaleIfError
        } else {
            State::Expired
        }
    }

    /// Returns the age at which the response expires.
    pub(crate) fn bound(&self) -> Seconds {
        self.lifetime + self.while_revalidate.max(self.if_error)
    }

    /// Shortens the lifetime of a response of age zero by a random part of this fraction at most.
    pub(crate) fn jittered(self, fraction: f64, random: f64) -> Self {
        Self { lifetime: self.lifetime * (1.0 - fraction * random), ..self }
    }

    /// Returns the limits after a change: the response serves only if a load fails.
    pub(crate) fn only_if_error(self) -> Self {
        Self { lifetime: 0.0, while_revalidate: 0.0, if_error: self.bound() }
    }

    /// Returns the limits of a response that may be outdated: it is stale from this age on.
    pub(crate) fn stale_from(self, age: Seconds) -> Self {
        if self.state(age) != State::Fresh {
            return self;
        }
        let bound = self.bound();
        let while_revalidate = (age + self.while_revalidate).min(bound);
        Self { lifetime: 0.0, while_revalidate, if_error: bound }
    }

    /// Returns the limits as `Cache-Control` carries them, in whole seconds.
    pub(crate) fn in_whole_seconds(self) -> Self {
        Self {
            lifetime: (self.lifetime + 0.5).floor(),
            while_revalidate: self.while_revalidate.floor(),
            if_error: self.if_error.floor(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Freshness = Freshness { lifetime: 10.0, while_revalidate: 5.0, if_error: 60.0 };

    #[test]
    fn a_response_passes_through_its_states_in_order() {
        use State::{Expired, Fresh, Stale, StaleIfError};
        let states = [9.0, 10.0, 14.0, 15.0, 69.0, 70.0].map(|age| RULES.state(age));
        assert_eq!(states, [Fresh, Stale, Stale, StaleIfError, StaleIfError, Expired]);
    }

    #[test]
    fn jitter_shortens_the_lifetime_by_its_fraction_at_most() {
        assert_eq!(RULES.jittered(0.1, 0.0).lifetime, 10.0);
        assert_eq!(RULES.jittered(0.1, 1.0).lifetime, 9.0);
    }

    #[test]
    fn an_outdated_response_keeps_its_bound() {
        let outdated = RULES.only_if_error();
        assert_eq!((outdated.state(0.0), outdated.bound()), (State::StaleIfError, 70.0));
        let stale = RULES.stale_from(3.0);
        assert_eq!(
            [3.0, 7.9, 8.0].map(|age| stale.state(age)),
            [State::Stale, State::Stale, State::StaleIfError]
        );
    }

    #[test]
    fn cache_control_has_whole_seconds() {
        let written = Freshness { lifetime: 1.85, while_revalidate: 2.9, if_error: 3.0 };
        let read = Freshness { lifetime: 2.0, while_revalidate: 2.0, if_error: 3.0 };
        assert_eq!(written.in_whole_seconds(), read);
    }
}
