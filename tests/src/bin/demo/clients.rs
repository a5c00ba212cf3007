//! The clients: readers of main-api's routes, programs on the AWS SDK, and one that waits.

use std::{sync::Arc, time::Duration};

use e2e::{
    load::at_rate,
    sdk_clients::{Question, Settings, rust},
};
use reqwest::header::{AGE, ETAG, HeaderValue, IF_NONE_MATCH};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    figures::{Day, Group, Outcome},
    parameters::{self, BANNER, SERVICES},
};

/// The time between two requests of one client of main-api's routes.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(100);

/// The time between two calls of one program on the AWS SDK.
const BETWEEN_CALLS: Duration = Duration::from_millis(250);

/// The time after which any client gives up: main-api's own `REQUEST_TIMEOUT`.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait for a change in one request, in seconds.
const WAIT: &str = "wait=30";

/// The numbers of clients.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// The clients of main-api's routes.
    pub(crate) readers: u32,
    /// The programs on the AWS SDK with one endpoint.
    pub(crate) programs: u32,
}

impl Load {
    /// The requests a second of both groups that read through main-api.
    pub(crate) fn rate(self) -> u128 {
        let per_second =
            |count: u32, between: Duration| u128::from(count) * 1000 / between.as_millis();
        per_second(self.readers, BETWEEN_REQUESTS) + per_second(self.programs, BETWEEN_CALLS)
    }
}

/// Clients that run. When this is dropped, they end.
pub(crate) struct Clients {
    _tasks: JoinSet<()>,
    /// The latest value that the waiting client has received, and the time of its arrival.
    pub(crate) latest: watch::Receiver<Option<(String, Instant)>>,
}

impl Clients {
    /// Starts all clients of main-api at this URL, and the programs that read AWS at the other one.
    pub(crate) fn start(load: Load, main_url: &str, aws_url: &str, day: &Arc<Day>) -> Self {
        let mut tasks = JoinSet::new();
        for client in 0..load.readers {
            let first = BETWEEN_REQUESTS * client / load.readers;
            tasks.spawn(read_on(main_url.to_owned(), first, Arc::clone(day)));
        }
        for (group, url) in [(Group::SdkThroughGateway, main_url), (Group::SdkDirect, aws_url)] {
            for client in 0..load.programs {
                let first = BETWEEN_CALLS * client / load.programs;
                tasks.spawn(call_on(group, url.to_owned(), first, Arc::clone(day)));
            }
        }
        let (sender, latest) = watch::channel(None);
        tasks.spawn(wait_on(format!("{main_url}/param{BANNER}"), sender));
        Self { _tasks: tasks, latest }
    }
}

/// Sends every request of the readers and of the programs once, so that the caches are warm.
pub(crate) async fn warm_up(main_url: &str) -> Result<(), String> {
    let http = http_client();
    for path in parameters::names().map(|name| format!("/param{name}")).chain(lists()) {
        read(&http, main_url, &path).await.map_err(|failure| format!("{path}: {failure}"))?;
    }
    let program = rust::Client::new(&Settings::of(main_url));
    for question in questions() {
        call(&program, &question).await.map_err(|failure| format!("{question:?}: {failure}"))?;
    }
    Ok(())
}

/// Runs one client of main-api's routes. Nine of ten requests are for one parameter.
async fn read_on(url: String, first: Duration, day: Arc<Day>) {
    sleep(first).await;
    let http = http_client();
    let names: Vec<_> = parameters::names().map(|name| format!("/param{name}")).collect();
    let lists: Vec<_> = lists().collect();
    let send = || {
        let paths = if fastrand::u8(..10) == 0 { &lists } else { &names };
        let path = fastrand::choice(paths).expect("there are some").clone();
        let (http, url, day) = (http.clone(), url.clone(), Arc::clone(&day));
        async move {
            let start = Instant::now();
            let outcome = read(&http, &url, &path).await;
            day.record(Group::Routes, start.elapsed(), outcome);
        }
    };
    at_rate(BETWEEN_REQUESTS, || false, send).await;
}

