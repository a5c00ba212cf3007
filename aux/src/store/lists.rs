//! The lists that are loading, by cache key.

use std::{collections::HashMap, ops::Deref, sync::Arc};

use parking_lot::Mutex;

use crate::{
    error::Error,
    progress::{Arrived, ListProgress},
};

/// The progress of each list that is loading. Cloning is shallow.
#[derive(Clone, Default)]
pub(super) struct LoadingLists(Arc<Mutex<HashMap<String, Arc<ListProgress>>>>);

impl LoadingLists {
    /// Registers the load of a list, until the result is dropped.
    pub(super) fn start(&self, key: String) -> LoadingList {
        let progress = Arc::<ListProgress>::default();
        self.0.lock().insert(key.clone(), Arc::clone(&progress));
        LoadingList { lists: self.clone(), key, progress }
    }

    /// Returns the error of a request whose deadline ends before the load of its list. A load
    /// without a page has nothing to show for itself: AWS is too slow, as for any other call.
    pub(super) fn late(&self, key: &str) -> Error {
        let progress = self.0.lock().get(key).map(|progress| progress.arrived());
        match progress {
            Some(Arrived { pages: pages @ 1.., names, .. }) => Error::ListLoading { pages, names },
            _ => Error::AwsTimeout(None),
        }
    }
}

/// The progress of one list that is loading.
pub(super) struct LoadingList {
    lists: LoadingLists,
    key: String,
    progress: Arc<ListProgress>,
}

impl Deref for LoadingList {
    type Target = ListProgress;

    fn deref(&self) -> &ListProgress {
        &self.progress
    }
}

impl Drop for LoadingList {
    fn drop(&mut self) {
        let mut lists = self.lists.0.lock();
        // An entry that was invalidated during its load may have a second load by now.
        if lists.get(&self.key).is_some_and(|current| Arc::ptr_eq(current, &self.progress)) {
            lists.remove(&self.key);
        }
    }
}
