//! What each part costs, in instructions: `make microbench`.
//!
//! Each count is that of [`TIMES`] turns. A single one would depend on where it finds its key and
//! on the work that moka puts off until some dozens have come together; so many tell what one costs
//! on average, and differ by less than a thousandth from run to run.

use gungraun::{Callgrind, LibraryBenchmarkConfig, main};

mod cache;
mod filled;
mod layers;
mod resilience;
mod services;
mod traffic;

use cache::lookups;
use layers::stack;
use resilience::{breaker, budget, shield};
use services::requests;

/// A thousand: the count of one turn is the one that is told less its last three digits.
const TIMES: usize = 1000;

main!(
    config = LibraryBenchmarkConfig::default()
        // The hits and misses of a simulated processor's caches would say more than is true of any.
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = [lookups, stack, requests, breaker, budget, shield]
);
