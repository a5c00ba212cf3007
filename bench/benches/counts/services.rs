//! A whole request to either service, answered from its cache.

use axum::{
    Router,
    http::{StatusCode, header},
};
use clap::Parser;
use gungraun::prelude::*;
use main_api::upstream::Upstream;
use shared::{config::LogFormat, metrics::Exporter, telemetry};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    layers::{BEARER, token_flag},
    traffic::{Traffic, runtime},
};

/// What the embedded backend holds.
const PATH: &str = "/param/challenge/kantox";

/// As the `main` of aux-service composes it, on the embedded backend.
fn aux_service(flags: &[String]) -> (Runtime, Router) {
    let first = ["aux-service", "--backend=embedded"].map(str::to_owned).into_iter();
    let config = aux_service::config::Config::parse_from(first.chain(flags.iter().cloned()));
    let exporter = exporter();
    let runtime = runtime();
    let router = runtime.block_on(async {
        let inventory = aux_service::inventory::connect(&config).await;
        aux_service::routes::app(&config, inventory, &exporter).router
    });
    (runtime, router)
}

/// As the `main` of main-api composes it, in front of an aux-service.
fn main_api(flags: &[String]) -> (Runtime, Router) {
    let (runtime, aux_service) = aux_service(&[]);
    let exporter = exporter();
    let router = runtime.block_on(async {
        // The one request that is no hit goes over the loopback, before anything is measured.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async { axum::serve(listener, aux_service).await });
        let first = ["main-api".to_owned(), format!("--aux-url=http://{address}")].into_iter();
        let config = main_api::config::Config::parse_from(first.chain(flags.iter().cloned()));
        let upstream = Upstream::new(&config).expect("a client");
        main_api::routes::app(&config, upstream, &exporter).router
    });
    (runtime, router)
}

fn exporter() -> Exporter {
    // Refused the second time, when main-api finds what aux-service has installed.
    let _ = telemetry::init(Some(LogFormat::Json));
    Exporter::install("bench", "0").expect("the only recorder")
}

fn all_logged() -> String {
    "--access-log=all".to_owned()
}

fn hit((runtime, router): (Runtime, Router)) -> Traffic {
    Traffic::new(runtime, router, PATH, &[(header::AUTHORIZATION, BEARER)], StatusCode::OK)
}

fn not_modified((runtime, router): (Runtime, Router)) -> Traffic {
    let headers = [(header::AUTHORIZATION, BEARER), (header::IF_NONE_MATCH, "*")];
    Traffic::new(runtime, router, PATH, &headers, StatusCode::NOT_MODIFIED)
}

fn no_such_parameter((runtime, router): (Runtime, Router)) -> Traffic {
    let headers = [(header::AUTHORIZATION, BEARER)];
    Traffic::new(runtime, router, "/param/no/such/name", &headers, StatusCode::NOT_FOUND)
}

fn unauthorized((runtime, router): (Runtime, Router)) -> Traffic {
    let headers = [(header::AUTHORIZATION, "Bearer 0123456789abcdef")];
    Traffic::new(runtime, router, PATH, &headers, StatusCode::UNAUTHORIZED)
}

#[library_benchmark]
#[bench::hit(hit(aux_service(&[])))]
#[bench::hit_with_token(hit(aux_service(&[token_flag()])))]
#[bench::hit_with_token_and_log(hit(aux_service(&[token_flag(), all_logged()])))]
#[bench::not_modified(not_modified(aux_service(&[])))]
#[bench::no_such_parameter(no_such_parameter(aux_service(&[])))]
#[bench::unauthorized(unauthorized(aux_service(&[token_flag()])))]
fn to_aux_service(traffic: Traffic) -> Traffic {
    traffic.answer()
}

#[library_benchmark]
#[bench::hit(hit(main_api(&[])))]
#[bench::hit_with_token(hit(main_api(&[token_flag()])))]
#[bench::hit_with_token_and_log(hit(main_api(&[token_flag(), all_logged()])))]
#[bench::not_modified(not_modified(main_api(&[])))]
#[bench::no_such_parameter(no_such_parameter(main_api(&[])))]
#[bench::unauthorized(unauthorized(main_api(&[token_flag()])))]
fn to_main_api(traffic: Traffic) -> Traffic {
    traffic.answer()
}

library_benchmark_group!(name = requests, benchmarks = [to_aux_service, to_main_api]);
