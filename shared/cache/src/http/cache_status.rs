//! The `Cache-Status` header (RFC 9211): one member per hop. The hop nearest to the client comes
//! last.

use http::HeaderValue;

use super::{ResponseMeta, ValueBuffer};

/// The reason for a call to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache had no entry.
    Miss,
    /// The entry was too old to be served without a call.
    Stale,
    /// The client demanded a revalidation.
    Request,
    /// The cache is off.
    Bypass,
}

/// The handling of a request by the cache, as `Cache-Status` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// The cache served a fresh or stale entry.
    Hit,
    /// The cache served an entry because the load failed, or did not end before the request's
    /// deadline.
    Fallback {
        /// The reason for the call. It is `None` if there was no call, because loads back off
        /// after an earlier failure.
        tried: Option<Forward>,
    },
    /// The upstream responded.
    Forwarded {
        /// The reason for the call.
        reason: Forward,
        /// Whether the cache has stored the response.
        stored: bool,
        /// Whether another request had started the call.
        collapsed: bool,
    },
}

impl ResponseMeta<'_> {
    /// Formats the members of the upstream hops, then this cache's member. Upstream members that are
    /// no header value are left out. The function avoids `write!`, which takes longer than the lookup
    /// of the entry.
    pub(crate) fn cache_status(&self, upstream: Option<&str>) -> HeaderValue {
        let mut out = ValueBuffer::new();
        if let Some(upstream) = upstream {
            out.extend_from_slice(upstream.as_bytes());
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(self.hop.as_bytes());
        let mut write = |text: &str| out.extend_from_slice(text.as_bytes());
        let mut digits = itoa::Buffer::new();
        let ttl = digits.format(self.ttl);
        match self.handling {
            Handling::Hit => {
                write("; hit; ttl=");
                write(ttl);
            }
            Handling::Fallback { tried } => {
                write(tried.map_or("; hit", Forward::parameter));
                write("; ttl=");
                write(ttl);
                write("; detail=stale-if-error");
            }
            Handling::Forwarded { reason, stored, collapsed } => {
                write(reason.parameter());
                write(if stored { "; stored" } else { "" });
                write(if collapsed { "; collapsed" } else { "" });
            }
        }
        match (HeaderValue::from_bytes(&out), upstream) {
            (Ok(value), _) => value,
            (Err(_), Some(_)) => self.cache_status(None),
            (Err(_), None) => unreachable!("a hop's name is a token"),
        }
    }
}

impl Handling {
    /// The rank of the handling in a response that is made of several: a fallback tells more than a
    /// call, and a call more than a hit.
    pub(crate) fn severity(self) -> u8 {
        match self {
            Self::Hit => 0,
            Self::Forwarded { .. } => 1,
            Self::Fallback { .. } => 2,
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

    fn written(handling: Handling, ttl: i64) -> HeaderValue {
        ResponseMeta { hop: "aux-service", handling, age: 0, ttl }.cache_status(None)
    }

    #[test]
    fn each_handling_is_written_as_in_rfc_9211() {
        let forwarded = |reason, stored, collapsed| {
            written(Handling::Forwarded { reason, stored, collapsed }, 60)
        };
        assert_eq!(written(Handling::Hit, 12), "aux-service; hit; ttl=12");
        assert_eq!(written(Handling::Hit, -5), "aux-service; hit; ttl=-5");
        assert_eq!(forwarded(Forward::Miss, true, false), "aux-service; fwd=miss; stored");
        assert_eq!(
            forwarded(Forward::Miss, true, true),
            "aux-service; fwd=miss; stored; collapsed"
        );
        assert_eq!(forwarded(Forward::Request, false, false), "aux-service; fwd=request");
        assert_eq!(forwarded(Forward::Bypass, false, false), "aux-service; fwd=bypass");
        assert_eq!(
            written(Handling::Fallback { tried: Some(Forward::Stale) }, -90),
            "aux-service; fwd=stale; ttl=-90; detail=stale-if-error"
        );
        assert_eq!(
            written(Handling::Fallback { tried: None }, -90),
            "aux-service; hit; ttl=-90; detail=stale-if-error"
        );
    }

    #[test]
    fn the_nearest_hop_is_the_last_member() {
        let here = ResponseMeta { hop: "main-api", handling: Handling::Hit, age: 48, ttl: 12 };
        let behind = "aux-service; fwd=miss; stored";
        assert_eq!(
            here.cache_status(Some(behind)),
            "aux-service; fwd=miss; stored, main-api; hit; ttl=12"
        );
        let injected = "aux-service\r\nset-cookie: a=b";
        assert_eq!(here.cache_status(Some(injected)), "main-api; hit; ttl=12");
    }
}
