//! Records that somebody else has written to the engine.

use std::time::Duration;

use e2e::{
    MARK,
    files::Files,
    fleet::{Fleet, replica, start_replicas},
    service::Service,
};
use redis::cmd;
use tokio::time::{sleep, timeout};

const VALUE: &str = "hush: a value";
const OTHER: &str = "hush: a walue";

fn key(number: u32) -> String {
    format!("{MARK}-key-{number}-of-the-records-0123456789abcdef")
}

/// A fleet of one replica whose records are authenticated, and which has stored one.
struct Stored {
    fleet: Fleet,
    files: Files,
    record: String,
}

impl Stored {
    async fn start() -> Self {
        let files = Files::new();
        let path = files.write("key-1", key(1));
        let fleet = Fleet::with(1, |replica| replica.with("SHARED_CACHE_KEY_FILE", &path)).await;
        fleet.aws.put("/app/key", VALUE).await;
        let record = store(&fleet, "/app/key").await;
        Self { fleet, files, record }
    }

    /// Starts another replica, with this number of a key or without one.
    async fn another(&self, number: Option<u32>) -> Service {
        let setup = replica(&self.fleet.aws.proxy.url, &self.fleet.engine.url());
        let setup = match number {
            None => setup,
            Some(number) => {
                let path = self.files.write(&format!("key-{number}"), key(number));
                setup.with("SHARED_CACHE_KEY_FILE", &path)
            }
        };
        start_replicas(1, &setup).await.remove(0)
    }

    /// Requests a parameter and returns its value and the number of reads that it took.
    async fn get(&self, replica: &Service, name: &str) -> (String, usize) {
        let before = self.fleet.reads().len();
        let body = replica.get(&format!("/param{name}")).await.ok();
        (body["value"].as_str().unwrap().to_owned(), self.fleet.reads().len() - before)
    }
}

/// Loads a parameter and returns the key of its record.
async fn store(fleet: &Fleet, name: &str) -> String {
    fleet.replicas[0].get(&format!("/param{name}")).await.ok();
    let suffix = format!("{{/param{name}}}");
    let stored = async {
        loop {
            let keys = fleet.engine.keys(name).await;
            match keys.into_iter().find(|key| key.ends_with(&suffix)) {
                Some(key) => return key,
                None => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(Duration::from_secs(20), stored).await.expect("the record is stored")
}

#[tokio::test]
async fn a_record_is_read_only_with_the_key_that_authenticates_it() {
    let stored = Stored::start().await;
    for (number, reads) in [(1, 0), (2, 1), (2, 0), (1, 1), (1, 0)] {
        let replica = stored.another(Some(number)).await;
        let (value, read) = stored.get(&replica, "/app/key").await;
        assert_eq!(value, VALUE);
        assert_eq!(read, reads, "with the key {number}");
        super::stored(&stored.fleet.engine).await;
    }
}

#[tokio::test]
async fn an_authenticated_record_that_was_changed_by_hand_is_a_miss() {
    let stored = Stored::start().await;
    let engine = &stored.fleet.engine;
    let mut changed = 0;
    for (field, value) in engine.fields(&stored.record).await {
        let Ok(text) = String::from_utf8(value) else { continue };
        if text.contains(VALUE) {
            let text = text.replace(VALUE, OTHER);
            engine.run::<i64>(cmd("HSET").arg(&stored.record).arg(&field).arg(text)).await;
            changed += 1;
        }
    }
    assert_eq!(changed, 1, "the record holds the value once");
    let replica = stored.another(Some(1)).await;
    assert_eq!(stored.get(&replica, "/app/key").await, (VALUE.to_owned(), 1));
}

/// Every field of a record counts, also those that say how long it is good for. The time at which its
/// load began does not: it is only compared with the note of a change, which whoever can write to the
/// engine can delete.
#[tokio::test]
async fn each_field_of_an_authenticated_record_is_authenticated() {
    let stored = Stored::start().await;
    let engine = &stored.fleet.engine;
    let (fields, dump) = (engine.fields(&stored.record).await, engine.dump().await);
    assert!(!fields.is_empty() && !dump.is_empty());
    for (field, value) in fields.into_iter().filter(|(field, _)| field != b"began") {
        let ttl: i64 = engine.run(cmd("PTTL").arg(&stored.record)).await;
        let before = engine.fields(&stored.record).await;
        let mut other = value.clone();
        match other.last_mut() {
            Some(byte @ b'0'..=b'8') => *byte += 1,
            Some(byte) => *byte ^= 1,
            None => other.push(b'1'),
        }
        engine.run::<i64>(cmd("HSET").arg(&stored.record).arg(&field).arg(other)).await;
        let replica = stored.another(Some(1)).await;
        let name = String::from_utf8_lossy(&field).into_owned();
        assert_eq!(stored.get(&replica, "/app/key").await, (VALUE.to_owned(), 1), "{name}");
        // The next field starts from a whole record.
        let mut pipeline = redis::pipe();
        pipeline.del(&stored.record).hset_multiple(&stored.record, &before);
        pipeline.pexpire(&stored.record, ttl);
        drop(replica);
        for command in pipeline.cmd_iter() {
            engine.run::<redis::Value>(command).await;
        }
    }
}

/// A record is good for its own name only.
#[tokio::test]
async fn an_authenticated_record_that_was_copied_to_another_name_is_a_miss() {
    let stored = Stored::start().await;
    let engine = &stored.fleet.engine;
    stored.fleet.aws.put("/app/other", "hush: another value").await;
    let copy = stored.record.replace("/app/key", "/app/other");
    assert_ne!(copy, stored.record);
    let copied: i64 = engine.run(cmd("COPY").arg(&stored.record).arg(&copy)).await;
    assert_eq!(copied, 1);
    let replica = stored.another(Some(1)).await;
    let other = stored.get(&replica, "/app/other").await;
    assert_eq!(other, ("hush: another value".to_owned(), 1));
    // Without authentication nothing but the copied name could give it away.
    assert_eq!(stored.get(&replica, "/app/key").await, (VALUE.to_owned(), 0));
}

/// Records of a deployment without a key are not proof of anything to one with a key.
#[tokio::test]
async fn a_record_without_authentication_is_a_miss_for_a_replica_with_a_key() {
    let fleet = Fleet::start(1).await;
    fleet.aws.put("/app/key", VALUE).await;
    let record = store(&fleet, "/app/key").await;
    let stored = Stored { fleet, files: Files::new(), record };
    let replica = stored.another(Some(1)).await;
    assert_eq!(stored.get(&replica, "/app/key").await, (VALUE.to_owned(), 1));
}
