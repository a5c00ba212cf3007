//! A constant answer from hyper and tokio, with nothing around it: the most that a service on them
//! could reach.
//!
//! One thread, no router, no middleware, no metrics; the body is `x` as often as is said.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use hyper::{
    Response,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[derive(Parser)]
#[command(about = "Answers every request with the same body, as fast as hyper can")]
struct Config {
    /// Where to listen
    #[arg(long, value_name = "ADDR")]
    listen_addr: SocketAddr,

    /// Bytes of the body
    #[arg(long, value_name = "BYTES")]
    body_bytes: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let listener = TcpListener::bind(config.listen_addr)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen_addr))?;
    let body = Bytes::from(vec![b'x'; config.body_bytes]);
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        stream.set_nodelay(true).context("cannot turn Nagle's algorithm off")?;
        let body = body.clone();
        let service = service_fn(move |_| {
            let mut response = Response::new(Full::new(body.clone()));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            std::future::ready(Ok::<_, Infallible>(response))
        });
        tokio::spawn(
            // A client that leaves in the middle is none of our business here.
            http1::Builder::new()
                // Without it hyper would take a timer for every request.
                .header_read_timeout(None)
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}
