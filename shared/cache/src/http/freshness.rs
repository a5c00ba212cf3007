//! The lifetimes of a response, written to and read from `Cache-Control`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::{
    ValueBuffer,
    list::{Quoting, members},
};

/// Upper bound of all durations here (RFC 9111, 1.2.2): 68 years, so that sums of times cannot
/// overflow.
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// The limits on a response's age, and its age at load.
///
/// Ages count from the origin's response, across all hops. A response that arrives with an age
/// reaches each limit sooner.
///
/// The default is never fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Age up to which the response is fresh.
    pub lifetime: Duration,
    /// Time after the lifetime in which the cache may serve the response at once while a refresh
    /// runs.
    pub stale_while_revalidate: Duration,
    /// Time after the lifetime in which the cache may serve the response if the upstream fails.
    pub stale_if_error: Duration,
    /// Age of the response at its load. It is zero if the response comes directly from the origin.
    pub age_at_load: Duration,
}

/// The state of a response at some age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The cache serves the response.
    Fresh,
    /// The cache serves the response and refreshes it in the background (`stale-while-revalidate`).
    Stale,
    /// The cache serves the response only if the upstream fails (`stale-if-error`).
    StaleIfError,
    /// The response has expired. The cache never serves it.
    Expired,
}

impl Freshness {
    /// Creates the freshness of a response that comes from the origin now.
    pub fn new(lifetime: Duration, while_revalidate: Duration, if_error: Duration) -> Self {
        Self {
            lifetime: lifetime.min(LONGEST),
            stale_while_revalidate: while_revalidate.min(LONGEST),
            stale_if_error: if_error.min(LONGEST),
            age_at_load: Duration::ZERO,
        }
    }

    /// Shortens the remaining lifetime at random by at most this fraction, so that entries loaded
    /// together are not refreshed together. It never lengthens the lifetime, so the bound holds.
    #[must_use]
    pub fn jittered(mut self, fraction: f64) -> Self {
        if fraction > 0.0 {
            let cut = self.remaining().mul_f64(fraction.min(1.0) * fastrand::f64());
            self.lifetime -= cut.min(self.lifetime);
        }
        self
    }

    /// Accounts for a load that took this long and whose first part is therefore this old.
    ///
    /// The lifetime counts from the end of the load: a response that took longer than its lifetime
    /// to load would otherwise be loaded again without end. `stale-while-revalidate` lengthens by
    /// the same time, because the next load will take as long. The bound still counts from the
    /// first part, so `stale-if-error` shrinks.
    #[must_use]
    pub fn loaded_over(mut self, duration: Duration) -> Self {
        let bound = self.bound();
        self.age_at_load = duration.min(LONGEST);
        self.lifetime = self.lifetime.saturating_add(duration).min(bound);
        let stale = bound - self.lifetime;
        self.stale_while_revalidate =
            self.stale_while_revalidate.saturating_add(duration).min(stale);
        self.stale_if_error = self.stale_if_error.min(stale);
        self
    }

    /// Ends the lifetime at this age, because the response may be outdated: it is stale from now on,
    /// for as long as it would have been at the end of its lifetime. The bound stays.
    #[must_use]
    pub fn stale_from(self, age: Duration) -> Self {
        if self.state(age) != State::Fresh {
            return self;
        }
        let bound = self.bound();
        let stale_while_revalidate = age.saturating_add(self.stale_while_revalidate).min(bound);
        Self { lifetime: Duration::ZERO, stale_while_revalidate, stale_if_error: bound, ..self }
    }

    /// Ends the lifetime, because the response is outdated. Only a failure of the upstream makes it
    /// usable. The bound stays.
    #[must_use]
    pub fn only_if_error(self) -> Self {
        let stale_while_revalidate = Duration::ZERO;
        let stale_if_error = self.bound();
        Self { lifetime: Duration::ZERO, stale_while_revalidate, stale_if_error, ..self }
    }

    /// Returns the lifetime that remains at the time of the load.
    pub fn remaining(&self) -> Duration {
        self.lifetime.saturating_sub(self.age_at_load)
    }

