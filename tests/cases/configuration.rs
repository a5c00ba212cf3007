//! Starts that must fail, and their messages.

use e2e::service::Setup;

/// Checks that the start fails with status 2, and that one sentence names the wrong values.
pub(crate) async fn refused(setup: Setup, named: &[&str]) {
    let output = setup.run_to_end().await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{named:?}: {said}");
    for name in named {
        assert!(said.contains(name), "`{name}` is not named: {said}");
    }
    let sentence = said.lines().next().unwrap_or_default();
    assert!(sentence.starts_with("error: "), "{said}");
    assert!(named.iter().all(|name| sentence.contains(name)), "not in the first line: {said}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
}

#[tokio::test]
async fn a_bad_value_ends_the_start_and_is_named() {
    for (binary, variable, value) in [
        ("aux-service", "LISTEN_ADDR", "nowhere"),
        ("aux-service", "ADMIN_ADDR", "5001"),
        ("aux-service", "BACKEND", "azure"),
        ("aux-service", "REQUEST_TIMEOUT", "5"),
        ("aux-service", "AWS_CREDENTIALS_TIMEOUT", "0s"),
        ("aux-service", "AWS_ATTEMPT_TIMEOUT", "-1s"),
        ("aux-service", "AWS_OPERATION_TIMEOUT", "0s"),
        ("aux-service", "AWS_LIST_TIMEOUT", "long"),
        ("aux-service", "CACHE_MAX_BYTES", "64 apples"),
        ("aux-service", "CACHE", "maybe"),
        ("aux-service", "PARAMETER_PREFIXES", "app"),
        ("aux-service", "ALLOW_SECURE_STRINGS", "perhaps"),
        ("aux-service", "CHANGE_QUEUE_URL", "https://sqs.eu-west-2.amazonaws.com/changes"),
        ("aux-service", "MAX_IN_FLIGHT", "0"),
        ("main-api", "LISTEN_ADDR", "127.0.0.1"),
        ("main-api", "AUX_URL", "aux-service:5000"),
        ("main-api", "AUX_URL", "https://aux-service"),
        ("main-api", "AUX_URL", "ftp://aux-service"),
        ("main-api", "ATTEMPT_TIMEOUT", "4"),
        ("main-api", "REQUEST_TIMEOUT", "0s"),
        ("main-api", "SHUTDOWN_GRACE", "a while"),
        ("main-api", "LOG_FORMAT", "xml"),
        ("main-api", "ACCESS_LOG", "some"),
        ("main-api", "MAX_IN_FLIGHT", "many"),
    ] {
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        refused(Setup::of(binary).with(variable, value), &[&flag, value]).await;
    }
}

#[tokio::test]
async fn values_that_contradict_each_other_end_the_start_and_are_named() {
    for (binary, variables, named) in [
        (
            "aux-service",
            &[("AWS_ATTEMPT_TIMEOUT", "3s")][..],
            ["--aws-attempt-timeout", "--aws-operation-timeout"],
        ),
        (
            "aux-service",
            &[("REQUEST_TIMEOUT", "2s")],
            ["--aws-operation-timeout", "--request-timeout"],
        ),
        (
            "aux-service",
            &[("AWS_LIST_TIMEOUT", "1s")],
            ["--aws-operation-timeout", "--aws-list-timeout"],
        ),
        (
            "aux-service",
            &[("CHANGE_QUEUE_URL", "https://a/123456789012/b"), ("BACKEND", "embedded")],
            ["--change-queue-url", "--backend"],
        ),
        (
            "aux-service",
            &[("CHANGE_QUEUE_URL", "https://a/123456789012/b"), ("CACHE", "off")],
            ["--change-queue-url", "--cache"],
        ),
        ("aux-service", &[("EMBEDDED_FILE", "inventory.yaml")], ["--embedded-file", "--backend"]),
        (
            "aux-service",
            &[("LISTEN_ADDR", "127.0.0.1:5999"), ("ADMIN_ADDR", "127.0.0.1:5999")],
            ["--listen-addr", "--admin-addr"],
        ),
        ("aux-service", &[("CACHE_MAX_BYTES", "1KiB")], ["--cache-max-bytes", "--cache"]),
        ("main-api", &[("ATTEMPT_TIMEOUT", "10s")], ["--attempt-timeout", "--request-timeout"]),
    ] {
        let setup = variables
            .iter()
            .fold(Setup::of(binary), |setup, (variable, value)| setup.with(variable, value));
        refused(setup, &named).await;
    }
}

#[tokio::test]
async fn an_embedded_file_that_cannot_be_used_ends_the_start_and_is_named() {
    let setup = || Setup::of("aux-service").with("BACKEND", "embedded");
    refused(setup().with("EMBEDDED_FILE", "/no/such.yaml"), &["--embedded-file", "/no/such.yaml"])
        .await;
    let this_file = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/configuration.rs");
    refused(setup().with("EMBEDDED_FILE", this_file), &["--embedded-file", this_file]).await;
}

#[tokio::test]
async fn a_variable_of_the_sdk_with_a_line_break_ends_the_start_and_is_named_without_its_value() {
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_PROFILE",
        "AWS_ROLE_ARN",
    ] {
        let value = format!("{}-value\n", e2e::MARK);
        let setup = || Setup::of("aux-service").with(name, &value);
        refused(setup(), &[name, "printf"]).await;
        let said = String::from_utf8(setup().run_to_end().await.stderr).unwrap();
        assert!(!said.contains(e2e::MARK), "{said}");
        // The embedded backend does not use the SDK.
        setup().with("BACKEND", "embedded").start().await;
    }
}

#[tokio::test]
async fn a_log_filter_that_makes_no_sense_ends_the_start_and_is_named() {
    for binary in ["aux-service", "main-api"] {
        refused(Setup::of(binary).with("RUST_LOG", "main_api=loudest"), &["RUST_LOG"]).await;
    }
}

#[tokio::test]
async fn an_unknown_flag_ends_the_start_and_is_named() {
    for binary in ["aux-service", "main-api"] {
        refused(Setup::of(binary).flag("--tiemout=5s"), &["--tiemout"]).await;
    }
}

#[tokio::test]
async fn an_address_in_use_ends_the_start_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setup in [Setup::of("aux-service").with("BACKEND", "embedded"), Setup::of("main-api")] {
        let output = setup.with("LISTEN_ADDR", &address).run_to_end().await;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!output.status.success());
        assert!(said.contains(&address) && !said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn a_flag_outweighs_its_variable() {
    let aux = Setup::of("aux-service")
        .with("BACKEND", "embedded")
        .with("AUX_VERSION", "variable")
        .flag("--aux-version=flag")
        .start()
        .await;
    assert_eq!(aux.get("/buckets").await.ok()["version"], "flag");
}
