//! A fake provider of AWS credentials: a container endpoint, the instance metadata service, STS or
//! the portal of SSO, with delays and faults on command.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::{
    MARK,
    moto::{Aws, REGION},
    proxy::{Answer, Fault, Proxy},
    service::Setup,
};

/// A server that serves the responses of a script.
pub struct Provider {
    /// The proxy between the service and the responses: it counts, delays and fails requests.
    pub proxy: Proxy,
    answers: Proxy,
}

impl Provider {
    pub async fn start() -> Self {
        // The second proxy has no server behind it. It sends only responses of its own.
        let answers = Proxy::before("http://127.0.0.1:9").await;
        Self { proxy: Proxy::before(&answers.url).await, answers }
    }

    /// Serves this response at a path, after a delay.
    pub fn serve(&self, path: &str, delay: Duration, answer: Answer) {
        self.answers.fail(path, answer);
        self.proxy.fail(path, Fault::Delay(delay));
    }
}

/// Returns settings of aux-service like [`service::aux`](crate::service::aux), without credentials.
pub fn without_credentials(aws: &Aws) -> Setup {
    Setup::of("aux-service")
        .with("AWS_ENDPOINT_URL_SSM", &aws.proxy.url)
        .with("AWS_ENDPOINT_URL_S3", &aws.proxy.url)
        .with("AWS_REGION", REGION)
        .with("AWS_EC2_METADATA_DISABLED", "true")
        .with("AWS_RATE_GET", "0")
        .with("AWS_RATE_LIST", "0")
        .with("CACHE", "off")
}

/// A secret that no log may show.
pub fn secret() -> String {
    format!("{MARK}-the-secret")
}

/// Credentials in the format of container endpoints and of the instance metadata service.
pub fn container(key: &str, expiry: SystemTime) -> Answer {
    let body = json!({
        "Code": "Success",
        "AccessKeyId": key,
        "SecretAccessKey": secret(),
        "Token": format!("{MARK}-the-session"),
        "Expiration": timestamp(expiry),
    });
    Answer::new(200, "application/json", &body.to_string())
}

/// STS's response to `AssumeRoleWithWebIdentity`.
pub fn assumed_role(key: &str) -> Answer {
    let (secret, session, expiry) =
        (secret(), format!("{MARK}-the-session"), timestamp(in_an_hour()));
    let body = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{session}</SessionToken>\
         <Expiration>{expiry}</Expiration></Credentials><AssumedRoleUser>\
         <Arn>arn:aws:sts::123456789012:assumed-role/aux/pod</Arn><AssumedRoleId>AROAEXAMPLE:pod</AssumedRoleId>\
         </AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    Answer::new(200, "text/xml", &body)
}

/// STS's refusal of a role.
pub fn denied_role() -> Answer {
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>AccessDenied</Code><Message>Not authorized: {MARK}</Message></Error></ErrorResponse>"
    );
    Answer::new(403, "text/xml", &body)
}

/// The response of SSO's portal.
pub fn role_credentials(key: &str) -> Answer {
    let expiry = in_an_hour().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let body = json!({ "roleCredentials": {
        "accessKeyId": key,
        "secretAccessKey": secret(),
        "sessionToken": format!("{MARK}-the-session"),
        "expiration": expiry.as_millis() as u64,
    }});
    Answer::new(200, "application/json", &body.to_string())
}

pub fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

/// Formats a time as in RFC 3339.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
