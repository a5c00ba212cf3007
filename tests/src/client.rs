//! A bare HTTP/1.1 client that sends one request after another on one connection.
//!
//! It never repeats a request, and it reports exactly how a request failed. A client library would
//! hide some of the failures that these tests count.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The time limit of one request. It is longer than any deadline of the services.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client with at most one connection. It opens one for the first request, and again after each
/// response that closes it.
pub struct Client {
    /// The address of the service, as `host:port`.
    address: String,
    connection: Option<TcpStream>,
    /// The number of requests that were sent on this connection.
    sent: usize,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: String,
    /// Whether the response carries `connection: close`.
    pub closes: bool,
}

#[derive(Debug)]
pub enum Failure {
    /// No connection could be opened, so no request was sent.
    Refused(io::Error),
    /// The request was sent, and no whole response arrived.
    Lost(String),
}

impl Client {
    pub fn of(url: &str) -> Self {
        Self { address: address(url).to_owned(), connection: None, sent: 0 }
    }

    /// Sends a request and reads the whole response.
    pub async fn get(&mut self, path: &str) -> Result<Response, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.sent = 0;
                let connection = TcpStream::connect(&self.address).await;
                let connection = connection.map_err(Failure::Refused)?;
                let _ = connection.set_nodelay(true);
                connection
            }
        };
        self.sent += 1;
        let request = request(path);
        let exchange = exchange(&mut connection, request.as_bytes());
        let result = timeout(TIMEOUT, exchange).await.map_err(io::Error::from).flatten();
        let response = result.map_err(|error| {
            Failure::Lost(format!("request {} of its connection: {error}", self.sent))
        })?;
        if !response.closes {
            self.connection = Some(connection);
        }
        Ok(response)
    }
}

/// Returns `host:port` of a URL that has no path.
pub fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// Returns the bytes of a request.
pub fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: e2e\r\n\r\n")
}

async fn exchange(connection: &mut TcpStream, request: &[u8]) -> io::Result<Response> {
    connection.write_all(request).await?;
    let mut received = Vec::with_capacity(2048);
    let head_end = loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        receive(connection, &mut received).await?;
    };
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let head = str::from_utf8(&received[..head_end]).map_err(|_| invalid("a head without text"))?;
    let head = head.to_ascii_lowercase();
    let header = |name: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        headers.find_map(|(found, value)| (found == name).then_some(value))
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| invalid("a response without a status"))?;
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| invalid("a response without a length"))?;
    let closes = header("connection") == Some("close");
    while received.len() < head_end + length {
        receive(connection, &mut received).await?;
    }
    if received.len() > head_end + length {
        return Err(invalid("more bytes than the response has"));
    }
    let body = String::from_utf8_lossy(&received[head_end..]).into_owned();
    Ok(Response { status, body, closes })
}

async fn receive(connection: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
    match connection.read_buf(received).await? {
        0 => {
            let message = format!("the connection ended after {} bytes", received.len());
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
        }
        _ => Ok(()),
    }
}
