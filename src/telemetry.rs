//! What operators see.
//!
//! Takes a format, sends tracing events to stderr. Never to stdout: that is the stdio transport's wire.

pub mod metrics;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that sets the filter, in `tracing-subscriber`'s syntax.
pub const FILTER_ENV: &str = "PGTELLER_LOG";

/// Without the variable: our own events; libraries only when something is wrong. rmcp reports every closed pipe as an error.
const DEFAULT_FILTER: &str = "info,opa_wasm=off,rmcp=off,wasmtime_internal_cache=off";

/// How events look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Starts sending events to stderr. Does nothing if somebody already does.
pub fn start(format: LogFormat) {
    let filter = std::env::var(FILTER_ENV)
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(layer.with_ansi(false).with_target(false)).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "events are already being sent");
    }
}
