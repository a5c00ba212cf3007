//! The source of credentials: the SDK's default chain of providers.
//!
//! Each load builds a new chain. A chain remembers its profile files and their errors, so one chain
//! for the whole process would not notice a rotated file or a new `aws sso login`.

use std::time::SystemTime;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::{
    exchange::{LastExchange, RecordingClient, https_client},
    load_error::LoadError,
};

/// A source of credentials.
#[async_trait]
pub(super) trait CredentialSource: Send + Sync + 'static {
    /// Loads credentials. The caller limits the time.
    async fn load(&self) -> Result<Credentials, LoadError>;
}

/// The default chain: environment, profile, web identity, container, instance.
pub(super) struct DefaultChain {
    region: Option<Region>,
    client: SharedHttpClient,
}

impl DefaultChain {
    pub(super) fn new(sdk: &SdkConfig) -> Self {
        Self { region: sdk.region().cloned(), client: https_client() }
    }
}

#[async_trait]
impl CredentialSource for DefaultChain {
    async fn load(&self) -> Result<Credentials, LoadError> {
        let last = LastExchange::default();
        let client = RecordingClient { client: self.client.clone(), last: last.clone() };
        // The providers get the timeouts and retries of the SDK. The timeouts of calls to SSM and S3
        // are too short for them: a load has a timeout of its own.
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .region(self.region.clone())
            .http_client(client)
            .load()
            .await;
        let chain = sdk.credentials_provider().ok_or_else(LoadError::missing)?;
        let credentials = chain
            .provide_credentials()
            .await
            .map_err(|error| LoadError::classify(&error, last.get().as_ref()))?;
        check(&credentials, SystemTime::now())?;
        Ok(credentials)
    }
}

/// Checks credentials before the SDK uses them. It panics if it signs a call with a character that
/// no header can hold.
pub(super) fn check(credentials: &Credentials, now: SystemTime) -> Result<(), LoadError> {
    let parts = [
        ("access key ID", Some(credentials.access_key_id())),
        ("secret access key", Some(credentials.secret_access_key())),
        ("session token", credentials.session_token()),
    ];
    for (name, part) in parts {
        let malformed = |part: &str| !part.bytes().all(|byte| byte.is_ascii_graphic());
        if part.is_some_and(malformed) {
            return Err(LoadError::definitive(format!(
                "the {name} holds whitespace, a line break or another character that no key holds; write it without, for example with `printf %s` instead of `echo`"
            )));
        }
        if name != "session token" && part.is_some_and(str::is_empty) {
            return Err(LoadError::definitive(format!("the {name} is empty")));
        }
    }
    if credentials.expiry().is_some_and(|expiry| expiry <= now) {
        return Err(LoadError::passing("the provider delivered credentials that have expired"));
    }
    Ok(())
}
