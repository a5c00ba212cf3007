//! Subscriptions: owners of a cache that wait for an event of one key.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::effect::Effect;

/// The keys with subscriptions. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Subscriptions(Arc<Mutex<HashMap<Arc<str>, watch::Sender<()>>>>);

impl Subscriptions {
    pub(crate) fn subscribe(&self, key: &str) -> Subscription {
        let mut senders = self.0.lock();
        if let Some((key, sender)) = senders.get_key_value(key) {
            let (key, events) = (Arc::clone(key), sender.subscribe());
            return Subscription { subscriptions: self.clone(), key, events };
        }
        let (sender, events) = watch::channel(());
        let key: Arc<str> = key.into();
        senders.insert(Arc::clone(&key), sender);
        Subscription { subscriptions: self.clone(), key, events }
    }

    /// Wakes the subscriptions of a key.
    pub(crate) fn wake(&self, key: &str) {
        if let Some(sender) = self.0.lock().get(key) {
            sender.send_replace(());
        }
    }

    /// Wakes the subscriptions of the keys that a change concerns.
    pub(crate) fn wake_all(&self, effect: impl Fn(&str) -> Effect) {
        for (key, sender) in self.0.lock().iter() {
            if effect(key) != Effect::Keep {
                sender.send_replace(());
            }
        }
    }
}

/// A subscription to the events of one key: a load ended, or a change concerned the key.
pub struct Subscription {
    subscriptions: Subscriptions,
    key: Arc<str>,
    events: watch::Receiver<()>,
}

impl Subscription {
    /// Waits for an event since the previous call, or since the subscription.
    pub async fn event(&mut self) {
        // The sender stays as long as a subscription does.
        let _ = self.events.changed().await;
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
