//! The progress of a list that loads page by page.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The pages of a list that have arrived so far. The load updates it, and requests that wait for
/// the list read it.
#[derive(Debug, Default)]
pub struct ListProgress(Mutex<Arrived>);

/// The number of pages that have arrived, and the number of names in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// The number of pages.
    pub pages: usize,
    /// The number of names in them.
    pub names: usize,
    first_page_at: Option<Instant>,
}

impl Arrived {
    /// The progress of a load that another replica makes.
    pub fn elsewhere(pages: usize, names: usize) -> Self {
        Self { pages, names, first_page_at: None }
    }
}

impl ListProgress {
    /// Records a page that has arrived with this number of names.
    pub fn add_page(&self, names: usize) {
        let mut arrived = self.0.lock();
        arrived.pages += 1;
        arrived.names += names;
        arrived.first_page_at.get_or_insert_with(Instant::now);
    }

    /// Takes over the progress of another replica, while this one waits for its load.
    pub fn follow(&self, elsewhere: Arrived) {
        *self.0.lock() = elsewhere;
    }

    /// Forgets all pages, because the list starts again at page one.
    pub fn restart(&self) {
        *self.0.lock() = Arrived::default();
    }

    /// Returns the pages that have arrived so far.
    pub fn arrived(&self) -> Arrived {
        *self.0.lock()
    }

    /// Returns the age of the first page: the list is as old as that.
    pub fn age(&self) -> Duration {
        self.arrived().first_page_at.map_or(Duration::ZERO, |at| at.elapsed())
    }
}
