//! The composition root: builds every part of the service and connects them.

use main_api::{config::Config, routes, upstream::Upstream};
use shared::{config, metrics::Exporter, server, telemetry, trace};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    server::block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let config: Config = config::load();
    telemetry::init(config.common.log_format)
        .unwrap_or_else(|reason| config::refuse::<Config>(reason));
    let collector = config.common.otel_exporter_otlp_endpoint.as_ref();
    trace::init("main-api", &config.main_version, collector)?;
    let exporter = Exporter::install("main-api", &config.main_version)?;
    let upstream = Upstream::new(&config)?;
    let app = routes::app(&config, upstream, &exporter);
    server::run(&config.common, config.listen_addr, app, exporter).await
}
