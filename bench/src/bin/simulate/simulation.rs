//! The simulation: pods, replicas of both services, AWS and the shared cache, and the events among
//! them.

use fastrand::Rng;

use crate::{
    Seconds,
    batcher::{BATCH_WINDOW, Batcher, Names, NextStep},
    bucket::Bucket,
    cache::{Cache, Failure, Loaded, Loading, Priority, Served, Step, Value},
    connections::Connections,
    engine::{Engine, Lookup},
    figures::Figures,
    queue::Queue,
    retries::Retries,
    scenario::Scenario,
    workload::Workload,
};

/// main-api rotates its attempts over this many connections.
const CONNECTIONS_OF_MAIN: usize = 8;
/// The pause of calls after AWS throttled one.
const THROTTLE_PAUSE: Seconds = 1.0;
/// The pauses between two lookups of a record that another replica loads.
const FIRST_POLL: Seconds = 0.005;
const LONGEST_POLL: Seconds = 0.1;
/// Half of aux-service's `REQUEST_TIMEOUT`, less the fraction for the way back: after this time a
/// request no longer waits for another replica's load.
const LONGEST_WAIT: Seconds = 1.9;
/// The resolution of the header `Age`.
const AGE_RESOLUTION: Seconds = 1.0;
/// The time after a change in which a replica of aux-service may not have learned of it.
const SPREAD: Seconds = 15.0;
/// The time between a response and the next request of a client that reads as fast as it can.
const THINK_TIME: Seconds = 0.0005;

/// A request that aux-service serves.
#[derive(Clone, Copy, Debug)]
enum Requester {
    Client(u32),
    Main(Attempt),
}

/// An attempt of main-api.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    main: u16,
    /// The attempts of the call, with this one.
    number: u8,
    sent: Seconds,
}

enum Event {
    /// The next read of a pod.
    Read,
    /// The next read of a client that reads all names in turn.
    PacedRead {
        client: u32,
        index: usize,
    },
    /// An attempt of main-api begins.
    Attempt {
        main: u16,
        key: u32,
        number: u8,
    },
    /// An attempt reaches aux-service.
    AuxRequest {
        replica: u16,
        key: u32,
        attempt: Attempt,
    },
    /// The response of aux-service reaches main-api. `age` is the header.
    AuxResponse {
        key: u32,
        attempt: Attempt,
        result: Loading,
        age: Seconds,
    },
    /// A load of aux-service asks the shared cache. `until` is the end of its wait.
    Lookup {
        replica: u16,
        key: u32,
        pause: Seconds,
        until: Seconds,
    },
    /// A load of aux-service has found its record in the shared cache.
    Found {
        replica: u16,
        key: u32,
        result: Loading,
    },
    /// A load of aux-service needs a call.
    Load {
        replica: u16,
        key: u32,
        priority: Priority,
    },
    BatchTimer {
        replica: u16,
        number: u64,
    },
    /// A call ends. `Ok` has the time of the read at AWS.
    CallEnds {
        replica: u16,
        names: Names,
        result: Result<Seconds, Failure>,
    },
    /// The event of a change arrives at a replica of aux-service.
    Push {
        key: u32,
    },
    /// A replica of aux-service, or of main-api, learns of a change.
    AuxLearns {
        replica: u16,
        key: u32,
    },
    MainLearns {
        main: u16,
        key: u32,
    },
}

struct Aux {
    cache: Cache<Requester>,
    batcher: Batcher,
    bucket: Bucket,
}

struct Main {
    cache: Cache<u32>,
    retries: Retries,
    /// The replica of aux-service whose stream of changes it follows.
    follows: u16,
}

/// The clients that read all names in turn, for `--paced`.
struct Paced {
    seconds: Seconds,
    /// The clients that still read for the first time.
    cold: usize,
    /// The start of the paced reads.
    begin: Option<Seconds>,
}