/// Runs one program on the AWS SDK. Eight of ten calls are for one parameter.
async fn call_on(group: Group, url: String, first: Duration, day: Arc<Day>) {
    sleep(first).await;
    let program = Arc::new(rust::Client::new(&Settings::of(&url)));
    let questions: Vec<_> = questions().collect();
    let (single, several) = questions.split_at(parameters::names().count());
    let send = || {
        let questions = if fastrand::u8(..10) < 8 { single } else { several };
        let question = fastrand::choice(questions).expect("there are some").clone();
        let (program, day) = (Arc::clone(&program), Arc::clone(&day));
        async move {
            let start = Instant::now();
            let outcome = call(&program, &question).await;
            day.record(group, start.elapsed(), outcome);
        }
    };
    at_rate(BETWEEN_CALLS, || false, send).await;
}

/// Returns the paths of main-api that read more than one parameter.
fn lists() -> impl Iterator<Item = String> {
    let values = SERVICES.iter().map(|service| format!("/values/shop/{service}"));
    values.chain(["/params", "/buckets", "/inventory"].map(str::to_owned))
}

/// Returns the calls of the programs: first one for each parameter, then those for several.
fn questions() -> impl Iterator<Item = Question> {
    let single = parameters::names().map(|name| Question::get(&name));
    let several = SERVICES.iter().flat_map(|service| {
        let names: Vec<_> = parameters::names_of(service).collect();
        let path = json!({ "Path": format!("/shop/{service}"), "Recursive": true });
        [
            Question::new("GetParameters", json!({ "Names": names })),
            Question::new("GetParametersByPath", path),
        ]
    });
    single.chain(several)
}

/// Sends one request, and checks the response.
pub(crate) async fn read(http: &reqwest::Client, url: &str, path: &str) -> Outcome {
    let exchange = async {
        let response = http.get(format!("{url}{path}")).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok((status, headers, body))
    };
    let (status, headers, body) = match timeout(CLIENT_TIMEOUT, exchange).await {
        Err(_) => return Err("no response in time".to_owned()),
        Ok(Err(error)) => return Err(kind_of(&error)),
        Ok(Ok(response)) => response,
    };
    if status != 200 {
        let code = body["code"].as_str().unwrap_or("without a code");
        return Err(format!("{status} {code}"));
    }
    let name = path.strip_prefix("/param").filter(|name| name.starts_with('/'));
    if name.is_some_and(|name| body["value"] != parameters::value(name)) {
        return Err("a wrong value".to_owned());
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.parse().ok());
    Ok(age)
}

fn kind_of(error: &reqwest::Error) -> String {
    let kind = if error.is_connect() { "no connection" } else { "the connection broke off" };
    kind.to_owned()
}

/// Makes one call with the AWS SDK.
async fn call(program: &rust::Client, question: &Question) -> Outcome {
    let Ok(result) = timeout(CLIENT_TIMEOUT, program.ask(question)).await else {
        return Err("no response in time".to_owned());
    };
    match result["error"]["code"].as_str() {
        None => Ok(None),
        Some("DispatchFailure") => Err("no connection".to_owned()),
        Some(code) => Err(code.to_owned()),
    }
}

/// Runs the client that always waits for the next value of a parameter.
async fn wait_on(url: String, latest: watch::Sender<Option<(String, Instant)>>) {
    let http = http_client();
    let mut tag = HeaderValue::from_static("\"none\"");
    loop {
        let request = http.get(&url).header(IF_NONE_MATCH, &tag).header("prefer", WAIT);
        let Ok(response) = request.send().await else {
            sleep(BETWEEN_REQUESTS).await;
            continue;
        };
        let (is_new, new) = (response.status() == 200, response.headers().get(ETAG).cloned());
        let is_over = response.status() == 304;
        let body: Value = response.json().await.unwrap_or_default();
        if let (true, Some(new), Some(value)) = (is_new, new, body["value"].as_str()) {
            tag = new;
            latest.send_replace(Some((value.to_owned(), Instant::now())));
        } else if !is_over {
            // The replica drains, or it has no response.
            sleep(BETWEEN_REQUESTS).await;
        }
    }
}

pub(crate) fn http_client() -> reqwest::Client {
    // A client that repeats a request would hide a failure.
    let builder = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never());
    builder.build().expect("a client without TLS needs nothing that could be missing")
}
