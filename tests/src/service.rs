//! The real binaries, started as an operator would start them, with all of their output.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};

use crate::{
    MARK,
    http::{self, Reply},
    moto::{Aws, REGION},
};

/// The time limit for steps that take milliseconds, on a machine that is busy with other work.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The settings of a service to start. Its environment holds these variables and nothing else.
#[derive(Clone)]
pub struct Setup {
    binary: &'static str,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    own_process_group: bool,
}

/// Settings of aux-service with AWS as its backend, and nothing between: no cache, no quota
/// limiter. The timeouts are longer than the defaults, so that a busy machine does not look like a
/// slow AWS.
pub fn aux(aws: &Aws) -> Setup {
    aux_at(&aws.proxy.url)
}

/// Settings of aux-service for the AWS at this URL. All others have their defaults.
pub fn aux_with_defaults(aws_url: &str) -> Setup {
    Setup::of("aux-service")
        .with("AWS_ENDPOINT_URL", aws_url)
        .with("AWS_REGION", REGION)
        .with("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .with("AWS_SECRET_ACCESS_KEY", &format!("{MARK}-the-key"))
        .with("AWS_SESSION_TOKEN", &format!("{MARK}-the-session"))
}

/// Settings like those of [`aux`], for the AWS at this URL.
pub fn aux_at(aws_url: &str) -> Setup {
    aux_with_defaults(aws_url)
        .with("AWS_ATTEMPT_TIMEOUT", "5s")
        .with("AWS_OPERATION_TIMEOUT", "8s")
        .with("REQUEST_TIMEOUT", "10s")
        .with("AWS_RATE_GET", "0")
        .with("AWS_RATE_LIST", "0")
        .with("CACHE", "off")
}

/// Settings of main-api in front of the aux-service (or the proxy before one) with this address,
/// with the same long timeouts and nothing between: no cache, one attempt, a circuit that never
/// opens.
pub fn main_api(aux_url: &str) -> Setup {
    Setup::of("main-api")
        .with("AUX_URL", aux_url)
        .with("ATTEMPT_TIMEOUT", "12s")
        .with("REQUEST_TIMEOUT", "15s")
        .with("RETRY_MAX_ATTEMPTS", "1")
        .with("BREAKER_CONSECUTIVE_FAILURES", "1000000")
        .with("BREAKER_MIN_CALLS", "1000000")
        .with("CACHE", "off")
}

impl Setup {
    /// Settings of a binary, with a free port and nothing else.
    pub fn of(binary: &'static str) -> Self {
        let (arguments, variables) = (Vec::new(), Vec::new());
        let setup = Self { binary, arguments, variables, own_process_group: false };
        setup.with("LISTEN_ADDR", "127.0.0.1:0")
    }

    /// Sets an environment variable. The last value of a name applies.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn flag(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the service in a process group of its own, so that a Ctrl-C in the terminal does not
    /// reach it. The caller must handle the signal, or else the service continues to run.
    #[must_use]
    pub fn in_own_process_group(self) -> Self {
        Self { own_process_group: true, ..self }
    }

    /// Starts the service and waits until it listens.
    pub async fn start(self) -> Service {
        let mut process = self.command().spawn().expect("the binary starts");
        let output = Arc::new(Log::default());
        let readers = vec![
            output.follow(process.stdout.take().expect("it is piped")),
            output.follow(process.stderr.take().expect("it is piped")),
        ];
        let mut service =
            Service { name: self.binary, url: String::new(), process, output, readers };
        let listening = service.log_line(|line| line["message"] == "listening").await;
        let address = listening["address"].as_str().expect("the line says the address");
        service.url = format!("http://{address}");
        service
    }

    /// Starts the service and waits for its end, for a start that must fail.
    pub async fn run_to_end(self) -> Output {
        let process = self.command().spawn().expect("the binary starts");
        let pid = Pid::from_child(&process);
        let mut run = tokio::task::spawn_blocking(move || process.wait_with_output());
        let in_time = timeout(TIMEOUT, &mut run).await;
        let is_late = in_time.is_err();
        let ended = match in_time {
            Ok(ended) => ended,
            // The runtime of the test waits for the task, so the process must end.
            Err(_) => {
                let _ = kill_process(pid, Signal::KILL);
                run.await
            }
        };
        let output = ended.expect("no panic above").expect("it has output");
        let said = || String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!is_late, "{} does not end by itself:\n{}", self.binary, said());
        output
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary(self.binary));
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.own_process_group {
            command.process_group(0);
        }
        command
    }
}

