//! An AWS of the tests' own, whose behaviour is a function. moto is too well-behaved for some
//! faults, such as paging that goes wrong or one throttled call in ten.
//!
//! ```no_run
//! # async fn example() {
//! use e2e::{fake_aws::{Account, FakeAws, Reply}, refusals, service};
//!
//! let account = Account::of(2_300);
//! let aws = FakeAws::start(move |call| {
//!     if call.nth % 10 == 0 { refusals::ssm_throttled().into() } else { account.reply(call) }
//! })
//! .await;
//! let aux = service::aux_at(&aws.url).start().await;
//! # }
//! ```

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{
    MARK,
    proxy::{Answer, Request, but_half_the_body, read, render, until_it_leaves},
    refusals,
};

/// A call of AWS.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operation under AWS's name, such as `DescribeParameters`.
    pub operation: String,
    /// The number of the call among those of its operation, counted from 1.
    pub nth: usize,
    /// The JSON body, or null for S3.
    pub body: Value,
    pub request: Request,
}

impl Call {
    /// Returns a parameter of S3's query, still percent-encoded.
    fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.request.target.split_once('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(found, value)| (found == name).then_some(value))
    }
}

/// A reply to a call: a response, the delay before it, and the way in which it ends.
#[derive(Clone, Debug)]
pub struct Reply {
    pub answer: Answer,
    pub delay: Duration,
    pub delivery: Delivery,
}

/// The way in which a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Whole,
    /// The connection closes after half of the body.
    Cut,
    /// Half of the body is sent, and then nothing.
    Stall,
    /// Bytes that are no HTTP are sent instead of the response.
    Garbled,
    /// Nothing is sent, and the connection stays open.
    Hang,
    /// The connection is reset instead of a response.
    Reset,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, delay: Duration::ZERO, delivery: Delivery::Whole }
    }
}

impl Reply {
    /// A successful response of SSM.
    pub fn json(body: &Value) -> Self {
        Answer::new(200, "application/x-amz-json-1.1", &body.to_string()).into()
    }

    /// A successful response of S3.
    pub fn xml(body: &str) -> Self {
        Answer::new(200, "application/xml", body).into()
    }

    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    #[must_use]
    pub fn delivered(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }
}

/// A server that runs. When it is dropped, it ends and closes its connections.
pub struct FakeAws {
    pub url: String,
    calls: Arc<Mutex<HashMap<String, usize>>>,
    listener: JoinHandle<()>,
}

type Behaviour = dyn Fn(&Call) -> Reply + Send + Sync;

