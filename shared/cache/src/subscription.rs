//! Subscriptions: owners of a cache that wait for an event of one key.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::effect::Effect;

/// The keys with subscriptions, and the number of changes that concerned each. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Subscriptions(Arc<Mutex<HashMap<Arc<str>, watch::Sender<u64>>>>);

impl Subscriptions {
    pub(crate) fn subscribe(&self, key: &str) -> Subscription {
        let mut senders = self.0.lock();
        let (key, events) = match senders.get_key_value(key) {
            Some((key, sender)) => (Arc::clone(key), sender.subscribe()),
            None => {
                let (sender, events) = watch::channel(0);
                let key: Arc<str> = key.into();
                senders.insert(Arc::clone(&key), sender);
                (key, events)
            }
        };
        let changes = *events.borrow();
        Subscription { subscriptions: self.clone(), key, events, changes }
    }

    /// Wakes the subscriptions of a key.
    pub(crate) fn wake(&self, key: &str) {
        if let Some(sender) = self.0.lock().get(key) {
            sender.send_modify(|_| {});
        }
    }

    /// Wakes the subscriptions of the keys that a change concerns.
    pub(crate) fn wake_all(&self, effect: impl Fn(&str) -> Effect) {
        for (key, sender) in self.0.lock().iter() {
            if effect(key) != Effect::Keep {
                sender.send_modify(|changes| *changes += 1);
            }
        }
    }
}

/// A subscription to the events of one key: a load ended, or a change concerned the key.
pub struct Subscription {
    subscriptions: Subscriptions,
    key: Arc<str>,
    events: watch::Receiver<u64>,
    /// The number of changes that were reported.
    changes: u64,
}

impl Subscription {
    /// Waits for an event since the previous call, or since the subscription.
    pub async fn event(&mut self) {
        // The sender stays as long as a subscription does.
        let _ = self.events.changed().await;
        self.changes = *self.events.borrow();
    }

    /// Waits for a change that concerns the key and was not reported before, and for no end of a load.
    pub async fn change(&mut self) {
        let known = self.changes;
        if let Ok(changes) = self.events.wait_for(|changes| *changes != known).await {
            self.changes = *changes;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut senders = self.subscriptions.0.lock();
        // This subscription still counts.
        if senders.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            senders.remove(&self.key);
        }
    }
}
