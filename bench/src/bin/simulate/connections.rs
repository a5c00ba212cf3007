//! Connections that stay with the replica that they first reached, until they are too old.

use fastrand::Rng;

use crate::Seconds;

/// The connections of each caller to the service behind it. A caller uses them in turn.
pub(crate) struct Connections {
    slots: Vec<Slot>,
    per_caller: usize,
    /// The number of calls of each caller so far.
    calls: Vec<u32>,
    replicas: usize,
    max_age: Seconds,
}

#[derive(Clone, Copy)]
struct Slot {
    replica: u16,
    opened: Seconds,
}

impl Connections {
    /// Opens connections to random replicas. Their ages are spread, as if all had run for long.
    pub(crate) fn new(
        callers: usize,
        per_caller: usize,
        replicas: usize,
        max_age: Seconds,
        random: &mut Rng,
    ) -> Self {
        let slots = (0..callers * per_caller)
            .map(|_| Slot { replica: pick(replicas, random), opened: -max_age * random.f64() })
            .collect();
        Self { slots, per_caller, calls: vec![0; callers], replicas, max_age }
    }

    /// Returns the replica that the next call of this caller reaches. The server closes a connection
    /// with the first response after its maximum age, so the call after that opens another one.
    pub(crate) fn next(&mut self, caller: usize, now: Seconds, random: &mut Rng) -> usize {
        let turn = self.calls[caller] as usize % self.per_caller;
        self.calls[caller] = self.calls[caller].wrapping_add(1);
        let slot = &mut self.slots[caller * self.per_caller + turn];
        let replica = slot.replica;
        if now - slot.opened >= self.max_age {
            *slot = Slot { replica: pick(self.replicas, random), opened: now };
        }
        usize::from(replica)
    }
}

fn pick(replicas: usize, random: &mut Rng) -> u16 {
    random.u16(0..replicas as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_with_its_replica_until_it_is_too_old() {
        let mut random = Rng::with_seed(1);
        let mut connections = Connections::new(1, 1, 1000, 30.0, &mut random);
        let first = connections.next(0, 30.0, &mut random);
        let second = connections.next(0, 31.0, &mut random);
        assert_ne!(first, second);
        assert_eq!(connections.next(0, 59.0, &mut random), second);
        assert_eq!(connections.next(0, 60.0, &mut random), second, "its last response");
        assert_ne!(connections.next(0, 60.0, &mut random), second);
    }

    #[test]
    fn a_caller_uses_its_connections_in_turn() {
        let mut random = Rng::with_seed(1);
        let mut connections = Connections::new(1, 8, 1000, 30.0, &mut random);
        let first: Vec<_> = (0..8).map(|_| connections.next(0, 0.0, &mut random)).collect();
        let second: Vec<_> = (0..8).map(|_| connections.next(0, 0.0, &mut random)).collect();
        assert_eq!(first, second);
    }
}
