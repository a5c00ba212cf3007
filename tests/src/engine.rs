//! A real engine of the shared cache, Valkey or Redis: a process, a port and a folder of its own
//! for each test.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, IntoConnectionInfo as _, RedisResult, cmd,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

/// The time limit for steps that take milliseconds, on a machine that is busy with other work.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The names of the program, in the order of preference.
const PROGRAMS: [&str; 2] = ["valkey-server", "redis-server"];

/// The file in which an engine saves its keys, and from which it reads them at its start.
const DUMP: &str = "dump.rdb";

/// An engine. When it is dropped, its process ends and its folder is removed.
pub struct Engine {
    port: u16,
    /// The port with TLS, if there is one.
    tls_port: Option<u16>,
    arguments: Vec<String>,
    password: Option<String>,
    folder: PathBuf,
    process: Option<Process>,
}

impl Engine {
    /// Whether an engine is installed.
    pub fn is_installed() -> bool {
        PROGRAMS.into_iter().any(is_installed)
    }

    /// Starts an empty engine.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts an empty engine with these options of its command line.
    pub async fn with(options: &[&str]) -> Self {
        let mut engine = Self::new();
        let port = engine.port.to_string();
        let mut arguments = vec!["--port", &port, "--bind", "127.0.0.1"];
        // Only `dump` saves anything. A compressed dump would hide the texts that tests search for.
        arguments.extend(["--save", "", "--appendonly", "no", "--rdbcompression", "no"]);
        arguments.extend(options);
        engine.arguments = arguments.into_iter().map(str::to_owned).collect();
        engine.launch().await;
        engine
    }

    /// Starts an empty engine that also has a port with TLS. Its certificate is for 127.0.0.1, and
    /// an authority of its own has signed it.
    pub async fn with_tls() -> Self {
        let mut engine = Self::start().await;
        certificates::issue(&engine.folder);
        let port = free_port();
        let options = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
        let files = ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"];
        let authority = ["--tls-ca-cert-file", "ca.pem"];
        let options = options.iter().chain(&files).chain(&authority);
        engine.arguments.extend(options.map(|&option| option.to_owned()));
        engine.tls_port = Some(port);
        engine.restart().await;
        engine
    }

    /// Starts the nodes of a Cluster and divides the slots among them.
    pub async fn cluster(size: usize) -> Vec<Self> {
        const SLOTS: usize = 16_384;
        let mut nodes = Vec::new();
        for index in 0..size {
            let node = Self::with(&["--cluster-enabled", "yes"]).await;
            let slots: Vec<_> = (index * SLOTS / size..(index + 1) * SLOTS / size).collect();
            node.run::<()>(cmd("CLUSTER").arg("ADDSLOTS").arg(&slots)).await;
            nodes.push(node);
        }
        for node in &nodes[1..] {
            node.run::<()>(cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(nodes[0].port)).await;
        }
        for node in &nodes {
            let known = format!("cluster_known_nodes:{size}\r");
            node.becomes(cmd("CLUSTER").arg("INFO"), &["cluster_state:ok\r", &known]).await;
        }
        nodes
    }

    /// Starts an empty replica of an engine.
    pub async fn replica_of(primary: &Self) -> Self {
        let replica = Self::with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
        replica.becomes(&cmd("INFO"), &["master_link_status:up\r"]).await;
        replica
    }

