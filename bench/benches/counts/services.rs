//! Costs of a whole request to either service, served from its cache.

use std::{fs, path::Path};

use axum::http::{HeaderName, StatusCode, header};
use clap::Parser;
use gungraun::prelude::*;
use main_api::upstream::Upstream;
use service::{
    contract::ssm::TARGET,
    observe::{
        log::{self, LogFormat},
        metrics::Exporter,
    },
    server::{self, PublicApi},
};
use tokio::{runtime::Runtime, sync::oneshot};

use crate::traffic::{Traffic, runtime};

/// A parameter of the embedded backend.
const PATH: &str = "/param/challenge/kantox";

/// A token of 64 hexadecimal digits, the form that the documentation recommends.
const BEARER: &str = "Bearer 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A signature of the usual length.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260131/eu-west-2/ssm/aws4_request, \
     SignedHeaders=amz-sdk-invocation-id;amz-sdk-request;content-type;host;x-amz-date;x-amz-target, \
     Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Returns a flag that names a file with the token of [`BEARER`].
fn token_flag() -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens");
    fs::write(&file, BEARER.trim_start_matches("Bearer ")).expect("a file of the build's own");
    format!("--auth-token-file={}", file.display())
}

fn aux_config(flags: &[String]) -> aux_service::config::Config {
    let first = ["aux-service", "--backend=embedded"].map(str::to_owned).into_iter();
    aux_service::config::Config::parse_from(first.chain(flags.iter().cloned()))
}

/// Composes aux-service like its `main`, on the embedded backend.
fn aux_service(flags: &[String]) -> (Runtime, impl PublicApi + use<>) {
    let config = aux_config(flags);
    let exporter = exporter();
    let runtime = runtime();
    let api = runtime.block_on(async {
        let backend = aux_service::backend::from_config(&config, None).await;
        aux_service::api::app(&config, backend, None, &exporter).api
    });
    (runtime, api)
}

/// Composes main-api like its `main`, in front of an aux-service.
fn main_api(flags: &[String]) -> (Runtime, impl PublicApi + use<>) {
    let exporter = exporter();
    let runtime = runtime();
    let api = runtime.block_on(async {
        // The one request that is a miss goes over the loopback, before the measurement.
        let listener = server::listen(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.local_addr().expect("its address");
        let aux = aux_config(&[]);
        let backend = aux_service::backend::from_config(&aux, None).await;
        let app = aux_service::api::app(&aux, backend, None, &exporter);
        let exporter_of_aux = exporter.clone();
        tokio::spawn(async move {
            let (_never, stop) = oneshot::channel::<()>();
            let stop = async { drop(stop.await) };
            server::serve(&aux.common, listener, None, app, exporter_of_aux, stop).await;
        });
        let first = ["main-api".to_owned(), format!("--aux-url=http://{address}")].into_iter();
        let config = main_api::config::Config::parse_from(first.chain(flags.iter().cloned()));
        let upstream = Upstream::new(&config).expect("a client");
        main_api::api::app(&config, upstream, &exporter).api
    });
    (runtime, api)
}

fn exporter() -> Exporter {
    // The result is ignored: a second call fails, because the logger is installed already.
    let _ = log::init(Some(LogFormat::Json));
    Exporter::install("bench", "0").expect("the only recorder")
}

fn all_logged() -> String {
    "--access-log=all".to_owned()
}

type Service<S> = (Runtime, S);

fn hit((runtime, api): Service<impl PublicApi>) -> Traffic {
    Traffic::new(runtime, api, PATH, &[(header::AUTHORIZATION, BEARER)], StatusCode::OK)
}

fn not_modified((runtime, api): Service<impl PublicApi>) -> Traffic {
    let headers = [(header::AUTHORIZATION, BEARER), (header::IF_NONE_MATCH, "*")];
    Traffic::new(runtime, api, PATH, &headers, StatusCode::NOT_MODIFIED)
}

fn negative_hit((runtime, api): Service<impl PublicApi>) -> Traffic {
    let headers = [(header::AUTHORIZATION, BEARER)];
    Traffic::new(runtime, api, "/param/no/such/name", &headers, StatusCode::NOT_FOUND)
}

fn unauthorized((runtime, api): Service<impl PublicApi>) -> Traffic {
    let headers = [(header::AUTHORIZATION, "Bearer 0123456789abcdef")];
    Traffic::new(runtime, api, PATH, &headers, StatusCode::UNAUTHORIZED)
}

/// Requests a route that axum's Router serves.
fn routed((runtime, api): Service<impl PublicApi>) -> Traffic {
    Traffic::new(runtime, api, "/docs", &[], StatusCode::OK)
}

/// Requests the same parameter as an SDK does, with the headers of its signature. The contract
/// allows 1.5 times the cost of [`hit`].
fn sdk_hit((runtime, api): Service<impl PublicApi>) -> Traffic {
    let headers = [
        (header::CONTENT_TYPE, "application/x-amz-json-1.1"),
        (TARGET, "AmazonSSM.GetParameter"),
        (header::AUTHORIZATION, SIGNATURE),
        (HeaderName::from_static("x-amz-date"), "20260131T120000Z"),
        (HeaderName::from_static("amz-sdk-invocation-id"), "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"),
        (HeaderName::from_static("amz-sdk-request"), "attempt=1; max=3"),
    ];
    let body = r#"{"Name":"/challenge/kantox"}"#;
    Traffic::posted(runtime, api, "/", &headers, body, StatusCode::OK)
}

#[library_benchmark]
#[bench::copied(hit(aux_service(&[])))]
fn request(traffic: Traffic) -> Traffic {
    traffic.copy()
}

#[library_benchmark]
#[bench::hit(hit(aux_service(&[])))]
#[bench::hit_with_token(hit(aux_service(&[token_flag()])))]
#[bench::hit_with_token_and_log(hit(aux_service(&[token_flag(), all_logged()])))]
#[bench::sdk_hit(sdk_hit(aux_service(&[])))]
#[bench::not_modified(not_modified(aux_service(&[])))]
#[bench::negative_hit(negative_hit(aux_service(&[])))]
#[bench::unauthorized(unauthorized(aux_service(&[token_flag()])))]
#[bench::routed(routed(aux_service(&[])))]
fn to_aux_service(traffic: Traffic) -> Traffic {
    traffic.answer()
}

#[library_benchmark]
#[bench::hit(hit(main_api(&[])))]
#[bench::hit_with_token(hit(main_api(&[token_flag()])))]
#[bench::hit_with_token_and_log(hit(main_api(&[token_flag(), all_logged()])))]
#[bench::not_modified(not_modified(main_api(&[])))]
#[bench::negative_hit(negative_hit(main_api(&[])))]
#[bench::unauthorized(unauthorized(main_api(&[token_flag()])))]
fn to_main_api(traffic: Traffic) -> Traffic {
    traffic.answer()
}

library_benchmark_group!(name = requests, benchmarks = [request, to_aux_service, to_main_api]);
