//! The header `Date` (RFC 9110, 6.6.1), written once a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Date {
    text: String,
    /// When the second after is there.
    end: Option<Instant>,
}

impl Date {
    /// The date at this moment. A clock that was set is noticed within a second.
    pub(crate) fn at(&mut self, now: Instant) -> &[u8] {
        if self.end.is_none_or(|end| now >= end) {
            let time = SystemTime::now();
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.text = httpdate::fmt_http_date(time);
            self.end = Some(now + SECOND - Duration::from_nanos(since.subsec_nanos().into()));
        }
        self.text.as_bytes()
    }
}
