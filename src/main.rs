//! The binary: parses the command line and runs it. Everything else is in the library.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// How long what is in the middle of a write may take once everything is closed. A read of stdin would take until stdin ends.
const LAST_WRITES: Duration = Duration::from_millis(250);

fn main() -> ExitCode {
    let arguments = pgteller::cli::Arguments::parse();
    // Long chains of operators make deep trees: see `sql::MAX_CHAIN`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(16 * 1024 * 1024).build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(pgteller::cli::run(arguments));
        runtime.shutdown_timeout(LAST_WRITES);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => pgteller::cli::fail(&error),
    }
}