pub(crate) struct Simulation<'a> {
    scenario: &'a Scenario,
    random: Rng,
    now: Seconds,
    end: Seconds,
    queue: Queue<Event>,
    workload: Workload,
    paced: Option<Paced>,
    pods: Connections,
    to_aux: Connections,
    mains: Vec<Main>,
    aux: Vec<Aux>,
    engine: Engine,
    shared_bucket: Bucket,
    aws: Bucket,
    figures: Figures,
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let mut random = Rng::with_seed(scenario.seed);
        let Scenario { pods, keys, main_replicas, aux_replicas, .. } = *scenario;
        let age = scenario.max_connection_age;
        let front = scenario.front_replicas();
        let pods = Connections::new(pods, 1, front, age, &mut random);
        let to_aux =
            Connections::new(main_replicas, CONNECTIONS_OF_MAIN, aux_replicas, age, &mut random);
        let main = || Main {
            cache: Cache::new(keys),
            retries: Retries::default(),
            follows: random.u16(0..aux_replicas as u16),
        };
        let mains = std::iter::repeat_with(main).take(main_replicas).collect();
        let aux = || Aux {
            cache: Cache::new(keys),
            batcher: Batcher::default(),
            bucket: Bucket::new(scenario.shield_rate()),
        };
        let aux = std::iter::repeat_with(aux).take(aux_replicas).collect();
        let paced = scenario.paced.map(|seconds| Paced { seconds, cold: front, begin: None });
        Self {
            scenario,
            random,
            now: 0.0,
            end: if paced.is_some() { Seconds::INFINITY } else { scenario.end() },
            queue: Queue::new(),
            workload: Workload::new(scenario),
            paced,
            pods,
            to_aux,
            mains,
            aux,
            engine: Engine::default(),
            shared_bucket: Bucket::new(scenario.shield_rate()),
            aws: Bucket::new(scenario.aws_quota),
            figures: Figures::new(),
        }
    }

    /// Runs to the end of the scenario and returns its figures.
    pub(crate) fn run(mut self) -> std::collections::BTreeMap<&'static str, f64> {
        match &self.paced {
            Some(_) => {
                for client in 0..self.scenario.front_replicas() as u32 {
                    self.after(0.0, Event::PacedRead { client, index: 0 });
                }
            }
            None => self.after(0.0, Event::Read),
        }
        if let (Some(at), Some(delay)) = (self.scenario.change_at, self.scenario.push) {
            for key in 0..self.scenario.change_keys as u32 {
                self.queue.schedule(at + delay, Event::Push { key });
            }
        }
        let mut warming_up = self.paced.is_none();
        while let Some((now, event)) = self.queue.pop() {
            if warming_up && now >= self.scenario.warm_up {
                warming_up = false;
                self.figures = Figures::starting_at(self.scenario.warm_up);
            }
            if now >= self.end {
                break;
            }
            self.now = now;
            self.handle(event);
        }
        self.figures.named(self.end, self.scenario)
    }

    fn after(&mut self, pause: Seconds, event: Event) {
        self.queue.schedule(self.now + pause, event);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Read => {
                let (pod, key) = self.workload.read(&mut self.random);
                let replica = self.pods.next(pod as usize, self.now, &mut self.random);
                let pause = self.workload.pause(&mut self.random);
                self.after(pause, Event::Read);
                self.request(replica, key, pod);
            }
            Event::PacedRead { client, index } => {
                self.schedule_paced(client, index + 1);
                let keys = self.scenario.keys;
                self.request(client as usize, (index % keys) as u32, client);
            }
            Event::Attempt { main, key, number } => self.attempt(main, key, number),
            Event::AuxRequest { replica, key, attempt } => {
                self.aux_request(replica, key, Requester::Main(attempt));
            }
            Event::AuxResponse { key, attempt, result, age } => {
                self.aux_response(key, attempt, result, age);
            }
            Event::Lookup { replica, key, pause, until } => {
                self.look_up(replica, key, pause, until)
            }
            Event::Found { replica, key, result } => {
                self.aux_complete(replica, key, result);
            }
            Event::Load { replica, key, priority } => self.load(replica, key, priority),
            Event::BatchTimer { replica, number } => {
                if let Some(names) = self.aux[usize::from(replica)].batcher.timer(number) {
                    self.call(replica, names);
                }
            }
            Event::CallEnds { replica, names, result } => self.call_ends(replica, names, result),
            Event::Push { key } => {
                let replica = self.random.u16(0..self.scenario.aux_replicas as u16);
                self.publish(replica, key, self.now);
                self.aux_learns(replica, key);
            }
            Event::AuxLearns { replica, key } => self.aux_learns(replica, key),
            Event::MainLearns { main, key } => {
                self.mains[usize::from(main)].cache.apply_change(key, self.now);
            }
        }
    }

    /// A client's request reaches main-api, or aux-service if there is no main-api.
    fn request(&mut self, replica: usize, key: u32, client: u32) {
        if self.mains.is_empty() {
            return self.aux_request(replica as u16, key, Requester::Client(client));
        }
        match self.mains[replica].cache.request(key, client, self.now) {
            Step::Served(served) => self.respond(key, client, &served),
            Step::ServedAndRefresh(served) => {
                self.respond(key, client, &served);
                self.attempt(replica as u16, key, 1);
            }
            Step::StartLoad(_) => self.attempt(replica as u16, key, 1),
            Step::Joined => {}
        }
    }

    fn respond(&mut self, key: u32, client: u32, served: &Served) {
        self.figures.response(key, served, self.now, self.scenario);
        self.continue_cold(client, key);
    }

    fn attempt(&mut self, main: u16, key: u32, number: u8) {
        if number == 1 {
            self.mains[usize::from(main)].retries.record_call(self.now);
        }
        let replica = self.to_aux.next(usize::from(main), self.now, &mut self.random) as u16;
        let attempt = Attempt { main, number, sent: self.now };
        let way = self.scenario.hop_latency / 2.0;
        self.after(way, Event::AuxRequest { replica, key, attempt });
    }

    fn aux_response(&mut self, key: u32, attempt: Attempt, result: Loading, age: Seconds) {
        let Attempt { main, number, sent } = attempt;
        let now = self.now;
        let caller = &mut self.mains[usize::from(main)];
        let result = match result {
            Loading::Value(loaded) => {
                let age = age + (now - sent);
                let mut freshness = loaded.freshness.in_whole_seconds();
                // The replica that responded may not have learned of the change yet.
                let outdated_at = caller.cache.outdated_at(key);
                let outdated_at = outdated_at.filter(|at| may_precede(age, now - at));
                if outdated_at.is_some() {
                    freshness = freshness.stale_from(age);
                }
                let born = now - age;
                Loading::Value(Loaded { value: loaded.value, born, freshness, outdated_at })
            }
            Loading::NotFound { .. } => result,
            Loading::Failed(failure) => {
                let pause = caller.retries.pause(number, failure, now, &mut self.random);
                if let Some(pause) = pause {
                    return self.after(pause, Event::Attempt { main, key, number: number + 1 });
                }
                result
            }
        };
        let ended = caller.cache.complete(key, result, now, self.random.f64());
        for (client, served) in ended.served {
            self.respond(key, client, &served);
        }
        for client in ended.again {
            self.request(usize::from(main), key, client);
        }
    }

    fn aux_request(&mut self, replica: u16, key: u32, requester: Requester) {
        match self.aux[usize::from(replica)].cache.request(key, requester, self.now) {
            Step::Served(served) => self.aux_respond(key, requester, served),
            Step::ServedAndRefresh(served) => {
                self.aux_respond(key, requester, served);
                self.start_load(replica, key, Seconds::INFINITY);
            }
            Step::StartLoad(_) => self.start_load(replica, key, self.now + LONGEST_WAIT),
            Step::Joined => {}
        }
    }

    fn aux_respond(&mut self, key: u32, requester: Requester, served: Served) {
        self.figures.aux_response(served.outcome);
        match requester {
            Requester::Client(client) => self.respond(key, client, &served),
            Requester::Main(attempt) => {
                let result = served.result;
                let age = match result {
                    // The header `Age` is rounded down.
                    Loading::Value(loaded) => (self.now - loaded.born).floor(),
                    _ => 0.0,
                };
                let way = self.scenario.hop_latency / 2.0;
                self.after(way, Event::AuxResponse { key, attempt, result, age });
            }
        }
    }

    /// Starts the load of an entry of aux-service.
    fn start_load(&mut self, replica: u16, key: u32, until: Seconds) {
        if self.scenario.shared {
            self.look_up(replica, key, FIRST_POLL, until);
        } else {
            let priority = self.aux[usize::from(replica)].cache.priority_of(key);
            self.load(replica, key, priority);
        }
    }

    fn look_up(&mut self, replica: u16, key: u32, pause: Seconds, until: Seconds) {
        let index = usize::from(replica);
        let way = self.scenario.engine_latency;
        let stale = match self.engine.lookup(key, index, self.now) {
            Lookup::Value(loaded) => {
                let result = Loading::Value(loaded);
                return self.after(way, Event::Found { replica, key, result });
            }
            Lookup::NotFound { ttl } => {
                let result = Loading::NotFound { ttl };
                return self.after(way, Event::Found { replica, key, result });
            }
            Lookup::Locked(stale) if self.now < until => {
                let next = (2.0 * pause).min(LONGEST_POLL);
                self.after(way + pause, Event::Lookup { replica, key, pause: next, until });
                return self.offer(replica, key, stale);
            }
            Lookup::Locked(stale) | Lookup::Taken(stale) => stale,
        };
        self.offer(replica, key, stale);
        let mut priority = self.aux[index].cache.priority_of(key);
        if stale.is_some() {
            priority = priority.min(Priority::WithFallback);
        }
        self.after(way, Event::Load { replica, key, priority });
    }

    fn offer(&mut self, replica: u16, key: u32, stale: Option<Loaded>) {
        if let Some(stale) = stale {
            self.aux[usize::from(replica)].cache.offer(key, stale);
        }
    }

    fn load(&mut self, replica: u16, key: u32, priority: Priority) {
        match self.aux[usize::from(replica)].batcher.join(key, priority) {
            NextStep::Call(names) => self.call(replica, names),
            NextStep::StartTimer { number, only_refreshes } => {
                let window =
                    if only_refreshes { self.scenario.refresh_window } else { BATCH_WINDOW };
                self.after(window, Event::BatchTimer { replica, number });
            }
            NextStep::Wait => {}
        }
    }

    /// Makes a call of AWS for these names, if the quota has a token for it.
    fn call(&mut self, replica: u16, names: Names) {
        let priority = names.iter().map(|(_, priority)| *priority).max();
        let priority = priority.unwrap_or(Priority::Refresh);
        let Scenario { shared, engine_latency, aws_latency, outage_latency, .. } = *self.scenario;
        let bucket = match shared {
            true => &mut self.shared_bucket,
            false => &mut self.aux[usize::from(replica)].bucket,
        };
        let start = self.now + if shared { engine_latency } else { 0.0 };
        let (ends, result) = match bucket.take(self.now, priority) {
            Err(retry_after) => (start, Err(Failure::Refused { retry_after })),
            Ok(()) => {
                self.figures.call(names.len(), self.now);
                if self.scenario.is_outage(start) {
                    (start + outage_latency, Err(Failure::Unavailable))
                } else if self.aws.take(start, Priority::Miss).is_err() {
                    bucket.drain(start + aws_latency, THROTTLE_PAUSE);
                    (start + aws_latency, Err(Failure::Throttled))
                } else {
                    (start + aws_latency, Ok(start + aws_latency / 2.0))
                }
            }
        };
        if let Err(failure) = result {
            self.figures.failed_call(failure);
        }
        self.queue.schedule(ends, Event::CallEnds { replica, names, result });
    }

    fn call_ends(&mut self, replica: u16, names: Names, result: Result<Seconds, Failure>) {
        let index = usize::from(replica);
        self.aux[index].batcher.call_ended();
        for (key, _) in names {
            let result = match result {
                Err(failure) => Loading::Failed(failure),
                Ok(_) if !self.scenario.exists(key) => {
                    Loading::NotFound { ttl: self.scenario.negative_ttl }
                }
                Ok(read_at) => {
                    let value = Value { version: self.scenario.version(key, read_at), read_at };
                    let jitter = self.scenario.jitter;
                    let freshness = self.scenario.freshness().jittered(jitter, self.random.f64());
                    Loading::Value(Loaded { value, born: self.now, freshness, outdated_at: None })
                }
            };
            let began = match result {
                Loading::Value(loaded) => self.engine.store(key, index, Ok(loaded)),
                Loading::NotFound { ttl } => self.engine.store(key, index, Err(self.now + ttl)),
                Loading::Failed(_) => {
                    self.engine.release(key, index);
                    None
                }
            };
            if self.aux_complete(replica, key, result) {
                // The parameter had changed before the load, so the record of the load stays.
                let before = began.unwrap_or(self.now) - 0.001;
                self.publish(replica, key, before);
            }
        }
    }

    /// Ends a load of aux-service. Returns whether it has found a change.
    fn aux_complete(&mut self, replica: u16, key: u32, result: Loading) -> bool {
        let cache = &mut self.aux[usize::from(replica)].cache;
        let ended = cache.complete(key, result, self.now, self.random.f64());
        for (requester, served) in ended.served {
            self.aux_respond(key, requester, served);
        }
        for requester in ended.again {
            self.aux_request(replica, key, requester);
        }
        ended.found_change
    }

    /// Publishes a change that one replica of aux-service has learned of. Its own cache is left out.
    fn publish(&mut self, from: u16, key: u32, changed_at: Seconds) {
        self.mains_learn(from, key);
        if !self.scenario.shared {
            return;
        }
        self.engine.note(key, changed_at);
        let way = self.scenario.engine_latency;
        for replica in (0..self.scenario.aux_replicas as u16).filter(|replica| *replica != from) {
            self.after(way, Event::AuxLearns { replica, key });
        }
    }

    fn aux_learns(&mut self, replica: u16, key: u32) {
        self.aux[usize::from(replica)].cache.apply_change(key, self.now);
        self.mains_learn(replica, key);
    }

    /// The replicas of main-api that follow this replica learn of a change.
    fn mains_learn(&mut self, replica: u16, key: u32) {
        let way = self.scenario.hop_latency / 2.0;
        for main in 0..self.mains.len() {
            if self.mains[main].follows == replica {
                self.after(way, Event::MainLearns { main: main as u16, key });
            }
        }
    }

    /// Schedules the next read of a paced client. The first reads wait for each response.
    fn schedule_paced(&mut self, client: u32, index: usize) {
        let Some(Paced { seconds, begin: Some(begin), .. }) = self.paced else { return };
        let at = begin + seconds * index as f64 / self.scenario.keys as f64;
        self.queue.schedule(at, Event::PacedRead { client, index });
    }

    /// Continues the first reads of a paced client after a response. The paced reads begin when all
    /// clients have read all names.
    fn continue_cold(&mut self, client: u32, key: u32) {
        let Some(Paced { cold, begin: begin @ None, .. }) = &mut self.paced else { return };
        let index = key as usize + 1;
        if index < self.scenario.keys {
            return self.after(THINK_TIME, Event::PacedRead { client, index });
        }
        *cold -= 1;
        if *cold > 0 {
            return;
        }
        *begin = Some(self.now);
        self.end = self.now + self.scenario.seconds;
        self.figures.restart(self.now, self.scenario.keys);
        for client in 0..self.scenario.front_replicas() as u32 {
            self.after(0.0, Event::PacedRead { client, index: 0 });
        }
    }
}

/// Whether a response of this age may be from before a change, as
/// `gateway/src/upstream/changes/effect.rs` decides it.
fn may_precede(age: Seconds, since_change: Seconds) -> bool {
    let doubt = if since_change < SPREAD { AGE_RESOLUTION } else { 0.0 };
    age + doubt > since_change
}