    /// Starts a Sentinel that watches an engine and names it `main`.
    pub async fn sentinel_of(primary: &Self) -> Self {
        let mut sentinel = Self::new();
        let (port, primary) = (sentinel.port, primary.port);
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
        );
        fs::write(sentinel.folder.join("sentinel.conf"), config).expect("the folder is writable");
        sentinel.arguments = ["sentinel.conf", "--sentinel"].map(str::to_owned).to_vec();
        sentinel.launch().await;
        sentinel.becomes(&cmd("INFO"), &["slaves=1"]).await;
        sentinel
    }

    fn new() -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("e2e-engine-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder is writable");
        Self { port, tls_port: None, arguments: Vec::new(), password: None, folder, process: None }
    }

    /// Starts an empty engine that requires this password.
    pub async fn with_password(password: &str) -> Self {
        let mut engine = Self::start().await;
        engine.require_password(password).await;
        engine
    }

    /// Returns the URL for `SHARED_CACHE_URL`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Returns the URL with TLS.
    pub fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port.expect("the engine has TLS"))
    }

    /// Returns the file with the certificate of the authority.
    pub fn authority(&self) -> String {
        self.folder.join("ca.pem").to_str().expect("it is text").to_owned()
    }

    /// Returns the address as `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the process with SIGKILL. Its clients see their connections close.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops the process with SIGSTOP: the kernel still accepts connections and bytes, and no
    /// response comes.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues a stopped process.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts the engine again, empty and on the same port. A running process ends first.
    pub async fn restart(&mut self) {
        self.kill();
        let _ = fs::remove_file(self.folder.join(DUMP));
        self.password = None;
        self.launch().await;
    }

    /// Returns the engine's dump: all keys with their values, uncompressed.
    pub async fn dump(&self) -> Vec<u8> {
        self.run::<()>(&cmd("SAVE")).await;
        fs::read(self.folder.join(DUMP)).expect("the engine has saved it")
    }

    /// Starts the engine again on the same port, with the keys of a dump.
    pub async fn restore(&mut self, dump: &[u8]) {
        self.kill();
        fs::write(self.folder.join(DUMP), dump).expect("the folder is writable");
        self.launch().await;
    }

    /// Fills the engine: its memory is used up, and it evicts nothing.
    pub async fn fill(&self) {
        self.configure("maxmemory-policy", "noeviction").await;
        self.configure("maxmemory", "1").await;
    }

    /// Gives a full engine as much memory as it wants.
    pub async fn empty_out(&self) {
        self.configure("maxmemory", "0").await;
    }

    /// Requires this password from now on, and closes the connections of all clients.
    pub async fn require_password(&mut self, password: &str) {
        self.configure("requirepass", password).await;
        self.password = Some(password.to_owned());
        self.disconnect_clients().await;
    }

    /// Requires no password from now on.
    pub async fn require_no_password(&mut self) {
        self.configure("requirepass", "").await;
        self.password = None;
    }

    /// Makes the engine a replica of an engine that does not exist, as in a failover that went
    /// wrong: every write is an error.
    pub async fn refuse_writes(&self) {
        self.run::<()>(cmd("REPLICAOF").arg("127.0.0.1").arg(9)).await;
    }

    /// Makes the engine a primary again.
    pub async fn accept_writes(&self) {
        self.run::<()>(cmd("REPLICAOF").arg("NO").arg("ONE")).await;
    }

    /// Closes the connections of all clients.
    pub async fn disconnect_clients(&self) {
        // The engine spares the connection of this command.
        self.run::<i64>(cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal")).await;
    }

    /// Returns all keys whose names contain this text.
    pub async fn keys(&self, part: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.run(cmd("KEYS").arg(format!("*{part}*"))).await;
        keys.sort();
        keys
    }

    /// Returns the fields of a hash, with their values.
    pub async fn fields(&self, key: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.run(cmd("HGETALL").arg(key)).await
    }

    /// Overwrites all keys with garbage of one kind. A key that vanishes meanwhile comes back as
    /// garbage.
    pub async fn overwrite_with(&self, garbage: Garbage) {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for key in self.keys("").await {
            match garbage {
                Garbage::Bytes => {
                    pipeline.set(&key, random_bytes()).ignore();
                }
                Garbage::BytesThatExpire => {
                    pipeline.set_ex(&key, random_bytes(), 30).ignore();
                }
                Garbage::AnotherType => {
                    pipeline.del(&key).ignore().rpush(&key, random_bytes()).ignore();
                }
                Garbage::Fields | Garbage::Numbers => {
                    let is_hash = self.run::<String>(cmd("TYPE").arg(&key)).await == "hash";
                    let fields = if is_hash { self.fields(&key).await } else { Vec::new() };
                    pipeline.del(&key).ignore();
                    pipeline.hset(&key, "", random_bytes()).ignore();
                    for (field, _) in fields {
                        let value = match garbage {
                            Garbage::Numbers => absurd_number().as_bytes().to_vec(),
                            _ => random_bytes(),
                        };
                        pipeline.hset(&key, field, value).ignore();
                    }
                }
            }
        }
        self.execute(async |connection| pipeline.query_async::<()>(connection).await)
            .await
            .expect("the engine executes it");
    }

    /// Runs a command.
    ///
    /// # Panics
    ///
    /// The engine does not run, or its response is an error.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let result = self.execute(async |connection| command.query_async(connection).await).await;
        result.unwrap_or_else(|error| panic!("{:?}: {error}", command_name(command)))
    }

    /// Waits until the response to a command contains all of these texts.
    async fn becomes(&self, command: &Cmd, wanted: &[&str]) {
        let mut last = String::new();
        let poll = async {
            loop {
                last = self.run::<String>(command).await;
                if wanted.iter().all(|text| last.contains(text)) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(TIMEOUT, poll).await.is_ok(), "{wanted:?} never came:\n{last}");
    }

    async fn configure(&self, option: &str, value: &str) {
        self.run::<()>(cmd("CONFIG").arg("SET").arg(option).arg(value)).await;
    }

    /// Runs commands on a connection of their own.
    async fn execute<T>(
        &self,
        commands: impl AsyncFnOnce(&mut redis::aio::MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let info = self.url().into_connection_info()?;
        let mut settings = info.redis_settings().clone();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let client = redis::Client::open(info.set_redis_settings(settings))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        commands(&mut connection).await
    }

    /// Starts the process and waits until it responds.
    async fn launch(&mut self) {
        self.process = Some(Process::start(&self.folder, &self.arguments));
        let responds = async {
            while self
                .execute(async |connection| cmd("PING").query_async::<()>(connection).await)
                .await
                .is_err()
            {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(TIMEOUT, responds).await.is_err() {
            let output = fs::read_to_string(self.folder.join(OUTPUT)).unwrap_or_default();
            panic!("the engine does not respond on port {}; its output:\n{output}", self.port);
        }
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the engine runs");
        kill_process(process.pid, signal).expect("the engine runs");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Certificates, made by the command `openssl`.
mod certificates {
    use std::{fs, path::Path, process::Command};

    /// Makes an authority, `ca.pem`, and a certificate that it has signed, `cert.pem` and `key.pem`.
    pub(super) fn issue(folder: &Path) {
        fs::write(folder.join("extensions"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
            .expect("the folder is writable");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for command in [
            &format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
            &format!("req {key} -subj /CN=engine -keyout key.pem -out request.pem"),
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out cert.pem",
        ] {
            let output =
                Command::new("openssl").args(command.split(' ')).current_dir(folder).output();
            let output = output.expect("openssl is installed; `make test` installs it");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// A kind of garbage.
#[derive(Clone, Copy, Debug)]
pub enum Garbage {
    /// Strings of random bytes, without an expiry.
    Bytes,
    /// Strings of random bytes that expire in half a minute.
    BytesThatExpire,
    /// Lists, without an expiry.
    AnotherType,
    /// Hashes with the same fields and random bytes in them, without an expiry.
    Fields,
    /// Hashes with the same fields and absurd numbers in them, without an expiry.
    Numbers,
}

impl Garbage {
    pub const ALL: [Self; 5] =
        [Self::Bytes, Self::BytesThatExpire, Self::AnotherType, Self::Fields, Self::Numbers];
}

fn random_bytes() -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(fastrand::usize(0..64)).collect()
}

fn absurd_number() -> &'static str {
    let numbers = ["-1", "0", "nan", "1e308", "-1e308", "99999999999999999999", "0x7f", "1,5"];
    fastrand::choice(numbers).expect("there are some")
}

/// Returns the first word of a command, for messages: the other words may be passwords.
fn command_name(command: &Cmd) -> String {
    let mut words = command.args_iter();
    match words.next() {
        Some(redis::Arg::Simple(word)) => String::from_utf8_lossy(word).into_owned(),
        _ => String::new(),
    }
}

/// Returns a port on which no process listens. The port lies below the kernel's own choices for
/// outgoing connections, so that it stays free while its engine restarts, and so does the port of a
/// Cluster's own protocol, which is higher by ten thousand.
fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 2_700;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test runs at the same time start at different ports.
    let offset = (std::process::id() % u32::from(COUNT)) as u16;
    loop {
        let port = FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The file with the output of the process.
const OUTPUT: &str = "engine.log";

/// The process of an engine, below a shell that ends it. When this is dropped, it ends.
struct Process {
    pid: Pid,
    shell: Child,
    lifeline: Option<ChildStdin>,
}

impl Process {
    fn start(folder: &Path, arguments: &[String]) -> Self {
        let program = PROGRAMS.into_iter().find(|program| is_installed(program));
        let program = program.expect(
            "no engine of the shared cache is installed; `make test` installs one (checks/engine.sh alone does, too)",
        );
        let mut shell = Command::new("sh")
            .args(["-c", UNTIL_THE_LIFELINE_ENDS, OUTPUT, program])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let lifeline = shell.stdin.take();
        let mut pid = String::new();
        let mut output = BufReader::new(shell.stdout.take().expect("it is piped"));
        output.read_line(&mut pid).expect("the shell writes it");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        Self { pid: pid.expect("the shell writes a number"), shell, lifeline }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.lifeline = None;
        let _ = self.shell.wait();
    }
}

fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The script of the shell. It kills the engine, also a stopped one, when its standard input ends,
/// and so with the tests in every case: a killed test run cleans up nothing.
const UNTIL_THE_LIFELINE_ENDS: &str = r#"
trap '' INT TERM HUP
exec 2>/dev/null
"$@" >"$0" 2>&1 &
echo $!
read -r _
kill -KILL $!
wait $!
"#;
