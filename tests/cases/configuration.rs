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

/// A start that must end: the service, its variables, and the sentence.
type Start = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const STARTS: [Start; 59] = [
    // Addresses.
    (
        "aux-service",
        &[("LISTEN_ADDR", "nowhere")],
        "invalid value 'nowhere' for --listen-addr (LISTEN_ADDR): write it as an IP address and a port, like 0.0.0.0:5000 or 127.0.0.1:5000",
    ),
    (
        "main-api",
        &[("LISTEN_ADDR", "localhost:5000")],
        "invalid value 'localhost:5000' for --listen-addr (LISTEN_ADDR): write it as an IP address and a port, like 0.0.0.0:5000 or 127.0.0.1:5000",
    ),
    (
        "aux-service",
        &[("ADMIN_ADDR", "5001")],
        "invalid value '5001' for --admin-addr (ADMIN_ADDR): write it as an IP address and a port, like 0.0.0.0:5000 or 127.0.0.1:5000",
    ),
    (
        "main-api",
        &[("LISTEN_ADDR", "127.0.0.1:5999"), ("ADMIN_ADDR", "0.0.0.0:5999")],
        "--admin-addr (0.0.0.0:5999) and --listen-addr (127.0.0.1:5999) use the same port; give each its own, or leave --admin-addr out",
    ),
    (
        "main-api",
        &[("AUX_URL", "aux-service:5000")],
        "invalid value 'aux-service:5000' for --aux-url (AUX_URL): write it as http://HOST:PORT; https:// is not supported",
    ),
    (
        "main-api",
        &[("AUX_URL", "https://aux")],
        "invalid value 'https://aux' for --aux-url (AUX_URL): write it as http://HOST:PORT; https:// is not supported",
    ),
    (
        "main-api",
        &[("AUX_URL", "")],
        "--aux-url (AUX_URL) is empty; leave it out, or give it a value: write it as http://HOST:PORT; https:// is not supported",
    ),
    (
        "main-api",
        &[("AUX_URL", "http://user:hush-password@aux")],
        "the value of --aux-url (AUX_URL) is invalid: write it as http://HOST:PORT or http://HOST:PORT/PATH, without a user, a password or a query",
    ),
    (
        "main-api",
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")],
        "invalid value 'collector:4318' for --otel-exporter-otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT): write it as http://HOST:PORT; https:// is not supported",
    ),
    // Forms of values.
    (
        "main-api",
        &[("ATTEMPT_TIMEOUT", "4")],
        "invalid value '4' for --attempt-timeout (ATTEMPT_TIMEOUT): write it as a number and a unit, like 500ms, 5s or 1h",
    ),
    (
        "main-api",
        &[("SHUTDOWN_GRACE", "a while")],
        "invalid value 'a while' for --shutdown-grace (SHUTDOWN_GRACE): write it as a number and a unit, like 500ms, 5s or 1h",
    ),
    (
        "aux-service",
        &[("AWS_ATTEMPT_TIMEOUT", "-1s")],
        "invalid value '-1s' for --aws-attempt-timeout (AWS_ATTEMPT_TIMEOUT): write it as a number and a unit, like 500ms, 5s or 1h",
    ),
    (
        "aux-service",
        &[("CACHE_TTL", "99years")],
        "invalid value '99years' for --cache-ttl (CACHE_TTL): it must be at most a year",
    ),
    (
        "aux-service",
        &[("REQUEST_TIMEOUT", "0s")],
        "invalid value '0s' for --request-timeout (REQUEST_TIMEOUT): it must be longer than 0s, like 500ms, 5s or 1h",
    ),
    (
        "aux-service",
        &[("CACHE_MAX_BYTES", "64 apples")],
        "invalid value '64 apples' for --cache-max-bytes (CACHE_MAX_BYTES): write it as a number and a unit, like 64MiB or 1GiB",
    ),
    (
        "aux-service",
        &[("CACHE_MAX_BYTES", "99EiB")],
        "invalid value '99EiB' for --cache-max-bytes (CACHE_MAX_BYTES): it must be at most 1.0 TiB",
    ),
    (
        "aux-service",
        &[("CACHE_MAX_BYTES", "1KiB")],
        "--cache-max-bytes is 1.0 KiB, which is below the minimum of 1.0 MiB; raise it, or set --cache off",
    ),
    (
        "main-api",
        &[("MAX_IN_FLIGHT", "many")],
        "invalid value 'many' for --max-in-flight (MAX_IN_FLIGHT): it must be a whole number from 1 to 10000000",
    ),
    (
        "main-api",
        &[("MAX_WAITING", "0")],
        "invalid value '0' for --max-waiting (MAX_WAITING): it must be a whole number from 1 to 10000000",
    ),
    (
        "main-api",
        &[("RETRY_MAX_ATTEMPTS", "11")],
        "invalid value '11' for --retry-max-attempts (RETRY_MAX_ATTEMPTS): it must be a whole number from 1 to 10",
    ),
    (
        "main-api",
        &[("BREAKER_MIN_CALLS", "0")],
        "invalid value '0' for --breaker-min-calls (BREAKER_MIN_CALLS): it must be a whole number from 1 to 4294967295",
    ),
    (
        "main-api",
        &[("RETRY_BUDGET", "1.1")],
        "invalid value '1.1' for --retry-budget (RETRY_BUDGET): it must be a number from 0 to 1, like 0.2",
    ),
    (
        "main-api",
        &[("BREAKER_FAILURE_RATE", "0")],
        "invalid value '0' for --breaker-failure-rate (BREAKER_FAILURE_RATE): it must be above 0, like 0.5, or the first call would open the circuit",
    ),
    ("main-api", &[("BREAKER_OPEN_FOR", "2h")], "--breaker-open-for is 2h; it must be at most 1h"),
    (
        "aux-service",
        &[("CACHE_TTL_JITTER", "1")],
        "invalid value '1' for --cache-ttl-jitter (CACHE_TTL_JITTER): it must be a number from 0 to below 1, like 0.1",
    ),
    (
        "aux-service",
        &[("AWS_RATE_GET", "many")],
        "invalid value 'many' for --aws-rate-get (AWS_RATE_GET): it must be a number of calls a second, like 40 or 0.5",
    ),
    (
        "aux-service",
        &[("AWS_RATE_LIST", "-1")],
        "invalid value '-1' for --aws-rate-list (AWS_RATE_LIST): it must be 0, or from 0.001 to a million calls a second",
    ),
    (
        "aux-service",
        &[("BACKEND", "azure")],
        "invalid value 'azure' for --backend (BACKEND): write aws or embedded",
    ),
    (
        "aux-service",
        &[("BACKEND", "")],
        "--backend (BACKEND) is empty; leave it out, or give it a value: write aws or embedded",
    ),
    (
        "aux-service",
        &[("CACHE", "maybe")],
        "invalid value 'maybe' for --cache (CACHE): write on or off",
    ),
    (
        "aux-service",
        &[("ALLOW_SECURE_STRINGS", "1")],
        "invalid value '1' for --allow-secure-strings (ALLOW_SECURE_STRINGS): write true or false",
    ),
    (
        "main-api",
        &[("LOG_FORMAT", "xml")],
        "invalid value 'xml' for --log-format (LOG_FORMAT): write json or pretty",
    ),
    (
        "main-api",
        &[("ACCESS_LOG", "some")],
        "invalid value 'some' for --access-log (ACCESS_LOG): write errors or all or off",
    ),
    (
        "main-api",
        &[("RUST_LOG", "main_api=loudest")],
        "RUST_LOG is invalid: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5; write it like info or info,service=debug",
    ),
    // Names of parameters.
    (
        "aux-service",
        &[("PARAMETER_PREFIXES", "app")],
        "invalid value 'app' for --parameter-prefixes (PARAMETER_PREFIXES): the prefix 'app' must begin with / or be an ARN",
    ),
    (
        "aux-service",
        &[("WARM_UP", "/other/key"), ("PARAMETER_PREFIXES", "/app")],
        "--warm-up names /other/key, which is outside --parameter-prefixes (/app); remove it, or add it to the prefixes",
    ),
    // Values that contradict each other.
    (
        "aux-service",
        &[("AWS_ATTEMPT_TIMEOUT", "3s")],
        "--aws-attempt-timeout (3s) must be shorter than --aws-operation-timeout (3s); lower the first, or raise the second",
    ),
    (
        "aux-service",
        &[("REQUEST_TIMEOUT", "2s")],
        "--aws-operation-timeout (3s) must be shorter than --request-timeout (2s); lower the first, or raise the second",
    ),
    (
        "aux-service",
        &[("AWS_LIST_TIMEOUT", "1s")],
        "--aws-operation-timeout (3s) must be shorter than --aws-list-timeout (1s); lower the first, or raise the second",
    ),
    (
        "main-api",
        &[("ATTEMPT_TIMEOUT", "10s")],
        "--attempt-timeout (10s) must be shorter than --request-timeout (10s); lower the first, or raise the second",
    ),
    (
        "main-api",
        &[("RETRY_BACKOFF", "10s")],
        "--retry-backoff (10s) must be shorter than --request-timeout (10s); lower the first, or raise the second",
    ),
    (
        "aux-service",
        &[("CACHE_STALE_WHILE_REVALIDATE", "2h")],
        "--cache-stale-while-revalidate (2h) must not be longer than --cache-stale-if-error (1h); lower the first, or raise the second",
    ),
    (
        "aux-service",
        &[("WARM_UP", "/a"), ("CACHE", "off")],
        "--warm-up needs the cache, but --cache is off; set --cache on, or remove --warm-up",
    ),
    (
        "aux-service",
        &[("CHANGE_QUEUE_URL", "https://a/123456789012/b"), ("CACHE", "off")],
        "--change-queue-url needs the cache, but --cache is off; set --cache on, or remove the URL",
    ),
    (
        "aux-service",
        &[("CHANGE_QUEUE_URL", "https://a/123456789012/b"), ("BACKEND", "embedded")],
        "--change-queue-url is given, but --backend is not aws; set --backend aws, or remove the URL",
    ),
    (
        "aux-service",
        &[("EMBEDDED_FILE", "inventory.yaml")],
        "--embedded-file is given, but --backend is not embedded; set --backend embedded, or remove the file",
    ),
    // AWS.
    (
        "aux-service",
        &[],
        "no AWS region is set; set AWS_REGION, for example to eu-west-2, or set --backend embedded",
    ),
    (
        "aux-service",
        &[("AWS_REGION", "eu_west")],
        "the value of AWS_REGION is no region; write it like eu-west-2",
    ),
    (
        "aux-service",
        &[("AWS_REGION", "eu-west-2"), ("AWS_ENDPOINT_URL", "moto")],
        "the value of AWS_ENDPOINT_URL is no http:// or https:// URL; correct it, or unset the variable",
    ),
    (
        "aux-service",
        &[("CHANGE_QUEUE_URL", "https://sqs.eu-west-2.amazonaws.com/changes")],
        "invalid value 'https://sqs.eu-west-2.amazonaws.com/changes' for --change-queue-url (CHANGE_QUEUE_URL): write the URL of a queue, like https://sqs.eu-west-2.amazonaws.com/123456789012/changes",
    ),
    (
        "aux-service",
        &[("CHANGE_QUEUE_URL", "https://me:hush@sqs.eu-west-2.amazonaws.com/1/c")],
        "the value of --change-queue-url (CHANGE_QUEUE_URL) is invalid: write the URL of a queue, like https://sqs.eu-west-2.amazonaws.com/123456789012/changes",
    ),
    // A token in the query, or in the place of its file, is not shown.
    (
        "main-api",
        &[("AUX_URL", "https://aux-service?token=hush")],
        "the value of --aux-url (AUX_URL) is invalid: write it as http://HOST:PORT; https:// is not supported",
    ),
    (
        "main-api",
        &[("AUX_TOKEN_FILE", "hush-the-token-itself")],
        "the value of --aux-token-file (AUX_TOKEN_FILE) is invalid: it cannot be read: No such file or directory (os error 2); name a file that this process can read",
    ),
    // Files.
    (
        "main-api",
        &[("AUX_TOKEN_FILE", "/no/such")],
        "invalid value '/no/such' for --aux-token-file (AUX_TOKEN_FILE): it cannot be read: No such file or directory (os error 2); name a file that this process can read",
    ),
    (
        "aux-service",
        &[("AUTH_TOKEN_FILE", "/")],
        "invalid value '/' for --auth-token-file (AUTH_TOKEN_FILE): it is no regular file; name a file",
    ),
    (
        "main-api",
        &[("AUTH_TOKEN_FILE", "Cargo.toml")],
        "the value of --auth-token-file (AUTH_TOKEN_FILE) is invalid: line 1 is no token; write 16 to 512 letters, digits and -._~+/ (with = at the end), and nothing else",
    ),
    (
        "aux-service",
        &[("BACKEND", "embedded"), ("EMBEDDED_FILE", "/no/such.yaml")],
        "--embedded-file /no/such.yaml cannot be used: No such file or directory (os error 2); name a YAML file that this process can read",
    ),
    (
        "aux-service",
        &[("BACKEND", "embedded"), ("EMBEDDED_FILE", "Cargo.toml")],
        "--embedded-file Cargo.toml cannot be used: it must be YAML with `buckets` (a list of names) and `parameters` (a list of name, type and value); see line 1",
    ),
    (
        "aux-service",
        &[("BACKEND", "embedded"), ("SHARED_CACHE_URL", "redis://engine/first")],
        "the value of --shared-cache-url cannot be used: its path must be the number of a database, as in redis://HOST:6379/0",
    ),
];

