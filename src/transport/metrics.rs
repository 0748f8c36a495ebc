//! The metrics window: `/metrics` on a listener of its own, so that nobody who may call may also read it, or the other way round.
//!
//! Takes a GET, gives text. Holds no token, no name and no SQL.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::enforcement::Enforcement;

/// What Prometheus asks for.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop` is set.
pub async fn serve(listener: TcpListener, enforcement: Arc<Enforcement>, stop: CancellationToken) {
    let answer = get(async move || {
        let text = enforcement.audit.metrics().text(enforcement.tasks.count());
        ([(header::CONTENT_TYPE, MEDIA_TYPE)], text)
    });
    let router = Router::new().route("/metrics", answer);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "metrics are not served any more");
    }
}
