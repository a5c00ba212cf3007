//! Costs of each part, in instructions: `make microbench`.
//!
//! Each count is that of [`TIMES`] turns. The count of a single turn would depend on the place of
//! its key, and on the work that moka postpones until some dozens of operations have collected; the
//! sum of many turns shows the average. Between runs, a request differs by less than a thousandth.
//! The cache alone differs by up to a hundredth, because its keys have another place each time.
//!
//! A benchmark is one call of a function of this project. Callgrind ends the count when it enters a
//! function whose name contains the benchmark's name, such as a closure in its body.

use gungraun::{Callgrind, LibraryBenchmarkConfig, main};

mod cache;
mod filled;
mod resilience;
mod services;
mod traffic;

use self::cache::lookups;
use resilience::{breaker, budget, shield};
use services::requests;

/// The number of turns: a thousand, so the count of one turn is the reported count without its last
/// three digits.
const TIMES: usize = 1000;

main!(
    config = LibraryBenchmarkConfig::default()
        // The allocator's cache has room for all blocks that one turn frees, so that the next turn
        // finds them there. By default glibc caches seven blocks of a size, and the search for
        // another one depends on all earlier allocations: counts would differ by two hundredths
        // between runs.
        .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=1000")
        // The simulation is off: the hits and misses of a simulated processor's caches hold for no
        // real processor.
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [lookups, requests, breaker, budget, shield]
);
