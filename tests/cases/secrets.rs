//! Values and credentials never reach a log or an error, even with full logging and every kind of
//! failure.

use e2e::{
    MARK,
    proxy::{Answer, Fault},
    refusals,
    stack::Stack,
};

/// The harness searches the log of a service when it ends, and every response. This test produces
/// as much output as it can.
#[tokio::test]
async fn the_most_talkative_log_holds_no_value_and_no_credential() {
    let stack = Stack::with(
        |aux| {
            aux.with("RUST_LOG", "trace")
                .with("ACCESS_LOG", "all")
                .with("ALLOW_SECURE_STRINGS", "true")
        },
        |main| main.with("RUST_LOG", "trace").with("ACCESS_LOG", "all"),
    )
    .await;
    stack.aws.put("/app/key", &format!("{MARK}: a value")).await;
    stack.aws.put_typed("/app/password", "SecureString", &format!("{MARK}: a secret")).await;
    let garbage = format!("{{\"Parameter\":{{\"Value\":\"{MARK}\",\"Type\":7}}}}");
    for fault in [
        None,
        Some(Fault::Truncate),
        Some(Answer::new(200, "application/x-amz-json-1.1", &garbage).into()),
        Some(refusals::ssm(400, "ValidationException", &format!("bad value: {MARK}")).into()),
        Some(refusals::ssm_expired().into()),
    ] {
        stack.aws.proxy.heal();
        if let Some(fault) = fault {
            stack.aws.proxy.fail_all(fault);
        }
        for path in ["/param/app/key", "/param/app/password", "/values/app", "/params", "/buckets"]
        {
            stack.aux.get(path).await;
            stack.main.get(path).await;
        }
    }
    stack.aws.proxy.heal();
    for fault in [Fault::Truncate, refusals::ssm(200, "x", MARK).into()] {
        stack.between.heal();
        stack.between.fail_all(fault);
        stack.main.get("/param/app/key").await;
        stack.main.get("/values/app").await;
    }
    stack.between.heal();
    for service in [&stack.aux, &stack.main] {
        for path in ["/metrics", "/readyz", "/status", "/healthz"] {
            let reply = service.get(path).await;
            assert!(!reply.body.contains(MARK), "{} {path}: {}", service.name, reply.body);
        }
    }
}
