//! The scenario of a simulation. The defaults are those of the services and their charts.

use clap::Args;

use crate::{Seconds, batcher::REFRESH_WINDOW, freshness::Freshness};

/// The quota of AWS for reads of parameters, in calls a second.
pub(crate) const AWS_QUOTA: f64 = 40.0;

#[derive(Args, Clone, Debug)]
pub(crate) struct Scenario {
    /// The seed of all random numbers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// The pods that read parameters
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) pods: usize,
    /// The reads of each pod
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub(crate) reads_per_minute: f64,
    /// The names that are read
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) keys: usize,
    /// The exponent of Zipf's law: the n-th most wanted name gets 1/n^S of the reads of the first
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub(crate) zipf: f64,
    /// The share of the names that do not exist, the least wanted ones
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) unknown: f64,
    /// Instead of pods, one client for each replica reads all names one after the other as fast as
    /// it can, and then each name once in this time
    #[arg(long, value_name = "SECONDS")]
    pub(crate) paced: Option<Seconds>,

    /// The replicas of main-api; 0 lets the pods read from aux-service
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) main_replicas: usize,
    /// The replicas of aux-service
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) aux_replicas: usize,
    /// The replicas of aux-service share a cache and the quota
    #[arg(long)]
    pub(crate) shared: bool,
    /// The maximum age of a connection
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    pub(crate) max_connection_age: Seconds,

    /// The lifetime of an entry
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) ttl: Seconds,
    /// The largest part of the lifetime by which it is shortened at random
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    pub(crate) jitter: f64,
    /// The time after the lifetime in which an entry serves while it is refreshed
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(crate) stale_while_revalidate: Seconds,
    /// The time after the lifetime in which an entry serves if its load fails
    #[arg(long, value_name = "SECONDS", default_value_t = 3600.0)]
    pub(crate) stale_if_error: Seconds,
    /// The lifetime of a remembered 404
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) negative_ttl: Seconds,

    /// The calls a second that the quota shield allows one replica, or all with a shared cache; 0 is
    /// no limit. The default divides AWS's quota among the replicas, as the chart does
    #[arg(long, value_name = "CALLS")]
    pub(crate) rate: Option<f64>,
    /// The calls a second that AWS allows before it throttles, with a burst of one second; 0 is no
    /// limit
    #[arg(long, value_name = "CALLS", default_value_t = AWS_QUOTA)]
    pub(crate) aws_quota: f64,
    /// The longest time that a refresh waits for others that share its call; it is fixed in the
    /// services
    #[arg(long, value_name = "SECONDS", default_value_t = REFRESH_WINDOW)]
    pub(crate) refresh_window: Seconds,
    /// The duration of a call of AWS
    #[arg(long, value_name = "SECONDS", default_value_t = 0.02)]
    pub(crate) aws_latency: Seconds,
    /// The round trip to the shared cache
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0005)]
    pub(crate) engine_latency: Seconds,
    /// The round trip between main-api and aux-service
    #[arg(long, value_name = "SECONDS", default_value_t = 0.001)]
    pub(crate) hop_latency: Seconds,

    /// The start of an outage of AWS
    #[arg(long, value_name = "SECONDS")]
    pub(crate) outage_at: Option<Seconds>,
    /// The duration of the outage
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    pub(crate) outage_for: Seconds,
    /// The duration of a call that fails in the outage
    #[arg(long, value_name = "SECONDS", default_value_t = 0.1)]
    pub(crate) outage_latency: Seconds,

    /// The time of a change
    #[arg(long, value_name = "SECONDS")]
    pub(crate) change_at: Option<Seconds>,
    /// The number of the most wanted names that change
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) change_keys: usize,
    /// AWS sends an event of each change, which arrives at one replica after this time
    #[arg(long, value_name = "SECONDS")]
    pub(crate) push: Option<Seconds>,

    /// The time before the figures begin
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    pub(crate) warm_up: Seconds,
    /// The duration of the figures
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    pub(crate) seconds: Seconds,
}

impl Scenario {
    /// Returns the reason for which the scenario cannot be simulated.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.keys == 0 || self.aux_replicas == 0 || self.pods == 0 {
            return Err("--keys, --aux-replicas and --pods must be at least 1");
        }
        if self.main_replicas.max(self.aux_replicas) > usize::from(u16::MAX) {
            return Err("there can be at most 65,535 replicas");
        }
        if !(self.reads_per_minute > 0.0 && self.ttl > 0.0 && self.seconds > 0.0) {
            return Err("--reads-per-minute, --ttl and --seconds must be more than 0");
        }
        if self.paced.is_some_and(|pace| pace <= 0.0) {
            return Err("--paced must be more than 0");
        }
        Ok(())
    }

    /// The limits of a response that comes from AWS now.
    pub(crate) fn freshness(&self) -> Freshness {
        Freshness {
            lifetime: self.ttl,
            while_revalidate: self.stale_while_revalidate,
            if_error: self.stale_if_error,
        }
    }

    /// The rate of the quota shield's bucket: of each replica, or of all.
    pub(crate) fn shield_rate(&self) -> f64 {
        let share = if self.shared { 1.0 } else { self.aux_replicas as f64 };
        // The chart rounds the share down to hundredths.
        self.rate.unwrap_or((AWS_QUOTA / share * 100.0).floor() / 100.0)
    }

    /// The replicas that clients reach.
    pub(crate) fn front_replicas(&self) -> usize {
        if self.main_replicas > 0 { self.main_replicas } else { self.aux_replicas }
    }

    /// Whether a parameter exists.
    pub(crate) fn exists(&self, key: u32) -> bool {
        f64::from(key) < self.keys as f64 * (1.0 - self.unknown)
    }

    /// The number of changes of a parameter before this time.
    pub(crate) fn version(&self, key: u32, now: Seconds) -> u32 {
        let changes =
            (key as usize) < self.change_keys && self.change_at.is_some_and(|at| now >= at);
        u32::from(changes)
    }

    /// Whether AWS fails at this time.
    pub(crate) fn is_outage(&self, now: Seconds) -> bool {
        self.outage_at.is_some_and(|at| now >= at && now < at + self.outage_for)
    }

    pub(crate) fn end(&self) -> Seconds {
        self.warm_up + self.seconds
    }
}

/// Parses the arguments of a scenario, as on the command line.
///
/// # Errors
///
/// An argument that is none, or values that cannot be simulated.
pub(crate) fn parse(arguments: &str) -> anyhow::Result<Scenario> {
    #[derive(clap::Parser)]
    struct Arguments {
        #[command(flatten)]
        scenario: Scenario,
    }
    let arguments = std::iter::once("simulate").chain(arguments.split_whitespace());
    let scenario = <Arguments as clap::Parser>::try_parse_from(arguments)?.scenario;
    scenario.check().map_err(anyhow::Error::msg)?;
    Ok(scenario)
}
