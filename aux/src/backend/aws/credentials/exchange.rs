//! The HTTP client of the credential providers. It records its last exchange.
//!
//! The SDK returns errors of providers as text, which may quote secrets. The exchange shows without
//! any text of others whether a failure will pass.

use std::{error::Error as StdError, io, sync::Arc};

use aws_smithy_http_client::{Builder, ConnectorBuilder, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use axum::http::Uri;
use parking_lot::Mutex;

use super::super::errors::causes;

/// The last request of a load, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// The host and port of the endpoint, never its path or query.
    pub(super) host: String,
    pub(super) outcome: ExchangeOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExchangeOutcome {
    /// No response has arrived.
    Pending,
    /// A response with this status arrived.
    Status(u16),
    /// The endpoint refused the connection.
    Refused,
    /// The connection or the response failed in another way.
    Failed,
}

/// The last exchange of a load; absent if the load made no request.
#[derive(Clone, Debug, Default)]
pub(super) struct LastExchange(Arc<Mutex<Option<Exchange>>>);

impl LastExchange {
    pub(super) fn get(&self) -> Option<Exchange> {
        self.0.lock().clone()
    }

    fn set(&self, host: &str, outcome: ExchangeOutcome) {
        *self.0.lock() = Some(Exchange { host: host.to_owned(), outcome });
    }
}

/// Builds a client like the SDK's default one: rustls with aws-lc, and the proxy that the
/// environment names.
pub(super) fn https_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let crypto = tls::rustls_provider::CryptoMode::AwsLc;
        let mut builder = ConnectorBuilder::default().tls_provider(tls::Provider::Rustls(crypto));
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder.set_proxy_config(Some(ProxyConfig::from_env()));
        builder.build()
    })
}

/// A client that records its last exchange.
#[derive(Debug)]
pub(super) struct RecordingClient {
    pub(super) client: SharedHttpClient,
    pub(super) last: LastExchange,
}

impl HttpClient for RecordingClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(RecordingConnector { connector, last: self.last.clone() })
    }
}

#[derive(Debug)]
struct RecordingConnector {
    connector: SharedHttpConnector,
    last: LastExchange,
}

impl HttpConnector for RecordingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (host, last) = (host(request.uri()), self.last.clone());
        last.set(&host, ExchangeOutcome::Pending);
        let response = self.connector.call(request);
        HttpConnectorFuture::new(async move {
            let result = response.await;
            let outcome = match &result {
                Ok(response) => ExchangeOutcome::Status(response.status().as_u16()),
                Err(error) => outcome_of(error),
            };
            last.set(&host, outcome);
            result
        })
    }
}

fn outcome_of(error: &ConnectorError) -> ExchangeOutcome {
    let refused = |cause: &(dyn StdError + 'static)| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if causes(error).any(refused) { ExchangeOutcome::Refused } else { ExchangeOutcome::Failed }
}

/// Returns the host and port of a URL, without its user, path and query.
fn host(url: &str) -> String {
    let url: Option<Uri> = url.parse().ok();
    let authority = url.as_ref().and_then(Uri::authority);
    match authority.map(|authority| (authority.host(), authority.port_u16())) {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => "the endpoint".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn only_the_host_and_the_port_of_an_endpoint_are_recorded() {
        assert_eq!(host("http://user:hush@127.0.0.1:8080/a?token=hush"), "127.0.0.1:8080");
        assert_eq!(host("https://sts.eu-west-2.amazonaws.com/"), "sts.eu-west-2.amazonaws.com");
        assert_eq!(host("/hush"), "the endpoint");
    }
}