impl FakeAws {
    /// Starts a server whose reply to each call is the result of this function.
    pub async fn start(behaviour: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let calls = Arc::<Mutex<HashMap<String, usize>>>::default();
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let counted = Arc::clone(&calls);
        let listener = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&behaviour), Arc::clone(&counted)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, calls, listener }
    }

    /// Returns the number of calls of an operation so far.
    pub fn calls(&self, operation: &str) -> usize {
        locked(&self.calls).get(operation).copied().unwrap_or_default()
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Serves one connection, for as many calls as the client makes. Returns `None` to end it.
async fn serve(
    mut stream: TcpStream,
    behaviour: Arc<Behaviour>,
    calls: Arc<Mutex<HashMap<String, usize>>>,
) -> Option<()> {
    let mut received = Vec::new();
    loop {
        let request = read(&mut stream, &mut received).await?;
        let operation = request.call().to_owned();
        let nth = {
            let mut calls = locked(&calls);
            let count = calls.entry(operation.clone()).or_default();
            *count += 1;
            *count
        };
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        let call = Call { operation, nth, body, request };
        let Reply { answer, delay, delivery } = behaviour(&call);
        sleep(delay).await;
        let whole = render(&call.request, answer);
        match delivery {
            Delivery::Whole => stream.write_all(&whole).await.ok()?,
            Delivery::Cut => {
                stream.write_all(but_half_the_body(&whole)).await.ok()?;
                return stream.shutdown().await.ok();
            }
            Delivery::Stall => {
                stream.write_all(but_half_the_body(&whole)).await.ok()?;
                return until_it_leaves(&mut stream).await;
            }
            Delivery::Garbled => {
                stream.write_all(b"\x16\x03\x01\x00 this is no HTTP\r\n\r\n").await.ok()?;
                return stream.shutdown().await.ok();
            }
            Delivery::Hang => return until_it_leaves(&mut stream).await,
            Delivery::Reset => {
                stream.set_zero_linger().ok()?;
                return None;
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this")
}

/// The content of an account, and AWS's correct reply to each call.
#[derive(Clone, Debug)]
pub struct Account {
    pub parameters: Vec<String>,
    pub buckets: Vec<String>,
    /// The largest page of a list. A call may ask for a smaller one.
    pub page: usize,
}

impl Account {
    /// An account with this number of parameters `/app/00000` and buckets `bucket-00000`.
    pub fn of(size: usize) -> Self {
        Self {
            parameters: (0..size).map(|number| format!("/app/{number:05}")).collect(),
            buckets: (0..size).map(|number| format!("bucket-{number:05}")).collect(),
            page: 50,
        }
    }

    pub fn reply(&self, call: &Call) -> Reply {
        match call.operation.as_str() {
            "DescribeParameters" => self.ssm_list(call, &self.parameters, |name| {
                json!({
                    "ARN": format!("arn:aws:ssm:eu-west-2:123456789012:parameter{name}"),
                    "DataType": "text",
                    "Description": "A setting of the application",
                    "LastModifiedDate": 1_769_860_800.123,
                    "LastModifiedUser": "arn:aws:sts::123456789012:assumed-role/deploy/ci",
                    "Name": name,
                    "Tier": "Standard",
                    "Type": "String",
                    "Version": 1,
                })
            }),
            "GetParametersByPath" => {
                let path = call.body["Path"].as_str().unwrap_or_default();
                let path = format!("{}/", path.trim_end_matches('/'));
                let names = self.parameters.iter().filter(|name| name.starts_with(&path));
                self.ssm_list(call, &names.cloned().collect::<Vec<_>>(), parameter)
            }
            "GetParameter" => match self.find(&call.body["Name"]) {
                Some(name) => Reply::json(&json!({ "Parameter": parameter(name) })),
                None => refusals::ssm(400, "ParameterNotFound", "").into(),
            },
            "GetParameters" => {
                let asked = call.body["Names"].as_array().cloned().unwrap_or_default();
                let (found, invalid): (Vec<_>, Vec<_>) =
                    asked.iter().partition(|name| self.find(name).is_some());
                let found: Vec<_> =
                    found.iter().filter_map(|name| name.as_str().map(parameter)).collect();
                Reply::json(&json!({ "Parameters": found, "InvalidParameters": invalid }))
            }
            "ListBuckets" => self.list_buckets(call),
            _ => refusals::ssm(400, "UnknownOperationException", "").into(),
        }
    }

    fn find(&self, name: &Value) -> Option<&str> {
        let name = name.as_str()?;
        self.parameters.iter().find(|known| known.as_str() == name).map(String::as_str)
    }

    fn ssm_list(&self, call: &Call, names: &[String], item: impl Fn(&str) -> Value) -> Reply {
        let size = call.body["MaxResults"].as_u64().map(|size| size as usize);
        let Some((page, next)) = self.cut(names, call.body["NextToken"].as_str(), size) else {
            return refusals::ssm(400, "InvalidNextToken", "The specified token isn't valid.")
                .into();
        };
        let items: Vec<_> = page.iter().map(|name| item(name)).collect();
        Reply::json(&json!({ "Parameters": items, "NextToken": next }))
    }

    fn list_buckets(&self, call: &Call) -> Reply {
        let size = call.query("max-buckets").and_then(|size| size.parse().ok());
        let Some((page, next)) = self.cut(&self.buckets, call.query("continuation-token"), size)
        else {
            return refusals::s3(400, "InvalidArgument", "The token is incorrect.").into();
        };
        let mut body = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Owner><ID>owner</ID></Owner><Buckets>",
        );
        for name in page {
            let created = "2026-01-01T00:00:00.000Z";
            let _ = write!(
                body,
                "<Bucket><Name>{name}</Name><CreationDate>{created}</CreationDate></Bucket>"
            );
        }
        body += "</Buckets>";
        if let Some(next) = next {
            let _ = write!(body, "<ContinuationToken>{next}</ContinuationToken>");
        }
        body += "</ListAllMyBucketsResult>";
        Reply::xml(&body)
    }

    /// Returns the page behind a token, and the token of the next page. Returns `None` for a token
    /// that this account has not issued.
    fn cut<'a>(
        &self,
        names: &'a [String],
        token: Option<&str>,
        size: Option<usize>,
    ) -> Option<(&'a [String], Option<String>)> {
        let start = match token {
            None => 0,
            Some(token) => token.strip_prefix("page-")?.parse().ok()?,
        };
        let end = names.len().min(start + size.unwrap_or(self.page).min(self.page));
        Some((names.get(start..end)?, (end < names.len()).then(|| format!("page-{end}"))))
    }
}

/// A parameter with its value, which holds the mark of all secrets.
pub fn parameter(name: &str) -> Value {
    json!({ "Name": name, "Type": "String", "Value": format!("{MARK}: {name}"), "Version": 1 })
}
