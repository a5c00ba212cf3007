//! The steps of the day: the faults, and the facts that each step must show.

use std::{sync::Arc, time::Duration};

use e2e::{
    change_queue,
    exposition::Exposition,
    proxy::Fault,
    refusals::{s3_throttled, ssm_throttled},
};
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    aws_calls::AwsCalls,
    clients::{self, CLIENT_TIMEOUT, Clients, http_client},
    deployment::{Deployment, TTL},
    figures::{self, Day, THROUGH_GATEWAY},
    parameters::{self, BANNER, BANNER_VALUES},
    report::{self, milliseconds},
    terminal::Terminal,
};

/// The longest time after AWS's return until every value is fresh. The caches repeat a failed
/// refresh after at most 30 s, main-api's after aux-service's.
const RECOVERY: Duration = Duration::from_secs(120);

/// The longest time until a change has reached every replica. It is shorter than it needs to be
/// without the event: the value was read just before, and is fresh for [`TTL`].
const PROPAGATION: Duration = Duration::from_secs(TTL);

/// The 99th percentile without a fault above which the machine is too busy for the load. It is a
/// few milliseconds on an idle one.
const BUSY: Duration = Duration::from_millis(250);

/// The time limit of a condition that holds within a second on an idle machine.
const SOON: Duration = Duration::from_secs(30);

/// The largest age of a value that is read again and again while AWS works, in seconds: it is stale
/// while it is refreshed.
const FRESH: u64 = TTL + 2;

/// The time between two looks for the new value.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// The time between two looks at other conditions. It is longer, so that they are no load.
const BETWEEN_CHECKS: Duration = Duration::from_millis(250);

/// The durations of the steps. They are for the reader; no measured fact depends on them.
///
/// The usual outage, restarts included, is shorter than the lifetime and `stale-while-revalidate`
/// together, so no request waits for AWS.
pub(crate) struct Pace {
    /// The pause after the introduction, in which the reader opens the page.
    pub(crate) introduction: Duration,
    pub(crate) calm: Duration,
    pub(crate) throttled: Duration,
    pub(crate) hanging: Duration,
    pub(crate) gone: Duration,
    pub(crate) restarted: Duration,
    pub(crate) returned: Duration,
    pub(crate) changed: Duration,
}

impl Pace {
    pub(crate) fn usual() -> Self {
        let seconds = Duration::from_secs;
        Self {
            introduction: seconds(10),
            calm: seconds(25),
            throttled: seconds(15),
            hanging: seconds(20),
            gone: seconds(8),
            restarted: seconds(5),
            returned: seconds(30),
            changed: seconds(20),
        }
    }

    pub(crate) fn quick() -> Self {
        let seconds = Duration::from_secs;
        Self {
            introduction: Duration::ZERO,
            calm: seconds(2),
            throttled: seconds(2),
            hanging: seconds(4),
            gone: seconds(1),
            restarted: seconds(1),
            returned: seconds(1),
            changed: seconds(1),
        }
    }
}

/// A fact that the demonstration claims, and whether it was so.
pub(crate) struct Claim {
    pub(crate) holds: bool,
    pub(crate) text: String,
}

pub(crate) struct Steps<'a> {
    pub(crate) terminal: &'a Terminal,
    pub(crate) day: &'a Arc<Day>,
    pub(crate) deployment: Deployment,
    pub(crate) clients: Clients,
    pub(crate) aws_calls: AwsCalls,
    pub(crate) pace: Pace,
    pub(crate) claims: Vec<Claim>,
}

