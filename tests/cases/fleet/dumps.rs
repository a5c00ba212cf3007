//! Dumps of the engine: what they hold, and what an old one may do.

use std::time::Duration;

use e2e::{
    MARK,
    engine::Engine,
    files::Files,
    fleet::{Fleet, replica, start_replicas},
    moto::Aws,
    proxy::Fault,
    relay::Relay,
    service::Setup,
};
use redis::cmd;
use reqwest::Method;
use tokio::time::{Instant, sleep, timeout};

use super::{Loaded, age, stored, until};

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Neither the dump nor any byte on the way to the engine holds a secret.
#[tokio::test]
async fn no_secure_string_token_or_credential_reaches_the_engine() {
    let (plain, secret) = (format!("{MARK}: plain"), format!("{MARK}-decrypted"));
    let token = format!("{MARK}-token-of-clients-0123456789");
    let key = format!("{MARK}-key-of-the-records-0123456789abcdef");
    let files = Files::new();
    let (aws, engine) = tokio::join!(Aws::start(), Engine::start());
    let relay = Relay::before(&engine.address()).await;
    let setup = replica(&aws.proxy.url, &format!("redis://{}", relay.address))
        .with("ALLOW_SECURE_STRINGS", "true")
        .with("AUTH_TOKEN_FILE", &files.write("tokens", &token))
        .with("SHARED_CACHE_KEY_FILE", &files.write("key", &key));
    let replicas = start_replicas(2, &setup).await;
    aws.put("/app/key", &plain).await;
    aws.put("/public/key", &plain).await;
    aws.put_typed("/app/password", "SecureString", &secret).await;

    let bearer = format!("Bearer {token}");
    for cache_control in ["max-age=60", "no-cache"] {
        for replica in &replicas {
            let headers = [("authorization", &*bearer), ("cache-control", cache_control)];
            let get = async |path| replica.send(Method::GET, path, &headers).await.ok();
            assert_eq!(get("/param/app/key").await["value"], plain);
            assert_eq!(get("/param/app/password").await["value"], secret);
            assert_eq!(get("/parameter/app/password").await["parameter"]["value"], secret);
            assert_eq!(get("/values/app").await["values"]["/app/password"], secret);
            assert_eq!(get("/values/public").await["values"]["/public/key"], plain);
            get("/params").await;
        }
    }
    // Storing follows the response.
    let stored = async {
        while !contains(&engine.dump().await, &plain) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), stored).await.expect("the public value is stored");
    let secrets = [&secret, &token, &key, "hush-the-key", "hush-the-session", "AKIAEXAMPLE"];
    for secret in secrets {
        assert!(!contains(&engine.dump().await, secret), "{secret} is in the dump");
        assert!(!contains(&relay.sent(), secret), "{secret} was sent to the engine");
    }
    // The value of each public parameter is there in plain text, so the search would find others.
    assert!(contains(&relay.sent(), &plain));
}

/// Settings for entries that are fresh for a second and then usable for six, if AWS fails.
fn soon_stale(setup: Setup) -> Setup {
    setup
        .with("CACHE_TTL", "1s")
        .with("CACHE_STALE_WHILE_REVALIDATE", "0s")
        .with("CACHE_STALE_IF_ERROR", "6s")
}

const BOUND: Duration = Duration::from_secs(7);

const PATHS: [&str; 3] = ["/param/app/key", "/params", "/values/app"];

/// Starts a fleet that has loaded all paths, and then loses AWS and all replicas.
async fn start_without_aws() -> (Fleet, Setup, Loaded) {
    let mut fleet = Fleet::with(1, soon_stale).await;
    let setup = soon_stale(replica(&fleet.aws.proxy.url, &fleet.engine.url()));
    fleet.aws.put("/app/key", "hush: a value").await;
    let loaded = Loaded::by(async {
        for path in PATHS {
            fleet.replicas[0].get(path).await.ok();
        }
    })
    .await;
    stored(&fleet.engine).await;
    fleet.aws.proxy.fail_all(Fault::Reset);
    fleet.replicas.clear();
    (fleet, setup, loaded)
}

#[tokio::test]
async fn a_restored_dump_answers_with_the_true_age_and_never_beyond_the_bounds() {
    let (mut fleet, setup, loaded) = start_without_aws().await;
    let dump = fleet.engine.dump().await;
    fleet.engine.kill();
    until(loaded.to + Duration::from_secs(3)).await;
    fleet.engine.restore(&dump).await;
    let replicas = start_replicas(2, &setup).await;
    for path in PATHS {
        let asked = Instant::now();
        let reply = replicas[0].get(path).await;
        reply.ok();
        loaded.check_age(&reply, asked);
        assert!(age(&reply) >= 3, "{reply:?}");
    }
    until(loaded.to + BOUND).await;
    fleet.engine.restore(&dump).await;
    for replica in &replicas {
        e2e::fleet::reports(replica, "ok").await;
        for path in PATHS {
            replica.get(path).await.problem(502, "aws-unavailable");
        }
    }
}

/// A record whose remaining time is missing, or larger than the time that it was stored for, has no
/// known age.
#[tokio::test]
async fn a_record_whose_age_is_unknown_is_a_miss() {
    for milliseconds in [None, Some(7_200_000)] {
        let (fleet, setup, _) = start_without_aws().await;
        for key in fleet.engine.keys("").await {
            match milliseconds {
                None => fleet.engine.run::<i64>(cmd("PERSIST").arg(key)).await,
                Some(time) => fleet.engine.run(cmd("PEXPIRE").arg(key).arg(time)).await,
            };
        }
        let replicas = start_replicas(1, &setup).await;
        for path in PATHS {
            let reply = replicas[0].get(path).await;
            assert_eq!(reply.status, 502, "{milliseconds:?}: {reply:?}");
            reply.problem(502, "aws-unavailable");
        }
        // A load replaces the record.
        fleet.aws.proxy.heal();
        for path in PATHS {
            replicas[0].get(path).await.ok();
        }
        let calls = fleet.aws.proxy.all_calls();
        let others = start_replicas(1, &setup.with("CACHE_TTL", "60s")).await;
        for path in PATHS {
            others[0].get(path).await.ok();
        }
        assert_eq!(fleet.aws.proxy.all_calls(), calls, "the new records are used");
    }
}