    /// Returns the age at which the response expires.
    pub fn bound(&self) -> Duration {
        self.lifetime.saturating_add(self.stale_while_revalidate.max(self.stale_if_error))
    }

    /// Returns the state of the response at this age.
    pub fn state(&self, age: Duration) -> State {
        if age < self.lifetime {
            State::Fresh
        } else if age < self.lifetime.saturating_add(self.stale_while_revalidate) {
            State::Stale
        } else if age < self.bound() {
            State::StaleIfError
        } else {
            State::Expired
        }
    }

    /// Returns the `Cache-Control` header.
    ///
    /// `max-age` is rounded to the nearest second, because HTTP has no fractions. A lifetime of 1 s
    /// that jitter shortened to 0.95 s becomes 1, and a lifetime of 200 ms becomes 0.
    pub fn cache_control(&self) -> HeaderValue {
        let mut out = ValueBuffer::new();
        let max_age = self.lifetime.saturating_add(Duration::from_millis(500));
        for (name, value) in [
            ("max-age=", max_age),
            (", stale-while-revalidate=", self.stale_while_revalidate),
            (", stale-if-error=", self.stale_if_error),
        ] {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(itoa::Buffer::new().format(value.as_secs()).as_bytes());
        }
        HeaderValue::from_bytes(&out).expect("names and digits are a header value")
    }

    /// Reads the freshness of an upstream's response. Returns `None` if a shared cache must not
    /// store the response. Also returns `None` if the response has no lifetime: a guessed lifetime
    /// is worse than another call.
    ///
    /// `response_delay` is the duration of the call. The response aged by it (RFC 9111, 4.2.3).
    pub fn read(headers: &HeaderMap, response_delay: Duration) -> Option<Self> {
        let directives = Directives::read(headers);
        if directives.no_store || directives.no_cache {
            return None;
        }
        let lifetime = directives.s_maxage.or(directives.max_age)?;
        let stale =
            |window: Option<Duration>| window.filter(|_| !directives.strict).unwrap_or_default();
        Some(Self {
            lifetime,
            stale_while_revalidate: stale(directives.stale_while_revalidate),
            stale_if_error: stale(directives.stale_if_error),
            age_at_load: age(headers).saturating_add(response_delay).min(LONGEST),
        })
    }
}

/// Returns whether a client demands a revalidation with `Cache-Control: no-cache`.
pub fn forces_revalidation(request: &HeaderMap) -> bool {
    request.contains_key(header::CACHE_CONTROL) && Directives::read(request).no_cache
}

#[derive(Default)]
struct Directives {
    max_age: Option<Duration>,
    s_maxage: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
    /// Forbids storing. `private` sets it too, because this is a shared cache.
    no_store: bool,
    no_cache: bool,
    /// Forbids stale responses. `s-maxage` sets it too (RFC 9111, 5.2.2.10).
    strict: bool,
}

impl Directives {
    /// Reads the directives. Unknown ones are ignored, and the first of a repeated one counts (RFC
    /// 9111, 4.2.1).
    fn read(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        for member in members(headers, &header::CACHE_CONTROL, Quoting::Escapes) {
            let equals = member.iter().position(|&byte| byte == b'=');
            let (name, value) = member.split_at(equals.unwrap_or(member.len()));
            let value = value.get(1..).unwrap_or_default();
            let name = name.trim_ascii();
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("max-age") {
                keep_first(&mut read.max_age, value);
            } else if is("s-maxage") {
                read.strict = true;
                keep_first(&mut read.s_maxage, value);
            } else if is("stale-while-revalidate") {
                keep_first(&mut read.stale_while_revalidate, value);
            } else if is("stale-if-error") {
                keep_first(&mut read.stale_if_error, value);
            } else if is("no-store") || is("private") {
                read.no_store = true;
            } else if is("no-cache") {
                read.no_cache = true;
            } else if is("must-revalidate") || is("proxy-revalidate") {
                read.strict = true;
            }
        }
        read
    }
}

/// Stores the first value of a directive. An invalid value counts as zero, so that the response is
/// stale rather than fresh (RFC 9111, 4.2.1).
fn keep_first(slot: &mut Option<Duration>, value: &[u8]) {
    slot.get_or_insert_with(|| seconds(value).unwrap_or_default());
}

