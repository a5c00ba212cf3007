//! The demonstration of a bad day: everything that it claims is so, and it leaves no process.

use std::{
    collections::HashMap,
    fs,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep, timeout},
};

/// The time limit of a whole run. It takes half a minute on an idle machine.
const RUN: Duration = Duration::from_secs(300);

/// The time limit for the end of all processes after a signal.
const END: Duration = Duration::from_secs(5);

/// One run at a time, because each keeps a small machine busy.
static TURN: Mutex<()> = Mutex::const_new(());

/// A run of the demonstration on free ports.
struct Demo {
    _turn: MutexGuard<'static, ()>,
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// The lines so far.
    text: String,
}

impl Demo {
    async fn start(options: &[&str]) -> Self {
        let turn = TURN.lock().await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        for option in ["--main-api", "--aux-service", "--second-aux-service"] {
            command.args([option, "127.0.0.1:0"]);
        }
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { _turn: turn, process, output, text: String::new() }
    }

    /// Reads the output up to a line with this text.
    async fn reads(&mut self, wanted: &str) {
        let read = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                self.text += &format!("{line}\n");
                if line.contains(wanted) {
                    return true;
                }
            }
            false
        };
        assert!(timeout(RUN, read).await.unwrap(), "{wanted:?} never came:\n{}", self.text);
    }

    /// Reads the rest of the output, and waits for the end.
    async fn ends(&mut self) -> ExitStatus {
        let end = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                self.text += &format!("{line}\n");
            }
            self.process.wait().await.unwrap()
        };
        timeout(RUN, end).await.unwrap()
    }

    fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }
}

/// Returns all processes that a process has started, and those that these have started.
fn descendants(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let parents: HashMap<u32, u32> =
        processes.filter_map(|process| Some((process, parent(process)?))).collect();
    let is_below = |mut process: u32| {
        while let Some(parent) = parents.get(&process) {
            if *parent == of {
                return true;
            }
            process = *parent;
        }
        false
    };
    parents.keys().copied().filter(|process| is_below(*process)).collect()
}

/// Returns the parent of a process that runs.
fn parent(process: u32) -> Option<u32> {
    // The name of the program, in parentheses, may contain anything.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let is_dead = fields.next()? == "Z";
    fields.next()?.parse().ok().filter(|_| !is_dead)
}

/// Waits until none of these processes runs.
async fn all_gone(processes: &[u32], limit: Duration) {
    let start = Instant::now();
    loop {
        let left: Vec<_> = processes.iter().filter(|&&pid| parent(pid).is_some()).collect();
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < limit, "still running: {left:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The least number of processes that the demonstration starts: two replicas of aux-service,
/// main-api, moto, and the engine below its shell.
const PROCESSES: usize = 6;

#[tokio::test]
async fn everything_that_the_demonstration_claims_is_so_and_it_leaves_no_process() {
    let mut demo = Demo::start(&["--quick"]).await;
    demo.reads("Step 5").await;
    let processes = descendants(demo.pid());
    assert!(processes.len() >= PROCESSES, "{processes:?}");
    let status = demo.ends().await;
    assert!(status.success(), "{status}:\n{}", demo.text);
    for claim in [
        "had 50 of 50 values while AWS was gone",
        "fresh again",
        "The waiting client had the new value",
        "through main-api, none failed",
    ] {
        let is_claimed = |line: &str| line.starts_with("yes ") && line.contains(claim);
        assert!(demo.text.lines().any(is_claimed), "{claim:?} is missing:\n{}", demo.text);
    }
    assert!(!demo.text.contains('\x1b'), "a file gets no colours:\n{}", demo.text);
    all_gone(&processes, END).await;
}

#[tokio::test]
async fn ctrl_c_ends_the_demonstration_and_every_process_of_it() {
    for signal in [Signal::INT, Signal::HUP] {
        let mut demo = Demo::start(&[]).await;
        demo.reads("Step 0").await;
        let processes = descendants(demo.pid());
        assert!(processes.len() >= PROCESSES, "{processes:?}");
        let start = Instant::now();
        kill_process(Pid::from_raw(demo.pid() as i32).unwrap(), signal).unwrap();
        let status = demo.ends().await;
        assert_eq!(status.code(), Some(130), "{}", demo.text);
        assert!(demo.text.contains("The steps so far"), "{}", demo.text);
        all_gone(&processes, END.saturating_sub(start.elapsed())).await;
    }
}

#[tokio::test]
async fn without_a_shared_cache_the_demonstration_says_what_differs() {
    let mut demo = Demo::start(&["--quick", "--one-replica"]).await;
    let status = demo.ends().await;
    assert!(status.success(), "{status}:\n{}", demo.text);
    // Paragraphs are wrapped.
    let text = demo.text.replace('\n', " ");
    assert!(text.contains("without a shared cache"), "{text}");
    assert!(text.contains("it has 0 of 50 values until AWS returns"), "{text}");
}

#[tokio::test]
async fn an_address_that_another_program_uses_ends_the_demonstration_with_its_name() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--aux-service", "127.0.0.1:0", "--second-aux-service", "127.0.0.1:0"])
        .args(["--main-api", &address])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        error,
        format!("error: another program listens on {address}; end it and try again\n")
    );
}
