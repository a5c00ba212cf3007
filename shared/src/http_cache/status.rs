//! `Cache-Status` (RFC 9211): one member a hop, the nearest to the client last.

use std::fmt::{self, Write as _};

use http::HeaderValue;

use super::Telling;

/// Why a request went on to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Nothing was kept.
    Miss,
    /// What was kept may no longer be answered unasked.
    Stale,
    /// The client wanted it so.
    Request,
    /// This cache is switched off.
    Bypass,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// From the cache, fresh or stale.
    Hit,
    /// From the cache, because the source failed. `tried` is `None` while it is left in peace
    /// after an earlier failure.
    Fallback { tried: Option<Forward> },
    /// By the source. `collapsed`: by a call that another request had begun.
    Forwarded { why: Forward, stored: bool, collapsed: bool },
}

impl Telling<'_> {
    /// The members of the hops behind, then ours.
    pub fn cache_status(&self, upstream: Option<&HeaderValue>) -> HeaderValue {
        let mut text = String::with_capacity(96 + upstream.map_or(0, HeaderValue::len));
        if let Some(upstream) = upstream.and_then(|upstream| upstream.to_str().ok()) {
            text.push_str(upstream);
            text.push_str(", ");
        }
        write!(text, "{self}").expect("a String takes every write");
        HeaderValue::try_from(text).expect("a hop's name is a token")
    }
}

impl fmt::Display for Telling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hop)?;
        match self.handling {
            Handling::Hit => write!(f, "; hit; ttl={}", self.ttl),
            Handling::Fallback { tried } => {
                f.write_str(tried.map_or("; hit", Forward::parameter))?;
                write!(f, "; ttl={}; detail=stale-if-error", self.ttl)
            }
            Handling::Forwarded { why, stored, collapsed } => {
                f.write_str(why.parameter())?;
                f.write_str(if stored { "; stored" } else { "" })?;
                f.write_str(if collapsed { "; collapsed" } else { "" })
            }
        }
    }
}

impl Forward {
    const fn parameter(self) -> &'static str {
        match self {
            Self::Miss => "; fwd=miss",
            Self::Stale => "; fwd=stale",
            Self::Request => "; fwd=request",
            Self::Bypass => "; fwd=bypass",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(handling: Handling, ttl: i64) -> String {
        Telling { hop: "aux-service", handling, age: 0, ttl }.to_string()
    }

    #[test]
    fn each_handling_is_told_as_rfc_9211_writes_it() {
        let forwarded =
            |why, stored, collapsed| told(Handling::Forwarded { why, stored, collapsed }, 60);
        assert_eq!(told(Handling::Hit, 12), "aux-service; hit; ttl=12");
        assert_eq!(told(Handling::Hit, -5), "aux-service; hit; ttl=-5");
        assert_eq!(forwarded(Forward::Miss, true, false), "aux-service; fwd=miss; stored");
        assert_eq!(
            forwarded(Forward::Miss, true, true),
            "aux-service; fwd=miss; stored; collapsed"
        );
        assert_eq!(forwarded(Forward::Request, false, false), "aux-service; fwd=request");
        assert_eq!(forwarded(Forward::Bypass, false, false), "aux-service; fwd=bypass");
        assert_eq!(
            told(Handling::Fallback { tried: Some(Forward::Stale) }, -90),
            "aux-service; fwd=stale; ttl=-90; detail=stale-if-error"
        );
        assert_eq!(
            told(Handling::Fallback { tried: None }, -90),
            "aux-service; hit; ttl=-90; detail=stale-if-error"
        );
    }

    #[test]
    fn the_nearest_hop_is_the_last_member() {
        let here = Telling { hop: "main-api", handling: Handling::Hit, age: 48, ttl: 12 };
        let behind = HeaderValue::from_static("aux-service; fwd=miss; stored");
        assert_eq!(
            here.cache_status(Some(&behind)),
            "aux-service; fwd=miss; stored, main-api; hit; ttl=12"
        );
    }
}
