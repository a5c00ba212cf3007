//! Configuration: parsed once, checked once, then plain values.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use shared::{
    auth::TokenFile,
    config::{Checked, Common, ascending, positive_duration},
};
use url::Url;

/// The gateway: aggregates the answers of aux-service, resiliently.
///
/// RUST_LOG chooses what is logged (default: info).
#[derive(Clone, Debug, Parser)]
#[command(name = "main-api", version)]
pub struct Config {
    /// Address of the public API
    #[arg(long, env = "LISTEN_ADDR", value_name = "ADDR", default_value = "0.0.0.0:6000")]
    pub listen_addr: SocketAddr,

    /// The version that answers tell
    #[arg(long, env = "MAIN_VERSION", value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub main_version: String,

    /// Where aux-service answers
    #[arg(long, env = "AUX_URL", value_name = "URL", default_value = "http://aux-service:5000", value_parser = plain_http)]
    pub aux_url: Url,

    /// File of bearer tokens, re-read when it changes; its first one is sent to aux-service [default: none is sent]
    #[arg(long, env = "AUX_TOKEN_FILE", value_name = "FILE")]
    pub aux_token_file: Option<TokenFile>,

    /// One attempt of one call to aux-service may take this long
    #[arg(long, env = "ATTEMPT_TIMEOUT", value_name = "DURATION", default_value = "4s", value_parser = positive_duration)]
    pub attempt_timeout: Duration,

    /// A request that takes longer is answered with 504
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    pub request_timeout: Duration,

    #[command(flatten)]
    pub common: Common,
}

impl Checked for Config {
    fn check(&self) -> Result<(), String> {
        self.common.check(self.listen_addr)?;
        ascending(&[
            ("--attempt-timeout", self.attempt_timeout),
            ("--request-timeout", self.request_timeout),
        ])
    }
}

/// The client has no TLS: inside a cluster that is the mesh's work, or the network policy's.
fn plain_http(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write it as http://host:port"))?;
    if url.scheme() != "http" || !url.has_host() {
        return Err("only http:// URLs are spoken to".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err("it must be no more than a scheme, a host, a port and a path".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn check(flags: &[&str]) -> Result<(), String> {
        let arguments = std::iter::once("main-api").chain(flags.iter().copied());
        Config::try_parse_from(arguments).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn the_flags_are_well_formed_and_their_defaults_agree() {
        Config::command().debug_assert();
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn values_that_contradict_each_other_are_named() {
        let reason = check(&["--attempt-timeout=10s"]).expect_err("refused");
        assert!(reason.contains("--attempt-timeout") && reason.contains("--request-timeout"));
    }

    #[test]
    fn a_url_that_cannot_be_spoken_to_is_refused() {
        for url in ["aux-service:5000", "https://aux", "http://", "http://u:p@aux", "http://aux/?a"]
        {
            let reason = check(&[&format!("--aux-url={url}")]).expect_err(url);
            assert!(reason.contains("--aux-url"), "{url}: {reason}");
        }
        assert_eq!(check(&["--aux-url=http://aux:5000/base/"]), Ok(()));
    }
}
