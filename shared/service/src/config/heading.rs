//! The headings of `--help`. A heading groups the settings of one subject, the same one in both
//! services.

/// The addresses of the listeners, and the version that responses report.
pub const ADDRESS: &str = "Address and version";
/// The data that aux-service serves.
pub const DATA: &str = "Data";
/// The calls of main-api to aux-service.
pub const UPSTREAM: &str = "Calls to aux-service";
/// The circuit breaker of main-api.
pub const CIRCUIT: &str = "Circuit breaker";
/// The cache of each process.
pub const CACHE: &str = "Cache";
/// The entries that are loaded at the start.
pub const WARM_UP: &str = "Warm-up";
/// The calls of aux-service to AWS.
pub const AWS: &str = "Calls to AWS";
/// The limits of calls to AWS.
pub const QUOTA: &str = "Quota of AWS";
/// The cache that replicas of aux-service share.
pub const SHARED_CACHE: &str = "Shared cache";
/// The queue of changes.
pub const CHANGES: &str = "Changes";
/// The clients that are accepted, and the number of their requests.
pub const CLIENTS: &str = "Clients and limits";
/// The end of a process.
pub const SHUTDOWN: &str = "Shutdown";
/// The log lines and the traces.
pub const TELEMETRY: &str = "Logs and traces";
/// The flags that print something and end.
pub const HELP: &str = "Help";
