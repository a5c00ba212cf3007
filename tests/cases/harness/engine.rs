//! Tests of the engine of the shared cache, and of the relay in front of one.

use std::time::Duration;

use e2e::{
    engine::{Engine, Garbage},
    relay::Relay,
};
use redis::{AsyncConnectionConfig, RedisError, RedisResult, aio::MultiplexedConnection, cmd};
use tokio::time::{Instant, timeout};

/// A time in which a process that works responds.
const WHILE: Duration = Duration::from_secs(5);

/// Opens a connection that stays with its process, as a service does.
async fn connect(address: &str) -> RedisResult<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(WHILE))
        .set_response_timeout(Some(WHILE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn set(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    cmd("SET").arg("key").arg("value").query_async(connection).await
}

async fn get(connection: &mut MultiplexedConnection) -> RedisResult<Option<String>> {
    cmd("GET").arg("key").query_async(connection).await
}

fn code(result: &RedisResult<()>) -> Option<&str> {
    result.as_ref().err().and_then(RedisError::code)
}

#[tokio::test]
async fn a_killed_engine_closes_its_connections_and_restarts_empty_on_its_port() {
    let mut engine = Engine::start().await;
    let mut connection = connect(&engine.address()).await.unwrap();
    set(&mut connection).await.unwrap();
    engine.kill();
    assert!(set(&mut connection).await.unwrap_err().is_unrecoverable_error());
    assert!(connect(&engine.address()).await.unwrap_err().is_connection_refusal());
    engine.restart().await;
    assert_eq!(get(&mut connect(&engine.address()).await.unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_stopped_engine_accepts_connections_and_answers_only_when_it_continues() {
    let engine = Engine::start().await;
    let mut connection = connect(&engine.address()).await.unwrap();
    engine.stop();
    let pause = Duration::from_millis(200);
    let waiting = set(&mut connection);
    tokio::pin!(waiting);
    assert!(timeout(pause, &mut waiting).await.is_err());
    assert!(tokio::net::TcpStream::connect(engine.address()).await.is_ok());
    engine.resume();
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_stopped_engine_ends_with_its_test() {
    let engine = Engine::start().await;
    let address = engine.address();
    engine.stop();
    drop(engine);
    assert!(connect(&address).await.unwrap_err().is_connection_refusal());
}

#[tokio::test]
async fn a_full_engine_reads_and_does_not_write() {
    let engine = Engine::start().await;
    let mut connection = connect(&engine.address()).await.unwrap();
    set(&mut connection).await.unwrap();
    engine.fill().await;
    assert_eq!(code(&set(&mut connection).await), Some("OOM"));
    assert_eq!(get(&mut connection).await.unwrap().as_deref(), Some("value"));
    engine.empty_out().await;
    set(&mut connection).await.unwrap();
}

#[tokio::test]
async fn an_engine_answers_errors_while_it_requires_a_password_or_refuses_writes() {
    let mut engine = Engine::start().await;
    let mut connection = connect(&engine.address()).await.unwrap();
    engine.refuse_writes().await;
    assert_eq!(code(&set(&mut connection).await), Some("READONLY"));
    engine.accept_writes().await;
    set(&mut connection).await.unwrap();

    engine.require_password("hush").await;
    assert!(set(&mut connection).await.unwrap_err().is_unrecoverable_error());
    let refused = async {
        let mut connection = connect(&engine.address()).await?;
        set(&mut connection).await
    };
    assert_eq!(code(&refused.await), Some("NOAUTH"));
    assert_eq!(engine.keys("ke").await, ["key"], "the test's own client has the password");
    engine.require_no_password().await;
    set(&mut connect(&engine.address()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_dump_holds_the_keys_and_restores_them() {
    let mut engine = Engine::start().await;
    let mut connection = connect(&engine.address()).await.unwrap();
    let value = "a text that a compressed dump would not show ".repeat(20);
    let field = cmd("HSET").arg("record").arg("field").arg(&value).clone();
    field.query_async::<()>(&mut connection).await.unwrap();
    let dump = engine.dump().await;
    assert!(dump.windows(value.len()).any(|bytes| bytes == value.as_bytes()));
    engine.restart().await;
    assert_eq!(engine.keys("").await, Vec::<String>::new());
    engine.restore(&dump).await;
    assert_eq!(engine.fields("record").await, [(b"field".to_vec(), value.into_bytes())]);
}

#[tokio::test]
async fn garbage_replaces_every_key() {
    let engine = Engine::start().await;
    for garbage in Garbage::ALL {
        for _ in 0..20 {
            engine.run::<()>(cmd("DEL").arg("record").arg("lock")).await;
            engine.run::<()>(cmd("HSET").arg("record").arg("field").arg("value")).await;
            engine.run::<()>(cmd("PEXPIRE").arg("record").arg(60_000)).await;
            engine.run::<()>(cmd("SET").arg("lock").arg("token").arg("PX").arg(60_000)).await;
            engine.overwrite_with(garbage).await;
            assert_eq!(engine.keys("").await, ["lock", "record"], "{garbage:?}");
            let left: i64 = engine.run(cmd("PTTL").arg("record")).await;
            let (expires, expected) = (left >= 0, matches!(garbage, Garbage::BytesThatExpire));
            assert_eq!(expires, expected, "{garbage:?}");
            if matches!(garbage, Garbage::Fields | Garbage::Numbers) {
                let fields = engine.fields("record").await;
                let (_, value) = fields.iter().find(|(field, _)| field == b"field").unwrap();
                assert_ne!(value, b"value");
            }
        }
    }
}

#[tokio::test]
async fn a_relay_passes_bytes_records_them_delays_them_and_cuts_the_link() {
    let engine = Engine::start().await;
    let relay = Relay::before(&engine.address()).await;
    let mut connection = connect(&relay.address).await.unwrap();
    set(&mut connection).await.unwrap();
    assert!(relay.sent().windows(5).any(|bytes| bytes == b"value"));

    let delay = Duration::from_millis(300);
    relay.delay(delay);
    let start = Instant::now();
    set(&mut connection).await.unwrap();
    assert!(start.elapsed() >= delay);

    relay.cut();
    assert!(set(&mut connection).await.is_err());
    assert!(connect(&relay.address).await.is_err());
    relay.heal();
    set(&mut connect(&relay.address).await.unwrap()).await.unwrap();
}
