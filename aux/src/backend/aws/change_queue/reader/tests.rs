use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::advance;

use super::{
    super::message::test::{change_message, message},
    *,
};
use crate::{change::ChangeKind, error::Error};

const SECOND: Duration = Duration::from_secs(1);

/// A queue whose receives have these results. After the last one no message arrives.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    results: VecDeque<Result<Vec<Message>, Error>>,
    /// Whether a receive without a message returns at once, whatever time it should wait.
    never_waits: bool,
    deletion_fails: bool,
    /// The time of each receive, and the time for which it waits.
    receives: Vec<(Instant, Duration)>,
    deleted: Vec<String>,
}

#[async_trait]
impl MessageQueue for Script {
    async fn receive(&self, wait: Duration) -> Result<Vec<Message>, Error> {
        let (result, never_waits) = {
            let mut script = self.0.lock();
            script.receives.push((Instant::now(), wait));
            (script.results.pop_front(), script.never_waits)
        };
        match result {
            Some(result) => result,
            None => {
                sleep(if never_waits { Duration::ZERO } else { wait }).await;
                Ok(Vec::new())
            }
        }
    }

    async fn delete(&self, receipts: Vec<String>) -> Result<(), Error> {
        let mut script = self.0.lock();
        if script.deletion_fails {
            return Err(denied());
        }
        script.deleted.extend(receipts);
        Ok(())
    }
}

/// A publisher whose publications have these results. Publications after the last one succeed.
#[derive(Default)]
struct Publisher {
    results: Mutex<VecDeque<Publication>>,
    published: Mutex<Vec<Vec<Change>>>,
}

enum Publication {
    Fails,
    Panics,
    Hangs,
}

#[async_trait]
impl PublishChanges for Publisher {
    async fn publish(
        &self,
        source: ChangeSource,
        changes: Vec<Change>,
    ) -> Result<(), NotPublished> {
        assert_eq!(source, ChangeSource::Queue);
        let result = self.results.lock().pop_front();
        match result {
            Some(Publication::Fails) => Err(NotPublished),
            Some(Publication::Panics) => panic!("a publisher that panics"),
            Some(Publication::Hangs) => std::future::pending().await,
            None => {
                self.published.lock().push(changes);
                Ok(())
            }
        }
    }
}

/// A reader that runs on a script.
struct Reading {
    script: Script,
    publisher: Arc<Publisher>,
    health: QueueHealth,
}

impl Reading {
    fn start(script: Scripted, publications: impl IntoIterator<Item = Publication>) -> Self {
        let script = Script(Arc::new(Mutex::new(script)));
        let results = Mutex::new(publications.into_iter().collect());
        let publisher = Arc::new(Publisher { results, ..Publisher::default() });
        let url = "https://sqs.eu-west-2.amazonaws.com/123456789012/changes";
        let health = QueueHealth::new(url.parse().expect("a URL of a queue"));
        let reader = Reader::new(script.clone(), publisher.clone(), health.clone());
        tokio::spawn(reader.run());
        Self { script, publisher, health }
    }

    fn receives(&self) -> usize {
        self.script.0.lock().receives.len()
    }

    fn deleted(&self) -> Vec<String> {
        self.script.0.lock().deleted.clone()
    }

    fn published(&self) -> Vec<Vec<Change>> {
        self.publisher.published.lock().clone()
    }
}

fn denied() -> Error {
    Error::AwsAccessDenied(Arc::new(std::io::Error::other("denied")))
}

fn script(results: impl IntoIterator<Item = Result<Vec<Message>, Error>>) -> Scripted {
    Scripted { results: results.into_iter().collect(), ..Scripted::default() }
}

fn with_receipt(receipt: &str, message: Message) -> Message {
    Message { receipt: receipt.to_owned(), ..message }
}

