//! The examples of docs/changes.md, as a reader would run them: with the real `sh`, `curl` and `node`.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use e2e::{
    change_queue::{change, create, reader, send},
    files::Files,
    moto::Aws,
    service::{Service, Setup, main_api},
};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    fs,
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::until;

/// The time limit for steps that take a pause of a script at most, on a machine that is busy with
/// other work.
const LIMIT: Duration = Duration::from_secs(40);

const TOKEN: &str = "hush-the-token-of-a-client";

/// Returns the example in this language whose text holds `mark`.
fn example(language: &str, mark: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/changes.md");
    let page = std::fs::read_to_string(page).unwrap();
    let opening = format!("\n```{language}\n");
    let mut blocks = page.split(&opening).skip(1).filter_map(|rest| rest.split("\n```\n").next());
    let block = blocks.find(|block| block.contains(mark));
    format!("{}\n", block.unwrap_or_else(|| panic!("the page has no {language} with {mark}")))
}

/// Both services, with a queue of changes.
struct Services {
    aws: Aws,
    aux: Service,
    main: Service,
    files: Files,
}

impl Services {
    async fn start() -> Self {
        Self::with(|main, _| main).await
    }

    /// Starts the services with changed settings of main-api, which may name files.
    async fn with(change: impl FnOnce(Setup, &Files) -> Setup) -> Self {
        let (aws, files) = (Aws::start().await, Files::new());
        create(&aws, 30).await;
        let aux = reader(&aws).start().await;
        let main = change(main_api(&aux.url).with("CACHE", "on"), &files).start().await;
        files.write("follow.sh", example("sh", "# follow.sh URL"));
        files.write("update.sh", example("sh", "# update.sh: "));
        Self { aws, aux, main, files }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.main.url)
    }

    async fn put(&self, name: &str, value: &str, operation: &str) {
        self.aws.put(name, value).await;
        send(&self.aws, &[change(name, operation)]).await;
    }

    async fn delete(&self, name: &str) {
        self.aws.ssm("DeleteParameter", json!({ "Name": name })).await;
        send(&self.aws, &[change(name, "Delete")]).await;
    }

    /// Ends main-api. Another one with its address has to follow.
    async fn stop(&mut self) -> String {
        self.main.terminate().await;
        self.main.url.trim_start_matches("http://").to_owned()
    }

    async fn restart(&mut self, address: &str, version: &str) {
        let setup = main_api(&self.aux.url).with("CACHE", "on");
        let setup = setup.with("LISTEN_ADDR", address).with("MAIN_VERSION", version);
        self.main = setup.start().await;
    }

    /// Waits until main-api has this number of waiting requests or streams.
    async fn until_waiting(&self, kind: &str, number: u32) {
        let reached = async || self.status().await["waiting"][kind] == number;
        until(LIMIT, &format!("{number} of kind {kind}"), reached).await;
    }

    async fn status(&self) -> Value {
        let header = format!("Bearer {TOKEN}");
        self.main.send(Method::GET, "/status", &[("authorization", &header)]).await.ok()
    }

    /// Starts a script of these files, whose last response is for `path`.
    fn follow(&self, path: &str, command: &[&str], variables: &[(&str, &str)]) -> Script {
        let script = self.files.path("follow.sh");
        let folder = Path::new(&script).parent().unwrap().to_owned();
        let temporary = folder.join("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        let process = Command::new("sh")
            .arg(&script)
            .arg(self.url(path))
            .args(command)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", &temporary)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Script { process, temporary }
    }

    /// Waits until a file holds a text, and returns all of it.
    async fn until_file_holds(&self, name: &str, wanted: &str) -> String {
        let path = self.files.path(name);
        let read = async || fs::read_to_string(&path).await.unwrap_or_default();
        until(LIMIT, wanted, async || read().await.contains(wanted)).await;
        read().await
    }
}

/// A running script.
struct Script {
    process: Child,
    temporary: std::path::PathBuf,
}

impl Script {
    /// Sends SIGTERM, as Kubernetes does, and waits for the end.
    async fn terminate(mut self) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        let status = timeout(Duration::from_secs(5), self.process.wait()).await;
        assert!(status.expect("it ends at once").unwrap().success());
        let left: Vec<_> = std::fs::read_dir(&self.temporary).unwrap().collect();
        assert!(left.is_empty(), "its temporary files are removed: {left:?}");
    }

    /// Waits for the end, and returns the status and the error output.
    async fn ended(mut self) -> (ExitStatus, String) {
        let status = timeout(LIMIT, self.process.wait()).await.expect("it ends").unwrap();
        let mut errors = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
        (status, errors)
    }
}

/// A command that adds its input to a file, in a line.
const COLLECT: [&str; 3] = ["sh", "-c", "{ cat; echo; } >>got"];

