//! `airouter serve`.

use std::process::ExitCode;

use super::Context;
use crate::lifecycle::{Lifecycle, Signals};
use crate::output;
use crate::serve::Server;

pub(super) const HELP: &str = "\
Everything is set by environment variables; airouter --help lists them. Stops at SIGTERM or Ctrl-C when running answers
have ended; a second signal stops it at once.

Examples:
  OPENROUTER_MASTER_KEYS=sk-or-v1-... airouter serve
  AIROUTER_LISTEN=0.0.0.0:8000 AIROUTER_PUBLIC_URL=https://ai.example.com airouter serve";

/// Serves until a signal.
pub(super) async fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let lifecycle = Lifecycle::default();
    lifecycle.stop_on_panic();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), configuration = %context.config, "starting");
    let server = Server::start(&context.config, context.dropped_lines.clone(), &lifecycle).await?;
    for line in server.first_admin_lines() {
        output::result(&line)?;
    }
    let stopped = lifecycle
        .run(signals, context.config.process.shutdown)
        .await;
    Ok(stopped.exit_code())
}