impl Steps<'_> {
    pub(crate) async fn run(&mut self) {
        self.calm().await;
        self.throttled().await;
        self.hanging().await;
        self.gone().await;
        let healed_at = self.returned().await;
        self.changed(healed_at).await;
    }

    async fn calm(&mut self) {
        self.begin("calm", "Step 0: AWS works");
        self.look("the calls to AWS, and the share of requests that the cache answers. A value is read from AWS \
                   once in 5 s, however many clients read it.");
        self.watch(self.pace.calm).await;
        self.figures().await;
        let seen = self.day.read(|steps| figures::sum(steps, &THROUGH_GATEWAY));
        if seen.p99 > BUSY {
            self.terminal.say(&format!(
                "This machine is busy: without any fault, 1 of 100 requests took more than {}. The times of the \
                 next steps are partly those of the machine. Fewer clients: make demo ARGS='--readers 5'",
                milliseconds(seen.p99)
            ));
        }
    }

    async fn throttled(&mut self) {
        self.begin("throttled", "Step 1: AWS throttles");
        self.terminal.say(
            "Every call gets HTTP 400 with ThrottlingException, as from a Parameter Store whose quota is used up.",
        );
        self.look("aux-service's calls to AWS fail, and no request does. The values get older: each response says \
                   so in its Age header.");
        let proxy = &self.deployment.aws.proxy;
        proxy.fail_all(ssm_throttled());
        proxy.fail("ListBuckets", s3_throttled());
        self.watch(self.pace.throttled).await;
        self.figures().await;
    }

    async fn hanging(&mut self) {
        self.begin("hanging", "Step 2: AWS hangs");
        self.terminal.say(
            "AWS accepts every call and never responds. A program without a timeout of its own waits for ever; \
             here each client gives up after 10 s.",
        );
        self.look("the latency of requests. It stays as it was, because no request waits for AWS: a refresh runs in \
                   the background, and aux-service gives it up after a second.");
        self.deployment.aws.proxy.heal();
        self.deployment.aws.proxy.fail_all(Fault::Hang);
        self.watch(self.pace.hanging).await;
        self.figures().await;
    }

    async fn gone(&mut self) {
        self.begin("gone", "Step 3: AWS is gone, and both services restart");
        self.terminal
            .say("No process listens at AWS's address any more: every connection is refused.");
        self.look("the requests continue. Then each process restarts with an empty memory, one after another, and \
                   the page's figures begin again at zero.");
        self.deployment.aws.proxy.refuse_connections().await;
        self.deployment.aws.proxy.heal();
        self.watch(self.pace.gone).await;
        if self.deployment.has_shared_cache() {
            for index in 0..self.deployment.replicas.len() {
                self.restart_aux(index).await;
            }
            self.restart_main().await;
        } else {
            self.terminal.say(
                "Without a shared cache the values are only in the memory of the two processes. main-api restarts \
                 first and reads them from aux-service; then aux-service restarts, and main-api answers without it.",
            );
            self.restart_main().await;
            // aux-service may lose its memory only when main-api's is complete.
            let filled = clients::warm_up(&self.deployment.main.url);
            let filled = self.terminal.during(|| report::live(self.day), filled).await;
            if let Err(failure) = filled {
                self.claim(false, format!("The new main-api did not read everything: {failure}"));
            }
            self.restart_aux(0).await;
        }
        self.watch(self.pace.restarted).await;
        self.figures().await;
    }

    async fn restart_aux(&mut self, index: usize) {
        let shared = self.deployment.has_shared_cache();
        let restart = async {
            let ended = self.deployment.restart_aux(index).await;
            self.aws_calls.follow(&self.deployment.replicas).await;
            ended
        };
        let ended = self.terminal.during(|| report::live(self.day), restart).await;
        let replica = &self.deployment.replicas[index];
        let address = replica.url.trim_start_matches("http://");
        let read = read_all(&replica.url).await;
        let all = parameters::names().count();
        if shared {
            self.terminal.say(&format!(
                "aux-service on {address} has restarted. Read from it directly, it has {} of {all} values, {} of \
                 them from the shared cache; the oldest is {} s old.",
                read.answered, read.shared, read.oldest
            ));
            self.claim(
                read.answered == all,
                format!("The restarted aux-service on {address} had {} of {all} values while AWS was gone.", read.answered),
            );
        } else {
            self.terminal.say(&format!(
                "aux-service on {address} has restarted. Read from it directly, it has {} of {all} values until AWS \
                 returns. With Valkey or Redis installed it would have them all.",
                read.answered
            ));
        }
        self.claim_ended(ended, "aux-service");
    }

    async fn restart_main(&mut self) {
        let restart = async {
            let ended = self.deployment.restart_main().await;
            // Its memory must be warm before another process restarts.
            let url = self.deployment.main.url.clone();
            (ended, read_all(&url).await)
        };
        let (ended, read) = self.terminal.during(|| report::live(self.day), restart).await;
        self.terminal.say(&format!(
            "main-api has restarted: a new process started first, then the old one ended. The new one has {} of {} \
             values, which it read from aux-service.",
            read.answered,
            parameters::names().count()
        ));
        self.claim_ended(ended, "main-api");
    }

    fn claim_ended(&mut self, ended: bool, name: &str) {
        if !ended {
            self.claim(false, format!("The process of {name} did not end with status 0."));
        }
    }

    async fn returned(&mut self) -> Instant {
        self.begin("returned", "Step 4: AWS returns");
        self.look("the age of the values falls, and the circuits are closed.");
        self.deployment.aws.proxy.accept_connections();
        let healed_at = Instant::now();
        let recovery = async {
            let fresh = within(RECOVERY, async || {
                let read = read_all(&self.deployment.main.url).await;
                read.answered == parameters::names().count() && read.oldest <= FRESH
            });
            let fresh = fresh.await;
            sleep(self.pace.returned.saturating_sub(healed_at.elapsed())).await;
            fresh
        };
        let fresh = self.terminal.during(|| report::live(self.day), recovery).await;
        let text = match fresh {
            Some(after) => format!(
                "Every value was fresh again, at most {FRESH} s old, {} after AWS's return.",
                milliseconds(after)
            ),
            None => {
                format!("Not every value was fresh {} s after AWS's return.", RECOVERY.as_secs())
            }
        };
        self.terminal.say(&text);
        self.claim(fresh.is_some(), text);
        self.figures().await;
        healed_at
    }

    async fn changed(&mut self, healed_at: Instant) {
        self.begin("change", "Step 5: a value changes in Parameter Store");
        self.terminal.say(&format!(
            "{BANNER} gets a new value, and EventBridge's event of it goes into the queue that aux-service reads. \
             One client has been waiting for this: GET /param{BANNER} with If-None-Match and Prefer: wait=30."
        ));
        self.look("the list of changes.");
        let ready = within(SOON, async || self.is_ready_for_a_change(healed_at).await);
        if self.terminal.during(|| report::live(self.day), ready).await.is_none() {
            self.claim(false, format!("The change found no client that waits, or no replica that reads the queue, {} s long.", SOON.as_secs()));
            return;
        }

        let value = BANNER_VALUES[1];
        let events_before = self.events_of_the_queue().await;
        let aws = &self.deployment.aws;
        parameters::put(aws, BANNER, value).await;
        let changed_at = Instant::now();
        change_queue::send(aws, &[change_queue::change(BANNER, "Update")]).await;
        let waiting = arrival(self.clients.latest.clone(), value);
        let mut served = JoinSet::new();
        let services = self.deployment.replicas.iter().chain([&self.deployment.main]);
        for service in services {
            served.spawn(serves(service.url.clone(), value, changed_at));
        }
        let (arrived, served) = tokio::join!(timeout(PROPAGATION, waiting), served.join_all());
        let arrived = arrived.ok().map(|at| at.saturating_duration_since(changed_at));
        let everywhere = served.into_iter().collect::<Option<Vec<_>>>();
        let everywhere = everywhere.and_then(|times| times.into_iter().max());
        let events = self.events_of_the_queue().await - events_before;

        let processes = if self.deployment.has_shared_cache() {
            "both replicas of aux-service and main-api"
        } else {
            "aux-service and main-api"
        };
        let text = match (arrived, everywhere) {
            (Some(arrived), Some(everywhere)) => format!(
                "The waiting client had the new value {} after Parameter Store had it, and {processes} served it after {}.",
                milliseconds(arrived),
                milliseconds(everywhere)
            ),
            (None, _) => format!(
                "The waiting client did not have the new value within {} s.",
                PROPAGATION.as_secs()
            ),
            (_, None) => format!(
                "Not all of {processes} served the new value within {} s.",
                PROPAGATION.as_secs()
            ),
        };
        self.terminal.say(&text);
        self.terminal.say("The delivery by EventBridge is not in these times: the demonstration puts the event into the queue itself.");
        self.claim(arrived.is_some() && everywhere.is_some(), text);
        self.claim(events > 0.0, "The services learned of the change from its event.".to_owned());
        self.watch(self.pace.changed).await;
        self.figures().await;
    }

    /// Whether a client waits, main-api follows the changes, and a replica has asked the queue for
    /// messages since AWS's return.
    async fn is_ready_for_a_change(&self, healed_at: Instant) -> bool {
        let received = self.deployment.aws.proxy.requests("ReceiveMessage");
        let main = &self.deployment.main;
        let mut streams = 0.0;
        for replica in &self.deployment.replicas {
            streams +=
                Exposition::of(replica).await.value("waiting_requests", &[("kind", "stream")]);
        }
        received.iter().any(|request| request.at > healed_at)
            && streams > 0.0
            && Exposition::of(main).await.value("waiting_requests", &[("kind", "wait")]) > 0.0
    }

    async fn events_of_the_queue(&self) -> f64 {
        let mut events = 0.0;
        for replica in &self.deployment.replicas {
            events += Exposition::of(replica).await.value("changes_total", &[("source", "queue")]);
        }
        events
    }

    fn begin(&self, name: &'static str, title: &str) {
        self.day.begin(name);
        self.terminal.title(title);
    }

    fn look(&self, text: &str) {
        self.terminal.say(&format!("Look at: {text}"));
    }

    /// Gives the reader time to look at the page.
    async fn watch(&self, duration: Duration) {
        self.terminal.during(|| report::live(self.day), sleep(duration)).await;
    }

    /// Prints the figures of the step.
    async fn figures(&self) {
        self.aws_calls.sample().await;
        self.day.read(|steps| report::step(self.terminal, steps.last()));
    }

    fn claim(&mut self, holds: bool, text: String) {
        self.claims.push(Claim { holds, text });
    }

    /// Adds the claims about the figures of the whole day.
    pub(crate) fn claim_figures(&mut self) {
        let claims = self.day.read(report::claims);
        self.claims.extend(claims);
    }
}