#[tokio::test]
async fn the_script_runs_its_command_at_each_change_until_sigterm() {
    let services = Services::start().await;
    services.aws.put("/app/key", "hush: first").await;
    let script = services.follow("/param/app/key", &COLLECT, &[]);
    services.until_file_holds("got", "hush: first").await;
    services.until_waiting("wait", 1).await;
    services.put("/app/key", "hush: second", "Update").await;
    services.until_file_holds("got", "hush: second").await;
    services.until_waiting("wait", 1).await;
    // Another parameter does not concern it.
    services.put("/app/other", "hush: other", "Create").await;
    services.put("/app/key", "hush: third", "Update").await;
    let got = services.until_file_holds("got", "hush: third").await;
    assert_eq!(got.lines().count(), 3, "one response for each value: {got}");
    services.until_waiting("wait", 1).await;
    script.terminate().await;
    // The client has gone too, and not just the script.
    services.until_waiting("wait", 0).await;
}

#[tokio::test]
async fn the_script_waits_for_a_parameter_that_does_not_exist() {
    let services = Services::start().await;
    let script = services.follow("/param/app/key", &COLLECT, &[]);
    let requested = async || services.main.get("/metrics").await.body.contains("status=\"404\"");
    until(LIMIT, "a request for the missing parameter", requested).await;
    services.put("/app/key", "hush: first", "Create").await;
    services.until_file_holds("got", "hush: first").await;
    services.until_waiting("wait", 1).await;
    services.delete("/app/key").await;
    services.until_waiting("wait", 0).await;
    // The value from before the deletion is a new one again.
    services.put("/app/key", "hush: first", "Create").await;
    let twice = async || {
        let got = services.until_file_holds("got", "hush: first").await;
        got.matches("hush: first").count() == 2
    };
    until(LIMIT, "the parameter that was created again", twice).await;
    script.terminate().await;
}

#[tokio::test]
async fn the_script_survives_a_restart_and_misses_no_change() {
    let mut services = Services::start().await;
    services.aws.put("/app/key", "hush: first").await;
    let script = services.follow("/param/app/key", &COLLECT, &[]);
    services.until_file_holds("got", "hush: first").await;
    services.until_waiting("wait", 1).await;
    let address = services.stop().await;
    services.put("/app/key", "hush: second", "Update").await;
    services.restart(&address, "2").await;
    let got = services.until_file_holds("got", "hush: second").await;
    assert_eq!(got.lines().count(), 2, "{got}");
    script.terminate().await;
}

#[tokio::test]
async fn the_script_repeats_a_command_that_fails_with_the_same_response() {
    let services = Services::start().await;
    services.aws.put("/app/key", "hush: first").await;
    let fails_once = ["sh", "-c", "cat >>got; [ -e failed ] || { touch failed; exit 1; }"];
    let script = services.follow("/param/app/key", &fails_once, &[]);
    let twice = async || {
        let got = services.until_file_holds("got", "hush: first").await;
        got.matches("hush: first").count() == 2
    };
    until(LIMIT, "the second run", twice).await;
    services.until_waiting("wait", 1).await;
    script.terminate().await;
}

#[tokio::test]
async fn the_script_sends_the_token_of_its_file_and_ends_if_the_token_is_wrong() {
    let services = Services::with(|main, files| {
        main.with("AUTH_TOKEN_FILE", &files.write("tokens", format!("{TOKEN}\n")))
    })
    .await;
    services.aws.put("/app/key", "hush: first").await;
    let header = |token| format!("Authorization: Bearer {token}\n");
    // A path with a space.
    let right = services.files.write("right header", header(TOKEN));
    let wrong = services.files.write("wrong header", header("hush-another-token"));

    let script = services.follow("/param/app/key", &COLLECT, &[("HEADER_FILE", &wrong)]);
    let (status, errors) = script.ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains("unauthorized"), "{errors}");

    let script = services.follow("/param/app/key", &COLLECT, &[("HEADER_FILE", &right)]);
    services.until_file_holds("got", "hush: first").await;
    services.until_waiting("wait", 1).await;
    script.terminate().await;
}