#[tokio::test]
async fn each_wrong_value_ends_the_start_with_one_sentence_that_names_it_and_the_remedy() {
    for (binary, variables, sentence) in STARTS {
        let setup = variables
            .iter()
            .fold(Setup::of(binary), |setup, (variable, value)| setup.with(variable, value));
        ends(setup, 2, sentence).await;
    }
}

/// Checks the exit status of a start, and that its first line is this sentence. The only other text
/// leads to `--help`.
async fn ends(setup: Setup, status: i32, sentence: &str) {
    let output = setup.run_to_end().await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{sentence}: {said}");
    assert_eq!(said.lines().next(), Some(&*format!("error: {sentence}")));
    assert!(status != 2 || said.contains("--help"), "{said}");
    assert!(!said.contains(e2e::MARK), "{said}");
}

#[tokio::test]
async fn a_wrong_flag_ends_the_start_with_one_sentence_that_names_it_and_the_remedy() {
    for (flag, sentence) in [
        ("--tiemout=5s", "there is no flag --tiemout; --help lists all flags"),
        ("--request-timout=5s", "there is no flag --request-timout; write --request-timeout"),
        ("5s", "an argument is no flag, as it does not begin with --; --help lists all flags"),
        (
            "--request-timeout",
            "--request-timeout (REQUEST_TIMEOUT) is empty; leave it out, or give it a value: --help describes it",
        ),
    ] {
        for binary in ["aux-service", "main-api"] {
            ends(Setup::of(binary).flag(flag), 2, sentence).await;
        }
    }
}

