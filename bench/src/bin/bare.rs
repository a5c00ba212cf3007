//! A constant response from hyper and tokio, with nothing around it: the upper bound for a service
//! that uses them.
//!
//! The server has one thread, no router, no middleware and no metrics. The body consists of a given
//! number of `x`.

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
#[command(about = "Sends the same body to every request, as fast as hyper can")]
struct Config {
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    listen_addr: SocketAddr,

    /// Length of the body in bytes
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
            // A client that closes its connection early does not matter here.
            http1::Builder::new()
                // Without this setting, hyper would start a timer for every request.
                .header_read_timeout(None)
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}
