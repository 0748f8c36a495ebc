//! The chaos run: hundreds of kills, restarts and shortages at random stages, and a table of what they left behind.
//!
//! `make chaos` (`COUNT` events, default 300; `SEED`, default 1). Ends with 1 if anything was left, lost or surprising.
#![expect(
    dead_code,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "it shares the tests' helpers, must stop when surprised, and prints"
)]

#[path = "../tests/it"]
mod it {
    pub mod support;
}

use it::support;

fn main() -> std::process::ExitCode {
    // Cargo adds `--bench` of its own.
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let count = usize::try_from(numbers.first().copied().unwrap_or(300)).unwrap();
    let seed = numbers.get(1).copied().unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let at = std::time::Instant::now();
    let report = runtime.block_on(support::chaos::run(count, seed, |line| println!("{:>5} s  {line}", at.elapsed().as_secs())));
    println!("\n{count} events, seed {seed}, {} s\n{report}", at.elapsed().as_secs());
    if report.is_clean() { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
