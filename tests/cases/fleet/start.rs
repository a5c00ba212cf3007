//! Starts with a shared cache: an engine that is not there, and settings that make no sense.

use e2e::{
    MARK,
    engine::Engine,
    files::Files,
    fleet::{replica, reports, start_replicas, state},
    moto::Aws,
    service::{Service, Setup},
};

use crate::configuration::refused;

/// Starts a replica whose engine does not work, and checks that it reports this and works alone.
async fn starts_degraded(setup: Setup, aws: &Aws) -> Service {
    aws.put("/app/key", "hush: a value").await;
    let replica = setup.with("SHARED_CACHE_TIMEOUT", "200ms").start().await;
    let line = replica
        .log_line(|line| {
            line["message"] == "the shared cache does not work; this replica continues alone"
        })
        .await;
    assert_eq!(line["level"], "WARN", "{line}");
    reports(&replica, "degraded").await;
    assert_eq!(replica.get("/param/app/key").await.ok()["value"], "hush: a value");
    assert_eq!(state(&replica).await, "degraded");
    replica
}

#[tokio::test]
async fn an_unreachable_engine_is_reported_and_ends_no_start() {
    let aws = Aws::start().await;
    // No process listens on the port of the discard protocol, and the name exists nowhere.
    for url in ["redis://127.0.0.1:9", "valkey://no-such-host.invalid:6379"] {
        starts_degraded(replica(&aws.proxy.url, url), &aws).await;
    }
}

#[tokio::test]
async fn an_engine_that_appears_after_the_start_is_used() {
    let (aws, mut engine) = tokio::join!(Aws::start(), Engine::start());
    engine.kill();
    let setup = replica(&aws.proxy.url, &engine.url());
    let first = starts_degraded(setup.clone(), &aws).await;
    engine.restart().await;
    reports(&first, "ok").await;
    first.log_line(|line| line["message"] == "the shared cache works again").await;
    let second = start_replicas(1, &setup).await.remove(0);
    aws.put("/app/other", "hush: another value").await;
    for replica in [&first, &second] {
        replica.get("/param/app/other").await.ok();
    }
    let reads = e2e::fleet::reads(&aws.proxy);
    assert_eq!(reads.iter().filter(|name| *name == "/app/other").count(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_ends_no_start() {
    let password = format!("{MARK}-the-password");
    let (files, aws) = (Files::new(), Aws::start().await);
    let engine = Engine::with_password(&password).await;
    let setup = replica(&aws.proxy.url, &engine.url());
    let wrong = files.write("wrong", format!("{MARK}-another-password"));
    starts_degraded(setup.clone().with("SHARED_CACHE_PASSWORD_FILE", &wrong), &aws).await;
    starts_degraded(setup.clone(), &aws).await;
    // A file often ends with a line break.
    for content in [password.clone(), format!("{password}\n")] {
        let right =
            setup.clone().with("SHARED_CACHE_PASSWORD_FILE", &files.write("right", content));
        start_replicas(1, &right).await;
    }
}

/// Checks that the start fails with one sentence that names these flags and shows no secret.
async fn refused_without_secrets(setup: Setup, named: &[&str]) {
    refused(setup.clone(), named).await;
    let output = setup.run_to_end().await;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains(MARK), "{said}");
}

fn setup() -> Setup {
    Setup::of("aux-service").with("BACKEND", "embedded")
}

#[tokio::test]
async fn a_url_of_the_shared_cache_that_cannot_be_used_ends_the_start_and_is_named() {
    for url in [
        "engine",
        "engine:6379",
        "http://engine:6379",
        "redis://",
        "redis-sentinel://engine:26379",
        "redis://:hush-password@engine:6379",
        "rediss://user:hush-password@engine:6379/0",
        "redis-cluster://user:hush-password@engine:6379",
        "hush://engine:6379",
    ] {
        let setup = setup().with("SHARED_CACHE_URL", url);
        if url.contains(MARK) {
            refused_without_secrets(setup, &["--shared-cache-url"]).await;
        } else {
            refused(setup, &["--shared-cache-url"]).await;
        }
    }
}

#[tokio::test]
async fn settings_of_the_shared_cache_that_contradict_others_end_the_start_and_are_named() {
    let files = Files::new();
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{MARK}\n-----END CERTIFICATE-----\n");
    let file = files.write("secret", certificate);
    for (name, flag) in [
        ("SHARED_CACHE_PASSWORD_FILE", "--shared-cache-password-file"),
        ("SHARED_CACHE_CA_FILE", "--shared-cache-ca-file"),
        ("SHARED_CACHE_KEY_FILE", "--shared-cache-key-file"),
    ] {
        refused_without_secrets(setup().with(name, &file), &[flag, "--shared-cache-url"]).await;
    }
    let uncached = setup().with("SHARED_CACHE_URL", "redis://engine:6379").with("CACHE", "off");
    refused(uncached, &["--shared-cache-url", "--cache"]).await;
    // The settings with defaults need no URL.
    setup()
        .with("SHARED_AWS_RATE_GET", "20")
        .with("SHARED_AWS_RATE_LIST", "1")
        .with("SHARED_CACHE_PREFIX", "production/aux-service")
        .with("SHARED_CACHE_TIMEOUT", "50ms")
        .start()
        .await;
}

#[tokio::test]
async fn a_file_of_the_shared_cache_that_cannot_be_used_ends_the_start_and_is_named() {
    let files = Files::new();
    let setup = || setup().with("SHARED_CACHE_URL", "rediss://engine:6379");
    for (name, flag) in [
        ("SHARED_CACHE_PASSWORD_FILE", "--shared-cache-password-file"),
        ("SHARED_CACHE_CA_FILE", "--shared-cache-ca-file"),
        ("SHARED_CACHE_KEY_FILE", "--shared-cache-key-file"),
    ] {
        let missing = files.path("missing");
        refused(setup().with(name, &missing), &[flag, &missing]).await;
    }
    let short = files.write("short", format!("{MARK}-key-of-31-bytes-0123456789").as_bytes());
    assert_eq!(std::fs::read(&short).unwrap().len(), 31);
    let setup_with = |name, path: &str| setup().with(name, path);
    refused_without_secrets(
        setup_with("SHARED_CACHE_KEY_FILE", &short),
        &["--shared-cache-key-file", "32"],
    )
    .await;
    let no_pem = files.write("no-pem", format!("{MARK}: this is no certificate"));
    refused_without_secrets(
        setup_with("SHARED_CACHE_CA_FILE", &no_pem),
        &["--shared-cache-ca-file"],
    )
    .await;
}

#[tokio::test]
async fn a_value_of_the_shared_cache_that_is_none_ends_the_start_and_is_named() {
    for (name, value) in [
        ("SHARED_CACHE_TIMEOUT", "100"),
        ("SHARED_CACHE_TIMEOUT", "0s"),
        ("SHARED_AWS_RATE_GET", "-1"),
        ("SHARED_AWS_RATE_LIST", "many"),
    ] {
        let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
        let setup = setup().with("SHARED_CACHE_URL", "redis://engine:6379").with(name, value);
        refused(setup, &[&flag, value]).await;
    }
}

#[tokio::test]
async fn without_a_url_nothing_is_shared_and_nothing_is_reported() {
    let replica = setup().start().await;
    let ready = replica.get("/readyz").await.ok();
    assert!(ready["dependencies"].get("shared_cache").is_none(), "{ready}");
    assert_eq!(replica.get("/status").await.ok()["shared_cache"], serde_json::Value::Null);
    let metrics = replica.get("/metrics").await.body;
    assert!(!metrics.contains("shared_cache"), "{metrics}");
}
