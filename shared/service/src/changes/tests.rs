use std::{future::Future, task::Poll};

use proptest::prelude::*;

use super::*;

fn event(id: impl std::fmt::Display, name: &str) -> ChangeEvent {
    ChangeEvent { id: id.to_string().into(), name: name.into(), deleted: false }
}

fn log(events: usize) -> ChangeLog {
    ChangeLog::with_bounds("start".into(), Bounds { events, bytes: usize::MAX })
}

fn path(text: &str) -> ParameterPath {
    ParameterPath::parse(text).expect("a path")
}

fn follow(log: &ChangeLog, last_id: Option<&str>) -> ChangeStream {
    log.follow(last_id.map(str::as_bytes), path("/"))
}

fn position(id: impl std::fmt::Display) -> Poll<Option<StreamItem>> {
    Poll::Ready(Some(StreamItem::Position(id.to_string().into())))
}

fn reset(id: impl std::fmt::Display) -> Poll<Option<StreamItem>> {
    Poll::Ready(Some(StreamItem::Reset(id.to_string().into())))
}

fn change(id: impl std::fmt::Display, name: &str) -> Poll<Option<StreamItem>> {
    Poll::Ready(Some(StreamItem::Change(event(id, name))))
}

/// Polls a stream once. The poll is dropped, as the end of a request drops it.
fn poll(stream: &mut ChangeStream) -> Poll<Option<StreamItem>> {
    let next = std::pin::pin!(stream.next());
    next.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn a_stream_begins_with_its_position_and_reports_what_follows() {
    let log = log(10);
    let mut early = follow(&log, None);
    assert_eq!(poll(&mut early), position("start"));
    log.publish([event(1, "/a"), event(2, "/b")]);
    let mut late = follow(&log, None);
    assert_eq!(poll(&mut late), position(2));
    log.publish([event(3, "/c")]);
    for (id, name) in [(1, "/a"), (2, "/b"), (3, "/c")] {
        assert_eq!(poll(&mut early), change(id, name));
    }
    assert_eq!(poll(&mut late), change(3, "/c"));
    assert_eq!((poll(&mut early), poll(&mut late)), (Poll::Pending, Poll::Pending));
}

#[tokio::test]
async fn a_stream_that_waits_wakes_up_for_an_event() {
    let log = log(10);
    let mut stream = follow(&log, None);
    stream.next().await;
    let waiting = tokio::spawn(async move { stream.next().await });
    tokio::task::yield_now().await;
    log.publish([event(1, "/a")]);
    assert_eq!(waiting.await.expect("no panic"), Some(StreamItem::Change(event(1, "/a"))));
}

#[test]
fn a_stream_resumes_at_every_position_of_the_history_and_nowhere_else() {
    let log = log(4);
    for id in 0..10 {
        log.publish([event(id, "/a")]);
    }
    // The history holds 6 to 9, so it begins at the position behind 5.
    for last_id in 5..10 {
        let mut stream = follow(&log, Some(&last_id.to_string()));
        assert_eq!(poll(&mut stream), position(last_id));
        for id in last_id + 1..10 {
            assert_eq!(poll(&mut stream), change(id, "/a"));
        }
        assert_eq!(poll(&mut stream), Poll::Pending);
    }
    for unknown in ["4", "start", "10", "", "9 "] {
        let mut stream = follow(&log, Some(unknown));
        assert_eq!(poll(&mut stream), reset(9), "{unknown}");
        assert_eq!(poll(&mut stream), Poll::Pending);
    }
}

#[test]
fn the_start_of_a_log_without_events_is_a_position() {
    let log = log(4);
    let mut stream = follow(&log, Some("start"));
    assert_eq!(poll(&mut stream), position("start"));
}

#[test]
fn the_bytes_of_a_history_are_bounded() {
    let log = ChangeLog::with_bounds("start".into(), Bounds { events: 1000, bytes: 10_000 });
    let name = "/".to_owned() + &"a".repeat(999);
    for id in 0..100 {
        log.publish([event(id, &name)]);
    }
    let history = log.0.history.lock();
    assert!(history.position_after(b"99").is_some() && history.position_after(b"95").is_some());
    assert!(history.position_after(b"89").is_none());
}

#[test]
fn a_stream_that_falls_behind_the_history_ends() {
    let log = log(4);
    let mut slow = follow(&log, None);
    let _ = poll(&mut slow);
    for id in 0..4 {
        log.publish([event(id, "/a")]);
    }
    assert_eq!(poll(&mut slow), change(0, "/a"), "the history still holds its next event");
    for id in 4..6 {
        log.publish([event(id, "/a")]);
    }
    assert_eq!(poll(&mut slow), Poll::Ready(None));
    assert_eq!(slow.position_id(), None);
}

#[test]
fn a_reset_reaches_every_stream_once_and_only_new_positions_can_be_resumed() {
    let log = log(4);
    let (mut current, mut slow) = (follow(&log, None), follow(&log, None));
    assert_eq!((poll(&mut current), poll(&mut slow)), (position("start"), position("start")));
    log.publish([event(1, "/a")]);
    assert_eq!(poll(&mut current), change(1, "/a"));
    log.reset("5");
    log.publish([event(6, "/b")]);

    for stream in [&mut current, &mut slow] {
        assert_eq!(poll(stream), reset(6));
        assert_eq!(poll(stream), Poll::Pending);
    }
    let mut resumed = follow(&log, Some("5"));
    assert_eq!((poll(&mut resumed), poll(&mut resumed)), (position(5), change(6, "/b")));
    assert_eq!(poll(&mut follow(&log, Some("1"))), reset(6));
}

#[test]
fn more_events_at_once_than_the_history_holds_are_a_reset() {
    let log = log(4);
    let mut stream = follow(&log, None);
    let _ = poll(&mut stream);
    log.publish((0..4).map(|id| event(id, "/a")));
    assert_eq!(poll(&mut stream), change(0, "/a"));
    log.publish((10..15).map(|id| event(id, "/a")));
    assert_eq!(poll(&mut stream), reset(14));
    assert_eq!(poll(&mut stream), Poll::Pending);
}

#[test]
fn a_path_limits_a_stream_to_the_names_below_it() {
    let log = log(10);
    let mut stream = log.follow(None, path("/app/"));
    assert_eq!(poll(&mut stream), position("start"));
    let names = ["/app/x", "/apple", "/app", "/x/app/y", "/app/y/z", "/"];
    log.publish(names.iter().enumerate().map(|(id, name)| event(id, name)));
    assert_eq!(poll(&mut stream), change(0, "/app/x"));
    assert_eq!(poll(&mut stream), change(4, "/app/y/z"));
    assert_eq!(poll(&mut stream), Poll::Pending);
    assert_eq!(stream.position_id().as_deref(), Some("5"), "the events that it passed over count");
}

#[test]
fn a_stream_reports_its_position_after_many_events_that_do_not_concern_it() {
    let log = ChangeLog::new("start");
    let mut stream = log.follow(None, path("/app"));
    let _ = poll(&mut stream);
    for id in 1..MAX_PASSED_OVER {
        log.publish([event(id, "/other")]);
    }
    assert_eq!(poll(&mut stream), Poll::Pending);
    log.publish([event("last", "/other")]);
    assert_eq!(poll(&mut stream), position("last"));
    assert_eq!(poll(&mut stream), Poll::Pending);
}

#[test]
fn a_resume_within_events_of_one_id_repeats_some_and_loses_none() {
    let log = log(10);
    log.publish([event(1, "/a"), event(2, "/b"), event(2, "/c"), event(3, "/d")]);
    let mut stream = follow(&log, Some("2"));
    assert_eq!(poll(&mut stream), position(2));
    assert_eq!(poll(&mut stream), change(2, "/c"));
}

proptest! {
    /// A client that reconnects with its last id, however often, sees each event once and in order,
    /// or a reset.
    #[test]
    fn a_client_that_reconnects_misses_nothing(
        steps in proptest::collection::vec(0..10u8, 1..100),
    ) {
        let log = log(5);
        let mut published = 0_u32;
        let mut stream = follow(&log, None);
        let (mut seen, mut last_id) = (0, "start".to_owned());
        for step in steps.into_iter().chain([9; 200]) {
            match step {
                0..=3 => {
                    published += 1;
                    log.publish([event(published, "/a")]);
                }
                4 => {
                    published += 1;
                    log.reset(published.to_string());
                }
                5 => stream = follow(&log, Some(&last_id)),
                _ => match poll(&mut stream) {
                    Poll::Ready(Some(StreamItem::Change(event))) => {
                        seen += 1;
                        prop_assert_eq!(&*event.id, seen.to_string());
                        last_id = event.id.to_string();
                    }
                    Poll::Ready(Some(StreamItem::Reset(id))) => {
                        seen = id.parse().expect("a number");
                        last_id = id.to_string();
                    }
                    Poll::Ready(Some(StreamItem::Position(id))) => {
                        prop_assert_eq!(&*id, &last_id);
                    }
                    Poll::Ready(None) => stream = follow(&log, Some(&last_id)),
                    Poll::Pending => {}
                },
            }
        }
        prop_assert_eq!(seen, published, "the client has caught up");
    }
}
