//! The composition root: builds every part of the service and connects them.

use std::process::ExitCode;

use main_api::{api, config::Config, upstream::Upstream};
use service::{config, observe, server};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    server::block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let config: Config = config::load();
    observe::log::init(config.common.log_format)
        .unwrap_or_else(|reason| config::exit_with_usage_error(reason));
    config::warn_of_misspelled_variables::<Config>();
    let collector = config.common.otel_exporter_otlp_endpoint.as_ref();
    observe::trace::init("main-api", &config.main_version, collector)?;
    let exporter = observe::metrics::Exporter::install("main-api", &config.main_version)?;
    let upstream = Upstream::new(&config)?;
    upstream.follow_changes()?;
    let app = api::app(&config, upstream, &exporter);
    server::run(&config.common, config.listen_addr, app, exporter).await
}
