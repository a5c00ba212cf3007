//! Tests of bearer tokens: the clients that are admitted, and the token that main-api sends to
//! aux-service.

use std::{fs, path::PathBuf};

use e2e::{MARK, service::Setup, stack::Stack};
use reqwest::Method;

/// Three files, each with one token. Every token holds the mark, so that the tests find a leak.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("e2e-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let files = Self { folder };
        for name in ["clients", "main-api", "strangers"] {
            fs::write(files.path(name), files.token(name)).unwrap();
        }
        files
    }

    fn token(&self, name: &str) -> String {
        format!("{MARK}-token-of-{name}-0123456789")
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn each_service_accepts_only_its_own_tokens_and_main_api_sends_the_token_of_aux_service() {
    let files = Files::new("tokens");
    let stack = Stack::with(
        |aux| aux.with("AUTH_TOKEN_FILE", &files.path("main-api")),
        |main| {
            main.with("AUTH_TOKEN_FILE", &files.path("clients"))
                .with("AUX_TOKEN_FILE", &files.path("main-api"))
        },
    )
    .await;
    stack.aws.put("/app/key", &format!("{MARK}: a value")).await;
    let bearer = |name: &str| format!("Bearer {}", files.token(name));
    for (service, right, wrong) in
        [(&stack.main, "clients", "main-api"), (&stack.aux, "main-api", "clients")]
    {
        for path in ["/param/app/key", "/buckets", "/status", "/nowhere"] {
            let refused = service.get(path).await;
            refused.problem(401, "unauthorized");
            assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer realm="api""#));
            let shown = [("authorization", &*bearer(wrong))];
            service.send(Method::GET, path, &shown).await.problem(401, "unauthorized");
        }
        for probe in ["/healthz", "/livez", "/readyz", "/metrics"] {
            assert_eq!(service.get(probe).await.status, 200, "{probe}");
        }
        let shown = [("authorization", &*bearer(right))];
        let answer = service.send(Method::GET, "/param/app/key", &shown).await;
        assert_eq!(answer.ok()["value"], format!("{MARK}: a value"));
        // The harness searches the logs for the mark when the services end.
        let status = service.send(Method::GET, "/status", &shown).await;
        assert!(!status.body.contains(MARK), "{}", status.body);
    }
}

#[tokio::test]
async fn a_token_that_aux_service_refuses_is_not_blamed_on_the_client() {
    let files = Files::new("refused");
    let stack = Stack::with(
        |aux| aux.with("AUTH_TOKEN_FILE", &files.path("main-api")),
        |main| main.with("AUX_TOKEN_FILE", &files.path("strangers")),
    )
    .await;
    stack.main.get("/buckets").await.problem(502, "upstream-unavailable");
}

#[tokio::test]
async fn a_token_file_that_cannot_be_used_ends_the_start() {
    let files = Files::new("unusable");
    fs::write(files.path("clients"), format!("{MARK} {MARK}")).unwrap();
    for (binary, variable) in [
        ("aux-service", "AUTH_TOKEN_FILE"),
        ("main-api", "AUTH_TOKEN_FILE"),
        ("main-api", "AUX_TOKEN_FILE"),
    ] {
        let path = files.path("clients");
        let output = Setup::of(binary).with(variable, &path).run_to_end().await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(&path) && stderr.contains("line 1 is no token"), "{stderr}");
        assert!(!stderr.contains(MARK), "{stderr}");
    }
}