#[tokio::test(start_paused = true)]
async fn the_changes_of_a_receive_are_published_together_and_their_messages_are_deleted() {
    let messages = vec![
        with_receipt("1", change_message("/a", "Create")),
        with_receipt("2", change_message("/b", "Update")),
        with_receipt("3", change_message("/a", "Delete")),
        with_receipt("4", message(r#"{"source":"aws.ec2","detail-type":"x","detail":{}}"#)),
        with_receipt("5", message("poison")),
        Message { receive_count: 3, ..with_receipt("6", message("old poison")) },
    ];
    let reading = Reading::start(script([Ok(messages)]), []);
    sleep(SECOND).await;
    let change = |name: &str, kind| Change { name: name.to_owned(), kind };
    let expected = vec![change("/a", ChangeKind::Deleted), change("/b", ChangeKind::Updated)];
    assert_eq!(reading.published(), [expected]);
    assert_eq!(reading.deleted(), ["4", "6", "1", "2", "3"]);
    assert_eq!(reading.health.state(), "ok");
}

#[tokio::test(start_paused = true)]
async fn the_next_receive_follows_messages_at_once_and_waits_for_more() {
    let batch = || Ok(vec![change_message("/a", "Update"); 10]);
    let reading = Reading::start(script([batch(), batch(), batch()]), []);
    sleep(SECOND).await;
    let started = Instant::now() - SECOND;
    let receives = reading.script.0.lock().receives.clone();
    assert_eq!(receives, [(started, WAIT); 4]);
    assert_eq!(reading.deleted().len(), 30);
    sleep(WAIT).await;
    assert_eq!(reading.receives(), 5, "one call for each wait without a message");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_change_is_not_published_stays_in_the_queue() {
    for failure in [Publication::Fails, Publication::Panics, Publication::Hangs] {
        let results = [
            Ok(vec![
                with_receipt("1", change_message("/a", "Update")),
                with_receipt("2", message(r#"{"source":"x","detail-type":"x","detail":{}}"#)),
            ]),
            Ok(vec![with_receipt("3", change_message("/b", "Update"))]),
        ];
        let reading = Reading::start(script(results), [failure]);
        sleep(PUBLISH_TIMEOUT + SECOND / 4).await;
        assert_eq!(reading.deleted()[0], "2");
        assert!(!reading.deleted().contains(&"1".to_owned()));
        assert_eq!(reading.health.state(), "ok", "the queue works");
        sleep(2 * FIRST_BACKOFF).await;
        assert_eq!(reading.deleted(), ["2", "3"], "the reader continues");
        assert_eq!(reading.published().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_degraded_from_a_receive_that_fails_until_one_succeeds() {
    let results = [Err(denied()), Err(denied()), Ok(vec![change_message("/a", "Update")])];
    let reading = Reading::start(script(results), []);
    assert_eq!(reading.health.state(), "ok");
    sleep(SECOND / 100).await;
    assert_eq!((reading.health.state(), reading.receives()), ("degraded", 1));
    while reading.receives() < 3 {
        assert_eq!(reading.health.state(), "degraded");
        sleep(SECOND / 100).await;
    }
    assert_eq!(reading.health.state(), "ok");
    assert_eq!(reading.published().len(), 1);
    let waits: Vec<_> = reading.script.0.lock().receives.iter().map(|receive| receive.1).collect();
    assert_eq!(waits[..3], [WAIT, Duration::ZERO, Duration::ZERO]);
    assert_eq!(waits[3], WAIT, "a receive waits again when the queue works");
}

#[tokio::test(start_paused = true)]
async fn the_pauses_after_failures_grow_up_to_half_a_minute() {
    let failures = (0..12).map(|_| Err(denied()));
    let reading = Reading::start(script(failures), []);
    sleep(Duration::from_secs(600)).await;
    let times: Vec<_> = reading.script.0.lock().receives.iter().map(|receive| receive.0).collect();
    let pauses: Vec<_> = times.windows(2).take(12).map(|pair| pair[1] - pair[0]).collect();
    for (index, pause) in pauses.iter().enumerate() {
        let longest = MAX_BACKOFF.min(SECOND * (1 << index));
        // The timer of tokio has a resolution of a millisecond.
        assert!(*pause >= longest / 2, "{pauses:?}");
        assert!(*pause <= longest + Duration::from_millis(2), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_cannot_be_deleted_do_not_stop_the_reader() {
    let results =
        [Ok(vec![change_message("/a", "Update")]), Ok(vec![change_message("/b", "Update")])];
    let reading = Reading::start(Scripted { deletion_fails: true, ..script(results) }, []);
    sleep(SECOND).await;
    assert_eq!(reading.published().len(), 2);
    assert_eq!(reading.health.state(), "ok", "changes take effect");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_wait_is_called_once_a_second() {
    let reading = Reading::start(Scripted { never_waits: true, ..Scripted::default() }, []);
    sleep(10 * SECOND + SECOND / 2).await;
    assert_eq!(reading.receives(), 11);
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_meaning_are_logged_once_a_minute() {
    let mut log = PoisonLog::default();
    log.add(&[]);
    assert_eq!((log.logged_at, log.messages), (None, 0));
    log.add(&[InvalidEvent::NoJson]);
    let first = Instant::now();
    assert_eq!((log.logged_at, log.messages), (Some(first), 0));
    log.add(&[InvalidEvent::NoJson, InvalidEvent::NoName]);
    assert_eq!((log.logged_at, log.messages), (Some(first), 2), "counted for the next line");
    advance(POISON_LOG_INTERVAL).await;
    log.add(&[InvalidEvent::NoJson]);
    assert_eq!((log.logged_at, log.messages), (Some(Instant::now()), 0));
}