#[tokio::test]
async fn the_sidecar_replaces_its_file_and_signals_its_program_at_each_change() {
    let services = Services::start().await;
    services.aws.put("/app/key", "hush: first").await;
    // SIGHUP ends a program that does not handle it. The kernel keeps 15 characters of its name.
    let name = format!("e2e-{}", std::process::id());
    let program = services.files.path(&name);
    std::fs::copy("/bin/sleep", &program).unwrap();
    let start = || Command::new(&program).arg("600").kill_on_drop(true).spawn().unwrap();
    let file = services.files.path("values.json");
    let variables = [("FILE", file.as_str()), ("PROGRAM", name.as_str())];
    let script = services.follow("/values/app", &["sh", "update.sh"], &variables);
    services.until_file_holds("values.json", "hush: first").await;
    services.until_waiting("wait", 1).await;

    let mut process = start();
    services.put("/app/key", "hush: second", "Update").await;
    let status = timeout(LIMIT, process.wait()).await.expect("it gets SIGHUP").unwrap();
    assert_eq!(status.signal(), Some(1));
    let content = services.until_file_holds("values.json", "hush: second").await;
    let values = serde_json::from_str::<Value>(&content).unwrap()["values"].clone();
    assert_eq!(values, json!({ "/app/key": "hush: second" }));

    // A new sidecar gets the response that the file holds already, so the program gets no signal.
    script.terminate().await;
    let mut process = start();
    let script = services.follow("/values/app", &["sh", "update.sh"], &variables);
    services.until_waiting("wait", 1).await;
    assert!(process.try_wait().unwrap().is_none(), "nothing has changed");
    assert!(!Path::new(&format!("{file}.new")).exists());
    process.kill().await.unwrap();
    script.terminate().await;
}

/// Writes each call of the example as a line. The first call for `/app/fails` fails.
const DRIVER: &str = "
import { followChanges } from './follow.mjs'
const [url, token] = process.argv.slice(2)
const say = (...what) => console.log(JSON.stringify(what))
let hasFailed = false
const changed = (name, deleted) => {
    say(name, deleted)
    if (name !== '/app/fails' || hasFailed) return
    hasFailed = true
    throw new Error('the handler fails')
}
await followChanges(url, { token, changed, reset: () => say('reset') })
    .catch((error) => say('refused', JSON.parse(error.message).code))
";

/// The running example in JavaScript.
struct Browser {
    calls: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Browser {
    fn start(services: &Services, token: &str) -> Self {
        services.files.write("follow.mjs", example("js", "export async function followChanges"));
        let driver = services.files.write("driver.mjs", DRIVER);
        let mut process = Command::new("node")
            .arg(driver)
            .args([services.url("/changes?path=/app/"), token.to_owned()])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NODE_NO_WARNINGS", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let calls = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { calls, _process: process }
    }

    /// Waits for the next call.
    async fn call(&mut self) -> Value {
        let line = timeout(LIMIT, self.calls.next_line()).await.expect("a call").unwrap();
        serde_json::from_str(&line.expect("it runs")).unwrap()
    }

    /// Waits for the next change after any resets.
    async fn change(&mut self) -> Value {
        loop {
            let call = self.call().await;
            if call != json!(["reset"]) {
                return call;
            }
        }
    }
}

#[tokio::test]
async fn the_example_in_javascript_follows_changes_across_a_restart() {
    let mut services = Services::with(|main, files| {
        main.with("AUTH_TOKEN_FILE", &files.write("tokens", format!("{TOKEN}\n")))
    })
    .await;
    services.aws.put("/app/key", "hush: first").await;
    let mut refused = Browser::start(&services, "hush-another-token");
    assert_eq!(refused.call().await, json!(["refused", "unauthorized"]));

    let mut browser = Browser::start(&services, TOKEN);
    assert_eq!(browser.call().await, json!(["reset"]), "it reads everything at the beginning");
    services.until_waiting("stream", 1).await;
    services.put("/other/key", "hush: other", "Create").await;
    services.put("/app/key", "hush: second", "Update").await;
    assert_eq!(browser.call().await, json!(["/app/key", false]));
    services.delete("/app/key").await;
    assert_eq!(browser.call().await, json!(["/app/key", true]));

    let status = services.status().await;
    let of_main_api = json!({ "wait": 0, "stream": 1 });
    assert_eq!(status["aux_service"]["waiting"], of_main_api, "main-api's own stream");

    // A handler that fails gets its change again, from the only stream.
    services.put("/app/fails", "hush: first", "Create").await;
    for _ in 0..2 {
        assert_eq!(browser.call().await, json!(["/app/fails", false]));
    }
    services.until_waiting("stream", 1).await;

    // The new process follows aux-service from a later position, so changes may be missing.
    let address = services.stop().await;
    services.put("/app/key", "hush: third", "Create").await;
    let learned =
        async || services.aux.get("/metrics").await.body.contains("{source=\"queue\"} 5\n");
    until(LIMIT, "the change is known", learned).await;
    services.restart(&address, "2").await;
    assert_eq!(browser.call().await, json!(["reset"]));
    services.until_waiting("stream", 1).await;
    services.put("/app/key", "hush: fourth", "Update").await;
    assert_eq!(browser.change().await, json!(["/app/key", false]));
}
