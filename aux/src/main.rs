//! The composition root: builds every part of the service and connects them.

use std::process::ExitCode;

use aux_service::{api, backend, config::Config, fleet::Fleet};
use service::{config, observe, server};

fn main() -> ExitCode {
    server::block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let config: Config = config::load();
    observe::log::init(config.common.log_format)
        .unwrap_or_else(|reason| config::exit_with_usage_error(reason));
    config::warn_of_misspelled_variables::<Config>();
    let collector = config.common.otel_exporter_otlp_endpoint.as_ref();
    observe::trace::init("aux-service", &config.aux_version, collector)?;
    let exporter = observe::metrics::Exporter::install("aux-service", &config.aux_version)?;
    let fleet = Fleet::start(&config.fleet)
        .await
        .unwrap_or_else(|reason| config::exit_with_usage_error(reason));
    let backend = backend::from_config(&config, fleet.as_ref()).await;
    let app = api::app(&config, backend, fleet, &exporter);
    server::run(&config.common, config.listen_addr, app, exporter).await
}