#[tokio::test]
async fn a_variable_that_is_nearly_a_setting_is_logged_and_others_are_not() {
    let aux = Setup::of("aux-service")
        .with("BACKEND", "embedded")
        .with("CACHE_DIR", "/tmp")
        .with("AUX_SERVICE_PORT", "tcp://10.0.0.1:5000")
        .with("CACHE_TLL", e2e::MARK)
        .start()
        .await;
    let warned = aux.log_line(|line| line["level"] == "WARN").await;
    assert_eq!(
        (&warned["variable"], &warned["setting"]),
        (&"CACHE_TLL".into(), &"CACHE_TTL".into())
    );
    let warnings = aux.log().lines().filter(|line| line.contains("has no effect")).count();
    assert_eq!(warnings, 1, "{}", aux.log());
}

/// The machine is at fault, not the configuration, so the exit status is 1.
#[tokio::test]
async fn an_address_that_cannot_be_listened_on_ends_the_start_with_status_1_and_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let in_use = "Address already in use (os error 98); end the program that uses it, or choose another port";
    let not_here = "Cannot assign requested address (os error 99); this machine has no such address; 0.0.0.0 listens on all addresses";
    for (setting, variable, address, reason) in [
        ("--listen-addr", "LISTEN_ADDR", &*address, in_use),
        ("--admin-addr", "ADMIN_ADDR", &address, in_use),
        // TEST-NET-1 (RFC 5737) belongs to no machine.
        ("--listen-addr", "LISTEN_ADDR", "192.0.2.1:5000", not_here),
    ] {
        let aux = Setup::of("aux-service").with("BACKEND", "embedded");
        for setup in [aux, Setup::of("main-api")] {
            let sentence = format!(
                "cannot listen on {address}, the value of {setting} ({variable}): {reason}"
            );
            ends(setup.with(variable, address), 1, &sentence).await;
        }
    }
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
async fn a_flag_outweighs_its_variable() {
    let aux = Setup::of("aux-service")
        .with("BACKEND", "embedded")
        .with("AUX_VERSION", "variable")
        .flag("--aux-version=flag")
        .start()
        .await;
    assert_eq!(aux.get("/buckets").await.ok()["version"], "flag");
}
