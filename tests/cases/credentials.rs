//! The providers of AWS credentials: slow ones, failing ones, and each way of the SDK's chain.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use e2e::{
    MARK,
    credentials::{
        Provider, assumed_role, container, denied_role, in_an_hour, role_credentials, secret,
        timestamp, without_credentials,
    },
    moto::Aws,
    proxy::{Answer, Fault},
    refusals,
    service::{Service, Setup},
};
use serde_json::{Value, json};

/// A delay that is longer than an attempt of a call may take.
const SLOW: Duration = Duration::from_millis(2500);

/// Shortens the attempts of calls below [`SLOW`], and leaves time for a busy machine elsewhere.
fn impatient(setup: Setup) -> Setup {
    setup
        .with("AWS_ATTEMPT_TIMEOUT", "2s")
        .with("AWS_OPERATION_TIMEOUT", "6s")
        .with("AWS_CREDENTIALS_TIMEOUT", "12s")
        .with("REQUEST_TIMEOUT", "18s")
}

async fn account() -> Aws {
    let aws = Aws::start().await;
    aws.put("/app/key", &format!("{MARK}: a value")).await;
    aws
}

/// Settings with a container endpoint.
fn with_container(aws: &Aws, provider: &Provider) -> Setup {
    let url = format!("{}/role", provider.proxy.url);
    impatient(without_credentials(aws)).with("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)
}

/// Requests a parameter, and returns the access key that signed the call to AWS.
async fn signing_key(aux: &Service, aws: &Aws) -> String {
    aux.get("/param/app/key").await.ok();
    let calls = aws.proxy.requests("GetParameter");
    let authorization = calls.last().and_then(|call| call.header("authorization")).unwrap();
    let (_, scope) = authorization.split_once("Credential=").unwrap();
    scope.split('/').next().unwrap().to_owned()
}

async fn dependencies(aux: &Service) -> Value {
    aux.get("/readyz").await.ok()["dependencies"].clone()
}

/// Returns the value of the first sample of a metric that has these labels.
async fn sample(aux: &Service, metric: &str) -> Option<f64> {
    let metrics = aux.get("/metrics").await.body;
    let sample = metrics.lines().find(|line| line.starts_with(metric))?;
    sample.rsplit_once(' ')?.1.parse().ok()
}

/// A folder for files of the SDK. The drop removes it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("e2e-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Writes a file, and returns its path.
    fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_slow_container_endpoint_serves_the_first_requests_and_is_called_once() {
    let (aws, provider) = (account().await, Provider::start().await);
    provider.serve("/role", SLOW, container("ASIACONTAINER", in_an_hour()));
    let aux = with_container(&aws, &provider).start().await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let url = format!("{}/param/app/key", aux.url);
        requests.spawn(async move { e2e::http::get(&url).await });
    }
    for reply in requests.join_all().await {
        reply.ok();
    }
    assert_eq!(provider.proxy.calls("/role"), 1);
    assert_eq!(signing_key(&aux, &aws).await, "ASIACONTAINER");
    assert_eq!(
        sample(&aux, "aws_requests_total{operation=\"GetParameter\",outcome=\"credentials\"}")
            .await,
        Some(0.0)
    );
}

#[tokio::test]
async fn credentials_are_loaded_before_the_first_request() {
    let (aws, provider) = (account().await, Provider::start().await);
    provider.serve("/role", Duration::ZERO, container("ASIACONTAINER", in_an_hour()));
    let aux = with_container(&aws, &provider).start().await;
    aux.log_line(|line| line["message"] == "AWS credentials loaded").await;
    assert_eq!(provider.proxy.calls("/role"), 1);
    assert_eq!(aws.proxy.all_calls(), 0);
}

#[tokio::test]
async fn readiness_and_a_metric_show_the_expiry() {
    let (aws, provider) = (account().await, Provider::start().await);
    let expiry = in_an_hour();
    provider.serve("/role", Duration::ZERO, container("ASIACONTAINER", expiry));
    let aux = with_container(&aws, &provider).start().await;
    aux.get("/param/app/key").await.ok();
    let dependencies = dependencies(&aux).await;
    assert_eq!(dependencies["credentials"], "ok");
    assert_eq!(dependencies["credentials_expire_at"], timestamp(expiry));
    let seconds = expiry.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let exported = sample(&aux, "aws_credentials_expiry_timestamp_seconds ").await;
    assert_eq!(exported, Some(seconds as f64));
}

