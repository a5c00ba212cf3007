//! What each part costs, in instructions: `make microbench`.
//!
//! Each count is that of [`TIMES`] turns. A single one would depend on where it finds its key and
//! on the work that moka puts off until some dozens have come together; so many tell what one costs
//! on average. From run to run a request differs by less than a thousandth, and the cache by itself,
//! whose keys lie elsewhere each time, by up to a hundredth.
//!
//! A benchmark is one call of a function of ours. What has a benchmark's name in its own, as each
//! closure in its body does, would end the counting when it is entered.

use gungraun::{Callgrind, LibraryBenchmarkConfig, main};

mod cache;
mod filled;
mod resilience;
mod services;
mod traffic;

use cache::lookups;
use resilience::{breaker, budget, shield};
use services::requests;

/// A thousand: the count of one turn is the one that is told less its last three digits.
const TIMES: usize = 1000;

main!(
    config = LibraryBenchmarkConfig::default()
        // Room for whatever one turn gives back, so that the next one finds it there. Otherwise
        // glibc keeps seven blocks of a size at hand, and how long it looks for another depends
        // on everything that was allocated before: by two hundredths from run to run.
        .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=1000")
        // The hits and misses of a simulated processor's caches would say more than is true of any.
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [lookups, requests, breaker, budget, shield]
);