/// A service that runs. When it is dropped, it ends, and all of its output is searched for secrets.
pub struct Service {
    pub name: &'static str,
    pub url: String,
    process: Child,
    output: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
}

impl Service {
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[]).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        http::send(method, &format!("{}{path}", self.url), headers).await
    }

    /// Waits for a line of the log that matches, and returns it.
    pub async fn log_line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.output.line(wanted).await.unwrap_or_else(|| {
            panic!("{} never logged it; what it did log:\n{}", self.name, self.output.text())
        })
    }

    /// Returns the URL of the listener for probes, which `ADMIN_ADDR` sets up.
    pub async fn admin_url(&self) -> String {
        let line = self.log_line(|line| line["message"] == "listening for probes").await;
        format!("http://{}", line["address"].as_str().expect("the line says the address"))
    }

    /// Returns all output of the service so far.
    pub fn log(&self) -> String {
        self.output.text()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM to the service, as Kubernetes does.
    pub fn ask_to_end(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it runs");
    }

    /// Sends SIGTERM to the service, as Kubernetes does, and waits until it has ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.ended().await
    }

    /// Waits until the service has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        self.ended_within(TIMEOUT).await.expect("it ends after SIGTERM")
    }

    /// Waits until the service has ended. Returns `None` if that takes longer than the limit.
    pub async fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut polls = tokio::time::interval(Duration::from_millis(5));
        let ended = async {
            loop {
                polls.tick().await;
                if let Some(status) = self.process.try_wait().expect("it is our child") {
                    return status;
                }
            }
        };
        timeout(limit, ended).await.ok()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An error means that the process has ended already, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let text = self.output.text();
        if std::thread::panicking() {
            eprintln!("── the log of {}:\n{text}──", self.name);
        } else {
            let leak = text.lines().find(|line| line.contains(MARK));
            assert!(leak.is_none(), "{} logged a secret: {leak:?}", self.name);
        }
    }
}

/// The output of a process, line by line.
#[derive(Default)]
struct Log {
    said: Mutex<Said>,
    changed: Notify,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    /// The number of the two streams, stdout and stderr, that have ended.
    ended: usize,
}

impl Log {
    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                log.said().lines.push(line);
                log.changed.notify_waiters();
            }
            log.said().ended += 1;
            log.changed.notify_waiters();
        })
    }

    /// Waits for a line that matches. Returns `None` after [`TIMEOUT`], or if the process ends
    /// without such a line.
    async fn line(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let search = async {
            let mut searched = 0;
            loop {
                // Enabled before the search, so that a line that arrives during it is not missed.
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                let (fresh, ended) = {
                    let said = self.said();
                    (said.lines[searched..].to_vec(), said.ended == 2)
                };
                searched += fresh.len();
                let mut lines = fresh.iter().filter_map(|line| serde_json::from_str(line).ok());
                match lines.find(&wanted) {
                    Some(line) => return Some(line),
                    None if ended => return None,
                    None => changed.await,
                }
            }
        };
        timeout(TIMEOUT, search).await.ok().flatten()
    }

    fn text(&self) -> String {
        self.said().lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().expect("nothing panics while it holds this")
    }
}

/// Returns the path of the binary in this test's own profile. Panics if it is older than its
/// sources.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    // The path is target/PROFILE/deps/TEST, or target/PROFILE/soak.
    let profile = test.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let profile = profile.expect("it lies in a folder");
    let binary = profile.join(name);
    let built = modified(&binary)
        .unwrap_or_else(|| panic!("{name} is not built; run `make test`, or `cargo build` first"));
    // Cargo lists the sources beside the binary. `cargo test -p e2e` alone would not rebuild it,
    // and the tests would run against an outdated service.
    let sources = fs::read_to_string(binary.with_extension("d")).expect("cargo writes it");
    let (_, sources) = sources.split_once(": ").expect("it is a rule for make");
    for source in sources.split_whitespace() {
        assert!(
            modified(Path::new(source)).is_some_and(|changed| changed <= built),
            "{name} is older than {source}; run `make test`, or `cargo build` first"
        );
    }
    binary
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