#[tokio::test]
async fn credentials_that_never_expire_have_no_expiry_in_readiness_and_metrics() {
    let aws = account().await;
    let aux = e2e::service::aux(&aws).start().await;
    aux.get("/param/app/key").await.ok();
    let dependencies = dependencies(&aux).await;
    assert_eq!(dependencies["credentials"], "ok");
    assert_eq!(dependencies.get("credentials_expire_at"), None);
    assert_eq!(sample(&aux, "aws_credentials_expiry_timestamp_seconds").await, None);
}

#[tokio::test]
async fn slow_instance_metadata_delivers() {
    let (aws, provider) = (account().await, Provider::start().await);
    let token = Answer::new(200, "text/plain", &format!("{MARK}-token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
    let roles = "/latest/meta-data/iam/security-credentials/";
    provider.serve("/latest/api/token", Duration::from_millis(100), token);
    let name = Answer::new(200, "text/plain", "aux-role");
    provider.serve(roles, Duration::from_millis(400), name);
    let credentials = container("ASIAINSTANCE", in_an_hour());
    provider.serve(&format!("{roles}aux-role"), Duration::from_millis(800), credentials);
    let aux = without_credentials(&aws)
        .with("AWS_EC2_METADATA_DISABLED", "false")
        .with("AWS_EC2_METADATA_SERVICE_ENDPOINT", &provider.proxy.url)
        .start()
        .await;
    assert_eq!(signing_key(&aux, &aws).await, "ASIAINSTANCE");
}

/// Settings with a web identity, as on EKS.
fn with_web_identity(aws: &Aws, provider: &Provider, token_file: &str) -> Setup {
    impatient(without_credentials(aws))
        .with("AWS_ENDPOINT_URL_STS", &provider.proxy.url)
        .with("AWS_WEB_IDENTITY_TOKEN_FILE", token_file)
        .with("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/aux")
        .with("AWS_ROLE_SESSION_NAME", "pod")
}

#[tokio::test]
async fn a_slow_sts_delivers_for_a_web_identity() {
    let (aws, provider) = (account().await, Provider::start().await);
    let folder = Folder::new("web-identity");
    let token = folder.write("token", &format!("{MARK}.token"));
    provider.serve("/", SLOW, assumed_role("ASIAWEBIDENTITY"));
    let aux = with_web_identity(&aws, &provider, &token).start().await;
    assert_eq!(signing_key(&aux, &aws).await, "ASIAWEBIDENTITY");
    assert_eq!(provider.proxy.calls("/"), 1);
}

#[tokio::test]
async fn a_refusal_of_sts_is_final_and_named_in_the_log_without_its_message() {
    let (aws, provider) = (account().await, Provider::start().await);
    let folder = Folder::new("denied-identity");
    let token = folder.write("token", &format!("{MARK}.token"));
    provider.serve("/", Duration::ZERO, denied_role());
    let aux = with_web_identity(&aws, &provider, &token).start().await;
    let problem = aux.get("/param/app/key").await.problem(502, "aws-credentials");
    assert_eq!(problem["retryable"], false);
    let warned = aux.log_line(|line| line["message"] == "AWS credentials cannot be loaded").await;
    assert!(warned["reason"].as_str().unwrap().contains("403 (AccessDenied)"), "{warned}");
}

#[tokio::test]
async fn a_credential_process_of_a_profile_delivers() {
    let aws = account().await;
    let folder = Folder::new("process");
    let output = json!({
        "Version": 1,
        "AccessKeyId": "ASIAPROCESS",
        "SecretAccessKey": secret(),
        "SessionToken": format!("{MARK}-the-session"),
        "Expiration": timestamp(in_an_hour()),
    });
    let script = folder.write("provider.sh", &format!("#!/bin/sh\necho '{output}'\n"));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let config =
        folder.write("config", &format!("[profile laptop]\ncredential_process = {script}\n"));
    let aux = with_profile(&aws, &config, &folder).start().await;
    assert_eq!(signing_key(&aux, &aws).await, "ASIAPROCESS");
}

/// Settings with a profile named `laptop`.
fn with_profile(aws: &Aws, config: &str, folder: &Folder) -> Setup {
    without_credentials(aws)
        .with("AWS_CONFIG_FILE", config)
        .with("AWS_PROFILE", "laptop")
        .with("HOME", folder.path())
        .with("PATH", "/usr/bin:/bin")
}

#[tokio::test]
async fn a_credential_process_that_fails_is_final_and_its_output_is_not_logged() {
    let aws = account().await;
    let folder = Folder::new("failing-process");
    let script = format!("sh -c 'echo {MARK}-out; echo {MARK}-err >&2; exit 3'");
    let config =
        folder.write("config", &format!("[profile laptop]\ncredential_process = {script}\n"));
    let aux = with_profile(&aws, &config, &folder).with("RUST_LOG", "trace").start().await;
    let problem = aux.get("/param/app/key").await.problem(502, "aws-credentials");
    assert_eq!(problem["retryable"], false);
    let warned = aux.log_line(|line| line["message"] == "AWS credentials cannot be loaded").await;
    assert!(warned["reason"].as_str().unwrap().contains("credential_process"), "{warned}");
}

#[tokio::test]
async fn a_profile_with_sso_delivers() {
    let (aws, provider) = (account().await, Provider::start().await);
    let folder = Folder::new("sso");
    let config = "[profile laptop]\nsso_session = e2e\nsso_account_id = 123456789012\nsso_role_name = reader\n\n\
                  [sso-session e2e]\nsso_region = eu-west-2\nsso_start_url = https://portal.example/start\n";
    let config = folder.write("config", config);
    let token = json!({
        "accessToken": format!("{MARK}-sso-token"),
        "expiresAt": timestamp(in_an_hour()),
        "region": "eu-west-2",
        "startUrl": "https://portal.example/start",
    });
    // The name of the file is the SHA-1 of the session's name.
    folder
        .write(".aws/sso/cache/44491d4b74bd0174eebb1e35657a17a886edfb0c.json", &token.to_string());
    provider.serve("/federation/credentials", Duration::ZERO, role_credentials("ASIASSO"));
    let aux = with_profile(&aws, &config, &folder)
        .with("AWS_ENDPOINT_URL_SSO", &provider.proxy.url)
        .with("RUST_LOG", "trace")
        .start()
        .await;
    assert_eq!(signing_key(&aux, &aws).await, "ASIASSO");
    let asked = provider.proxy.requests("/federation/credentials");
    let bearer = asked[0].header("x-amz-sso_bearer_token").unwrap();
    assert_eq!(bearer, format!("{MARK}-sso-token"));
}

#[tokio::test]
async fn an_sso_session_without_a_token_is_final_and_a_new_login_is_picked_up() {
    let (aws, provider) = (account().await, Provider::start().await);
    let folder = Folder::new("sso-login");
    let config = "[profile laptop]\nsso_account_id = 123456789012\nsso_role_name = reader\n\
                  sso_region = eu-west-2\nsso_start_url = https://portal.example/start\n";
    let config = folder.write("config", config);
    provider.serve("/federation/credentials", Duration::ZERO, role_credentials("ASIASSO"));
    let aux = with_profile(&aws, &config, &folder)
        .with("AWS_ENDPOINT_URL_SSO", &provider.proxy.url)
        .start()
        .await;
    let problem = aux.get("/param/app/key").await.problem(502, "aws-credentials");
    assert_eq!(problem["retryable"], false);
    let token = json!({
        "accessToken": format!("{MARK}-sso-token"),
        "expiresAt": timestamp(in_an_hour()),
    });
    // The name of the file is the SHA-1 of the start URL.
    folder
        .write(".aws/sso/cache/5863e3e4b5a9564b6e829cf4aa6724bdbf9788a5.json", &token.to_string());
    recovered(&aux).await;
    assert_eq!(signing_key(&aux, &aws).await, "ASIASSO");
}

/// Repeats a request until it succeeds. Panics after half a minute.
async fn recovered(aux: &Service) {
    for _ in 0..300 {
        if aux.get("/param/app/key").await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it never recovered: {}", aux.log());
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_found_when_it_comes_back() {
    let (aws, provider) = (account().await, Provider::start().await);
    let unavailable = Answer::new(503, "text/plain", MARK);
    for fault in [Fault::Reset, unavailable.into()] {
        provider.proxy.fail_all(fault);
        let aux = with_container(&aws, &provider).start().await;
        let problem = aux.get("/param/app/key").await.problem(502, "aws-credentials");
        assert_eq!(problem["retryable"], true);
        let down = dependencies(&aux).await;
        assert_eq!((&down["credentials"], &down["ssm"]), (&json!("degraded"), &json!("degraded")));
        let counted = "aws_requests_total{operation=\"GetParameter\",outcome=\"credentials\"}";
        assert_eq!(sample(&aux, counted).await, Some(1.0));
        provider.proxy.heal();
        provider.serve("/role", Duration::ZERO, container("ASIACONTAINER", in_an_hour()));
        recovered(&aux).await;
        assert_eq!(dependencies(&aux).await["credentials"], "ok");
    }
}

#[tokio::test]
async fn a_provider_that_hangs_fails_after_its_own_timeout() {
    let (aws, provider) = (account().await, Provider::start().await);
    provider.proxy.fail_all(Fault::Hang);
    let setup = with_container(&aws, &provider).with("AWS_CREDENTIALS_TIMEOUT", "1s");
    let aux = setup.start().await;
    let problem = aux.get("/param/app/key").await.problem(502, "aws-credentials");
    assert_eq!(problem["retryable"], true);
    assert_eq!(aws.proxy.all_calls(), 0);
}

#[tokio::test]
async fn a_refused_connection_to_the_provider_passes_and_a_refused_request_does_not() {
    let aws = account().await;
    // No process listens on the port of the discard protocol.
    let refused = impatient(without_credentials(&aws))
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/role")
        .start()
        .await;
    let problem = refused.get("/param/app/key").await.problem(502, "aws-credentials");
    assert_eq!(problem["retryable"], true);
    let provider = Provider::start().await;
    for answer in [
        Answer::new(401, "text/plain", MARK),
        Answer::new(200, "application/json", &format!("{{\"{MARK}\":")),
        container("ASIA\nCONTAINER", in_an_hour()),
    ] {
        provider.serve("/role", Duration::ZERO, answer);
        let aux = with_container(&aws, &provider).start().await;
        let problem = aux.get("/param/app/key").await.problem(502, "aws-credentials");
        assert_eq!(problem["retryable"], false, "{}", aux.log());
        assert_eq!(dependencies(&aux).await["credentials"], "degraded");
        let counted = "aws_requests_total{operation=\"GetParameter\",outcome=\"credentials\"}";
        assert_eq!(sample(&aux, counted).await, Some(1.0));
        assert!(!aux.log().contains("panicked"), "{}", aux.log());
    }
}

#[tokio::test]
async fn credentials_that_are_delivered_expired_are_replaced_by_the_next_ones() {
    let (aws, provider) = (account().await, Provider::start().await);
    let past = SystemTime::now() - Duration::from_secs(60);
    provider.serve("/role", Duration::ZERO, container("ASIAEXPIRED", past));
    let aux = with_container(&aws, &provider).start().await;
    let problem = aux.get("/param/app/key").await.problem(502, "aws-credentials");
    assert_eq!(problem["retryable"], true);
    provider.serve("/role", Duration::ZERO, container("ASIANEXT", in_an_hour()));
    recovered(&aux).await;
    assert_eq!(signing_key(&aux, &aws).await, "ASIANEXT");
}

#[tokio::test]
async fn credentials_that_expire_soon_are_replaced_in_the_background() {
    let (aws, provider) = (account().await, Provider::start().await);
    let soon = SystemTime::now() + Duration::from_secs(8);
    provider.serve("/role", Duration::ZERO, container("ASIASOON", soon));
    let aux = with_container(&aws, &provider).start().await;
    aux.log_line(|line| line["message"] == "AWS credentials loaded").await;
    provider.serve("/role", Duration::ZERO, container("ASIANEXT", in_an_hour()));
    let next = timestamp(in_an_hour())[..13].to_owned();
    aux.log_line(|line| line["expiry"].as_str().is_some_and(|expiry| expiry.starts_with(&next)))
        .await;
    assert_eq!(signing_key(&aux, &aws).await, "ASIANEXT");
}

#[tokio::test]
async fn rotated_keys_of_a_profile_are_picked_up_after_aws_rejects_the_old_ones() {
    let aws = account().await;
    let folder = Folder::new("rotated");
    let profile = |key: &str| {
        let secret = secret();
        format!("[profile laptop]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    };
    let config = folder.write("config", &profile("AKIAOLD"));
    let aux = with_profile(&aws, &config, &folder).start().await;
    assert_eq!(signing_key(&aux, &aws).await, "AKIAOLD");
    folder.write("config", &profile("AKIANEW"));
    aws.proxy.fail("GetParameter", refusals::ssm_expired());
    aux.get("/param/app/key").await.problem(502, "aws-credentials");
    assert_eq!(dependencies(&aux).await["credentials"], "degraded");
    // A rejection causes a load ten seconds after the last one at the earliest.
    let signed_with_new_key = || {
        let calls = aws.proxy.requests("GetParameter");
        let authorization = calls.last().and_then(|call| call.header("authorization"));
        authorization.is_some_and(|text| text.contains("AKIANEW"))
    };
    for _ in 0..300 {
        if signed_with_new_key() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        aux.get("/param/app/key").await.problem(502, "aws-credentials");
    }
    aws.proxy.heal();
    assert_eq!(signing_key(&aux, &aws).await, "AKIANEW");
    assert_eq!(dependencies(&aux).await["credentials"], "ok");
}
