//! A whole request to either service, answered from its cache.

use std::hint::black_box;

use axum::http::{StatusCode, header};
use clap::Parser;
use gungraun::prelude::*;
use main_api::upstream::Upstream;
use shared::{config::LogFormat, http::Stacked, metrics::Exporter, telemetry};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    TIMES,
    layers::{BEARER, token_flag},
    traffic::{Traffic, runtime},
};

/// What the embedded backend holds.
const PATH: &str = "/param/challenge/kantox";

/// As the `main` of aux-service composes it, on the embedded backend.
fn aux_service(flags: &[String]) -> (Runtime, Stacked) {
    let first = ["aux-service", "--backend=embedded"].map(str::to_owned).into_iter();
    let config = aux_service::config::Config::parse_from(first.chain(flags.iter().cloned()));
    let exporter = exporter();
    let runtime = runtime();
    let stacked = runtime.block_on(async {
        let inventory = aux_service::inventory::connect(&config).await;
        aux_service::routes::app(&config, inventory, &exporter).public
    });
    (runtime, stacked)
}

/// As the `main` of main-api composes it, in front of an aux-service.
fn main_api(flags: &[String]) -> (Runtime, Stacked) {
    let (runtime, aux_service) = aux_service(&[]);
    let exporter = exporter();
    let stacked = runtime.block_on(async {
        // The one request that is no hit goes over the loopback, before anything is measured.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async { axum::serve(listener, aux_service.router).await });
        let first = ["main-api".to_owned(), format!("--aux-url=http://{address}")].into_iter();
        let config = main_api::config::Config::parse_from(first.chain(flags.iter().cloned()));
        let upstream = Upstream::new(&config).expect("a client");
        main_api::routes::app(&config, upstream, &exporter).public
    });
    (runtime, stacked)
}

fn exporter() -> Exporter {
    // Refused the second time, when main-api finds what aux-service has installed.
    let _ = telemetry::init(Some(LogFormat::Json));
    Exporter::install("bench", "0").expect("the only recorder")
}

fn all_logged() -> String {
    "--access-log=all".to_owned()
}

fn hit((runtime, Stacked { router, .. }): (Runtime, Stacked)) -> Traffic {
    Traffic::new(runtime, router, PATH, &[(header::AUTHORIZATION, BEARER)], StatusCode::OK)
}

fn not_modified((runtime, Stacked { router, .. }): (Runtime, Stacked)) -> Traffic {
    let headers = [(header::AUTHORIZATION, BEARER), (header::IF_NONE_MATCH, "*")];
    Traffic::new(runtime, router, PATH, &headers, StatusCode::NOT_MODIFIED)
}

fn no_such_parameter((runtime, Stacked { router, .. }): (Runtime, Stacked)) -> Traffic {
    let headers = [(header::AUTHORIZATION, BEARER)];
    Traffic::new(runtime, router, "/param/no/such/name", &headers, StatusCode::NOT_FOUND)
}

fn unauthorized((runtime, Stacked { router, .. }): (Runtime, Stacked)) -> Traffic {
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

/// A hit as bytes, which never comes to a router.
struct Plain {
    /// What refreshes run in, were there any.
    _runtime: Runtime,
    stacked: Stacked,
    request: String,
    answer: Vec<u8>,
}

fn plain((runtime, stacked): (Runtime, Stacked)) -> Plain {
    // The first requests, as of all others, come by the router.
    let Traffic { runtime, .. } = hit((runtime, stacked.clone()));
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nhost: main-api.main-api:6000\r\nuser-agent: curl/8.14.1\r\n\
         accept: */*\r\nauthorization: {BEARER}\r\n\r\n"
    );
    Plain { _runtime: runtime, stacked, request, answer: Vec::new() }.answer()
}

impl Plain {
    fn answer(mut self) -> Self {
        for _ in 0..TIMES {
            self.answer.clear();
            let answered =
                self.stacked.answer_ready(black_box(self.request.as_bytes()), &mut self.answer);
            assert!(answered && self.answer.starts_with(b"HTTP/1.1 200 "));
        }
        self
    }
}

#[library_benchmark]
#[bench::aux_service(plain(aux_service(&[])))]
#[bench::aux_service_with_token(plain(aux_service(&[token_flag()])))]
#[bench::main_api(plain(main_api(&[])))]
#[bench::main_api_with_token(plain(main_api(&[token_flag()])))]
fn hit_on_the_fast_path(plain: Plain) -> Plain {
    plain.answer()
}

library_benchmark_group!(
    name = requests,
    benchmarks = [to_aux_service, to_main_api, hit_on_the_fast_path]
);
