//! What each layer of `shared::http::stack` costs, laid around a route that answers from the cache.

use std::{fs, path::Path};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::get,
};
use clap::Parser;
use gungraun::prelude::*;
use main_api::config::Config;
use shared::{
    cache::Cache,
    http::{self, Stack, probe_stack},
    metrics::Exporter,
    problem::Problem,
};
use tokio::time::Instant;
use tower::layer::util::Identity;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    filled::{self, NoSuchThing},
    traffic::{Traffic, runtime},
};

/// Of 64 hexadecimal digits, as the documentation makes one.
pub(crate) const BEARER: &str =
    "Bearer 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A flag that names a file with the token of [`BEARER`].
pub(crate) fn token_flag() -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens");
    fs::write(&file, BEARER.trim_start_matches("Bearer ")).expect("a file of the build's own");
    format!("--auth-token-file={}", file.display())
}

async fn hit(State(cache): State<Cache<NoSuchThing>>, request: HeaderMap) -> Response {
    cache.ready("/team/app-0/name", Instant::now()).expect("it is kept").response(&request)
}

/// Around the same route, whatever `lay` lays.
fn around(lay: impl FnOnce(Router, &Exporter) -> Router) -> Traffic {
    let exporter = Exporter::install("bench", "0").expect("the only recorder");
    let runtime = runtime();
    let cache = filled::filled(&runtime, &filled::keys(1), 1024);
    let routes = Router::new().route("/param/{*name}", get(hit)).with_state(cache);
    let router = {
        let _within = runtime.enter();
        lay(routes, &exporter)
    };
    let headers = [(header::AUTHORIZATION, BEARER)];
    Traffic::new(runtime, router, "/param/team/app-0/name", &headers, StatusCode::OK)
}

/// The whole of it, as a service with these flags has it.
fn whole(flags: &[String]) -> Traffic {
    let flags = ["main-api".to_owned()].into_iter().chain(flags.iter().cloned());
    let config = Config::parse_from(flags);
    let (request_timeout, too_slow) = (config.request_timeout, Problem::internal);
    let limits = Stack { request_timeout, too_slow, fast_path: None };
    around(|routes, exporter| http::stack(routes, &config.common, exporter, limits).router)
}

#[library_benchmark]
#[bench::copied(around(|routes, _| routes))]
fn request(traffic: Traffic) -> Traffic {
    traffic.copy()
}

#[library_benchmark]
#[bench::none(around(|routes, _| routes))]
// What axum takes for any layer, and once only for several that are laid together.
#[bench::identity(around(|routes, _| routes.layer(Identity::new())))]
#[bench::count(around(|routes, exporter| routes.layer(exporter.layer())))]
#[bench::catch_panic(around(|routes, _| routes.layer(CatchPanicLayer::new())))]
#[bench::identify_and_rescue(around(|routes, _| probe_stack(routes)))]
#[bench::whole(whole(&[]))]
#[bench::whole_with_token(whole(&[token_flag()]))]
fn layer(traffic: Traffic) -> Traffic {
    traffic.answer()
}

library_benchmark_group!(name = stack, benchmarks = [request, layer]);
