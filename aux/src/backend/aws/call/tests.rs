use aws_sdk_ssm::operation::get_parameter::GetParameterError;
use clap::Parser;
use tokio::time::sleep;

use super::*;
use crate::backend::aws::credentials::Script;

const SECOND: Duration = Duration::from_secs(1);

type Response = Result<u8, SdkError<GetParameterError>>;

fn policy(credentials: CredentialCache) -> CallPolicy {
    let config = Config::try_parse_from(["aux-service", "--aws-rate-get=0.01"]).expect("defaults");
    CallPolicy::from_config(&config, credentials, "eu-west-2", None)
}

async fn call(policy: &CallPolicy, request: impl Future<Output = Response>) -> Result<u8, Error> {
    policy.admit(Operation::GetParameter, Priority::Miss).await?;
    policy.send(Operation::GetParameter, request).await
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_call_begins_when_the_credentials_are_there() {
    let policy = policy(Script::new().load(4 * SECOND, "key", None).start());
    let request = async {
        sleep(2 * SECOND).await;
        Ok(7)
    };
    assert_eq!(call(&policy, request).await.ok(), Some(7), "4 s and 2 s; the call may take 3 s");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_credentials_takes_nothing_of_the_quota_and_is_degraded() {
    let script = Script::new().fail(Duration::ZERO, true).load(Duration::ZERO, "key", None);
    let policy = policy(script.start());
    let unsent = async { panic!("a call without credentials is not sent") };
    let failed = call(&policy, unsent).await.expect_err("no credentials");
    assert!(matches!(failed, Error::AwsCredentials { retryable: true, .. }), "{failed:?}");
    assert_eq!(policy.health()["ssm"], "degraded");
    assert_eq!(policy.health()["credentials"], "degraded");
    sleep(2 * SECOND).await;
    let sent = call(&policy, async { Ok(7) }).await;
    assert_eq!(sent.ok(), Some(7), "the only token of the quota is still there");
    assert_eq!(policy.health()["ssm"], "ok");
    assert_eq!(policy.health()["credentials"], "ok");
}

#[tokio::test(start_paused = true)]
async fn a_panic_below_a_call_is_an_error_of_that_call() {
    let policy = policy(Script::new().load(Duration::ZERO, "key", None).start());
    let failed = call(&policy, async { panic!("hush") }).await.expect_err("it panicked");
    assert!(matches!(failed, Error::AwsUnavailable(_)), "{failed:?}");
    assert!(failed.problem().retryable);
    assert_eq!(Outcome::of(&Err::<(), _>(failed.clone())), Outcome::Error);
    assert!(!format!("{failed:?}").contains("hush"), "{failed:?}");
    assert_eq!(policy.health()["ssm"], "degraded");
}
