//! The session token of an SDK is the token of the service.

use std::{fs, path::PathBuf};

use e2e::{
    MARK,
    moto::Aws,
    sdk_clients::{Question, SDKS, SdkClient, Settings, wire},
};

use super::{Front, TARGETS};

/// A file with one token.
struct TokenFile {
    path: PathBuf,
    token: String,
}

impl TokenFile {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("e2e-ssm-{name}-{}", std::process::id()));
        let token = format!("{MARK}-token-of-clients-0123456789");
        fs::write(&path, &token).unwrap();
        Self { path, token }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The harness searches all output of the services for the mark, which the secret key, the session
/// tokens and the values hold.
#[tokio::test]
async fn only_the_right_session_token_is_accepted_and_no_log_holds_credentials() {
    let file = TokenFile::new("tokens");
    for target in TARGETS {
        let aws = Aws::start().await;
        aws.put("/app/key", MARK).await;
        let settings =
            [("AUTH_TOKEN_FILE", file.path()), ("RUST_LOG", "trace"), ("ACCESS_LOG", "all")];
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        for kind in SDKS {
            let secret_key = format!("{MARK}-the-secret-key");
            let settings = Settings { secret_key, ..Settings::of(&front.proxy.url) };
            let wrong = format!("{MARK}-another-token-0123456789");
            for refused in [settings.clone(), settings.clone().token(&wrong)] {
                let sent = front.proxy.all_calls();
                let mut client = SdkClient::start(kind, &refused);
                let code = client.error(&Question::get("/app/key")).await;
                assert_eq!(code, "UnrecognizedClientException", "{kind:?}");
                assert_eq!(front.proxy.all_calls() - sent, 1, "{kind:?}: it is final");
            }
            if kind == SDKS[0] {
                assert_eq!(aws.proxy.all_calls(), 0, "a refused client causes no call");
            }
            let mut client = SdkClient::start(kind, &settings.token(&file.token));
            assert_eq!(client.value("/app/key").await, MARK);
        }
        let metrics = front.service().get("/metrics").await;
        assert!(!metrics.body.contains(MARK), "{}", metrics.body);
        for call in aws.proxy.requests("GetParameter") {
            let token = call.header("x-amz-security-token");
            assert_ne!(token, Some(&*file.token), "the client's token is not for AWS");
        }
    }
}

#[tokio::test]
async fn a_refused_client_is_told_in_the_form_of_aws_before_its_request_is_read() {
    let file = TokenFile::new("form");
    for target in TARGETS {
        let aws = Aws::start().await;
        let settings = [("AUTH_TOKEN_FILE", file.path())];
        let front = Front::start(target, &aws.proxy.url, &settings).await;
        for (operation, body) in
            [("GetParameter", "{}"), ("PutParameter", "no JSON"), ("Unheard", "")]
        {
            let reply = wire::post(&front.service().url, operation, body, None).await;
            assert_eq!(reply.status, 400, "{reply:?}");
            assert_eq!(wire::code(&reply).as_deref(), Some("UnrecognizedClientException"));
            assert_eq!(reply.header("content-type"), Some("application/x-amz-json-1.1"));
        }
    }
}
