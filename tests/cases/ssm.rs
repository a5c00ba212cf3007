//! Tests of AWS's own protocol, with clients that know nothing of the services.

mod account;
mod questions;
mod equality;
mod lists;
mod sharing;
mod failures;
mod tokens;
mod requests;
mod policies;

use std::time::Duration;

use e2e::{
    proxy::Proxy,
    sdk_clients::{Kind, SdkClient, Settings},
    service::{self, Service},
};

/// A service that speaks AWS's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Aux,
    Main,
}

/// The services that these tests ask.
const TARGETS: [Target; 2] = [Target::Aux, Target::Main];

/// The settings that main-api has too. `ATTEMPT_TIMEOUT` is one of main-api alone, which aux-service
/// ignores.
const SHARED: [&str; 5] =
    ["AUTH_TOKEN_FILE", "REQUEST_TIMEOUT", "ATTEMPT_TIMEOUT", "RUST_LOG", "ACCESS_LOG"];

/// A service, and a proxy before it that counts the requests of the clients.
struct Front {
    proxy: Proxy,
    main: Option<Service>,
    aux: Service,
}

impl Front {
    /// Starts a service whose AWS has this URL. The settings are those of aux-service, and main-api
    /// gets those that it has too.
    async fn start(target: Target, aws_url: &str, settings: &[(&str, &str)]) -> Self {
        let aux = service::aux_at(aws_url).with("CACHE", "on");
        let aux = settings.iter().fold(aux, |setup, (name, value)| setup.with(name, value));
        let aux = aux.start().await;
        let main = match target {
            Target::Aux => None,
            Target::Main => {
                let mut main = service::main_api(&aux.url).with("CACHE", "on");
                for (name, value) in settings.iter().filter(|(name, _)| SHARED.contains(name)) {
                    main = main.with(name, value);
                    if *name == "AUTH_TOKEN_FILE" {
                        main = main.with("AUX_TOKEN_FILE", value);
                    }
                }
                Some(main.start().await)
            }
        };
        let proxy = Proxy::before(&main.as_ref().unwrap_or(&aux).url).await;
        Self { proxy, main, aux }
    }

    /// The service that the clients ask, past the proxy.
    fn service(&self) -> &Service {
        self.main.as_ref().unwrap_or(&self.aux)
    }

    fn client(&self, kind: Kind) -> SdkClient {
        SdkClient::start(kind, &Settings::of(&self.proxy.url))
    }
}

/// Settings for entries that are fresh for 100 ms and then usable only if AWS fails.
const SOON_STALE: [(&str, &str); 2] =
    [("CACHE_TTL", "100ms"), ("CACHE_STALE_WHILE_REVALIDATE", "0s")];

/// Waits until entries are stale. The cache uses the clock of the process, so the time must really
/// pass.
async fn grow_stale() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}