/// Reads `Age`. The first member of a list counts, and an invalid value is ignored (RFC 9111, 5.1).
fn age(headers: &HeaderMap) -> Duration {
    members(headers, &header::AGE, Quoting::Verbatim).next().and_then(seconds).unwrap_or_default()
}

/// Parses digits, with or without quotes. A number beyond the upper bound becomes the upper bound.
fn seconds(value: &[u8]) -> Option<Duration> {
    let value = value.trim_ascii();
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let digits = unquoted.unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(number).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn headers(cache_control: &str, age: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, cache_control.parse().expect("a header value"));
        headers.insert(header::AGE, age.parse().expect("a header value"));
        headers
    }

    fn read(cache_control: &str, age: &str) -> Option<Freshness> {
        Freshness::read(&headers(cache_control, age), Duration::ZERO)
    }

    #[test]
    fn a_written_freshness_is_read_back() {
        let written = Freshness::new(60 * SECOND, 30 * SECOND, 3600 * SECOND);
        let header = written.cache_control();
        assert_eq!(header, "max-age=60, stale-while-revalidate=30, stale-if-error=3600");
        let read = read(header.to_str().expect("text"), "7");
        assert_eq!(read, Some(Freshness { age_at_load: 7 * SECOND, ..written }));
    }

    #[test]
    fn a_response_ages_during_the_call() {
        let read = Freshness::read(&headers("max-age=60", "7"), 2 * SECOND).expect("cacheable");
        assert_eq!(read.age_at_load, 9 * SECOND);
        assert_eq!(read.remaining(), 51 * SECOND);
    }

    #[test]
    fn max_age_is_rounded_to_the_nearest_second() {
        let written = |millis| {
            let lifetime = Duration::from_millis(millis);
            Freshness::new(lifetime, Duration::ZERO, Duration::ZERO).cache_control()
        };
        assert_eq!(written(950), "max-age=1, stale-while-revalidate=0, stale-if-error=0");
        assert_eq!(written(200), "max-age=0, stale-while-revalidate=0, stale-if-error=0");
    }

    #[test]
    fn a_response_passes_through_its_states_in_order() {
        let rules = Freshness::new(10 * SECOND, 5 * SECOND, 60 * SECOND);
        let states = [9, 10, 14, 15, 69, 70].map(|age| rules.state(age * SECOND));
        use State::{Expired, Fresh, Stale, StaleIfError};
        assert_eq!(states, [Fresh, Stale, Stale, StaleIfError, StaleIfError, Expired]);
    }

    #[test]
    fn the_lifetime_counts_from_the_end_of_a_long_load_and_the_bound_from_its_start() {
        let rules = Freshness::new(60 * SECOND, 30 * SECOND, 3600 * SECOND);
        assert_eq!(rules.loaded_over(Duration::ZERO), rules);
        let long = rules.loaded_over(267 * SECOND);
        assert_eq!((long.age_at_load, long.remaining()), (267 * SECOND, 60 * SECOND));
        assert_eq!((long.bound(), long.stale_while_revalidate), (rules.bound(), 297 * SECOND));
        let longer = rules.loaded_over(3640 * SECOND);
        assert_eq!((longer.remaining(), longer.bound()), (20 * SECOND, rules.bound()));
        assert_eq!(rules.loaded_over(5000 * SECOND).state(5000 * SECOND), State::Expired);
    }

    #[test]
    fn a_response_that_forbids_storing_has_no_freshness() {
        for forbidden in
            ["no-store, max-age=60", "max-age=60, NO-STORE", "private, max-age=60", "no-cache", ""]
        {
            assert_eq!(read(forbidden, "0"), None, "{forbidden}");
        }
        assert_eq!(Freshness::read(&HeaderMap::new(), Duration::ZERO), None);
        assert_eq!(read("no-cache=\"set-cookie\", max-age=60", "0"), None);
        assert_eq!(read("x=\"no-store\", max-age=60", "0").map(|f| f.lifetime), Some(60 * SECOND));
    }

    #[test]
    fn stale_responses_are_usable_only_if_the_upstream_allows_it() {
        for strict in ["must-revalidate, max-age=60", "s-maxage=60", "max-age=60, proxy-revalidate"]
        {
            let read = read(&format!("{strict}, stale-if-error=9"), "0").expect("cacheable");
            assert_eq!(read.bound(), 60 * SECOND, "{strict}");
        }
        assert_eq!(read("max-age=60", "0").map(|f| f.bound()), Some(60 * SECOND));
    }

    #[test]
    fn case_and_quotes_are_tolerated_and_invalid_values_are_stale() {
        let lifetime = |text: &str| read(text, "0").map(|f| f.lifetime);
        assert_eq!(lifetime(" Max-Age = \"60\" , extension=1"), Some(60 * SECOND));
        assert_eq!(lifetime("max-age=5, max-age=600"), Some(5 * SECOND));
        assert_eq!(lifetime("max-age=5, s-maxage=7"), Some(7 * SECOND));
        assert_eq!(lifetime("max-age=99999999999999999999999999"), Some(LONGEST));
        for nonsense in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=+5"] {
            assert_eq!(lifetime(nonsense), Some(Duration::ZERO), "{nonsense}");
        }
        assert_eq!(read("max-age=60", "5, 7").map(|f| f.age_at_load), Some(5 * SECOND));
        assert_eq!(read("max-age=60", "soon").map(|f| f.age_at_load), Some(Duration::ZERO));
    }

    #[test]
    fn only_no_cache_forces_a_revalidation() {
        assert!(forces_revalidation(&headers("No-Cache", "0")));
        assert!(!forces_revalidation(&headers("max-age=0", "0")));
        assert!(!forces_revalidation(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn the_parser_never_panics(
            control in proptest::collection::vec(any::<u8>(), 0..80),
            age in proptest::collection::vec(any::<u8>(), 0..40),
            delay in any::<u64>(),
        ) {
            let mut headers = HeaderMap::new();
            for (name, bytes) in [(header::CACHE_CONTROL, control), (header::AGE, age)] {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    headers.append(name, value);
                }
            }
            if let Some(read) = Freshness::read(&headers, Duration::from_millis(delay)) {
                prop_assert!(read.bound() <= 2 * LONGEST && read.age_at_load <= LONGEST);
            }
        }

        #[test]
        fn directives_are_found_among_any_others(
            before in "[ ,a-z=\"\\\\]{0,20}", lifetime in 0_u32..100_000, window in 0_u32..100_000,
        ) {
            // An open quote includes the rest of the line, so the directives would not be found.
            prop_assume!(!before.contains('"'));
            let text = format!("{before},max-age={lifetime} ,\tSTALE-IF-ERROR=\"{window}\"");
            let read = read(&text, "0").expect("cacheable");
            prop_assert_eq!(read.lifetime, lifetime * SECOND);
            prop_assert_eq!(read.stale_if_error, window * SECOND);
        }

        #[test]
        fn no_load_however_long_moves_the_bound(
            lifetime in any::<u32>(), stale in any::<u32>(), error in any::<u32>(),
            duration in any::<u64>(),
        ) {
            let [lifetime, stale, error] =
                [lifetime, stale, error].map(|seconds| Duration::from_secs(seconds.into()));
            let rules = Freshness::new(lifetime, stale, error);
            let long = rules.loaded_over(Duration::from_millis(duration));
            prop_assert!(long.bound() <= rules.bound());
            prop_assert!(long.remaining() <= rules.lifetime);
        }

        #[test]
        fn jitter_shortens_by_its_fraction_at_most(
            lifetime in any::<u64>(), age in any::<u64>(), fraction in 0.0..=1.0_f64,
        ) {
            let mut rules = Freshness::new(Duration::from_secs(lifetime), SECOND, SECOND);
            rules.age_at_load = Duration::from_millis(age).min(LONGEST);
            let jittered = rules.jittered(fraction);
            prop_assert!(jittered.lifetime <= rules.lifetime);
            let least = rules.remaining().mul_f64(1.0 - fraction).saturating_sub(SECOND);
            prop_assert!(jittered.remaining() >= least);
        }
    }
}