/// The result of reading every parameter once, all at the same time.
#[derive(Default)]
struct ReadAll {
    answered: usize,
    /// The responses whose values came from the shared cache.
    shared: usize,
    oldest: u64,
}

async fn read_all(url: &str) -> ReadAll {
    let http = http_client();
    let mut requests = JoinSet::new();
    for name in parameters::names() {
        let request = http.get(format!("{url}/param{name}")).timeout(CLIENT_TIMEOUT);
        requests.spawn(async move {
            let response = request.send().await.ok()?;
            let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            let is_shared = header("cache-status")?.contains("shared-cache; hit");
            let age: u64 = header("age")?.parse().ok()?;
            let body: Value = response.json().await.ok()?;
            (body["value"] == parameters::value(&name)).then_some((is_shared, age))
        });
    }
    let mut read = ReadAll::default();
    for (is_shared, age) in requests.join_all().await.into_iter().flatten() {
        read.answered += 1;
        read.shared += usize::from(is_shared);
        read.oldest = read.oldest.max(age);
    }
    read
}

/// Waits until a condition holds, and returns the time that it took.
async fn within(limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> Option<Duration> {
    let start = Instant::now();
    let look = async {
        while !holds().await {
            sleep(BETWEEN_CHECKS).await;
        }
    };
    timeout(limit, look).await.ok().map(|()| start.elapsed())
}

/// Returns the time after the change at which a service serves the new value.
async fn serves(url: String, value: &'static str, changed_at: Instant) -> Option<Duration> {
    let http = http_client();
    let look = async {
        loop {
            if let Ok(response) = http.get(format!("{url}/param{BANNER}")).send().await
                && response.json::<Value>().await.is_ok_and(|body| body["value"] == value)
            {
                return changed_at.elapsed();
            }
            sleep(BETWEEN_LOOKS).await;
        }
    };
    timeout(PROPAGATION, look).await.ok()
}

/// Returns the time at which the waiting client has received a value.
async fn arrival(mut latest: watch::Receiver<Option<(String, Instant)>>, value: &str) -> Instant {
    let has_it = |latest: &Option<(String, Instant)>| {
        latest.as_ref().is_some_and(|(latest, _)| latest == value)
    };
    let latest = latest.wait_for(has_it).await.expect("the client runs as long as this step");
    latest.as_ref().map(|(_, at)| *at).expect("it has a value")
}
