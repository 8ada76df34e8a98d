//! `airouter simulate-upstream`.

use std::net::SocketAddr;
use std::process::ExitCode;

use airouter_simulator::{DEFAULT_MASTER_KEY, Simulator, SimulatorConfig};
use anyhow::Context as _;
use clap::Args;

use crate::lifecycle::Signals;
use crate::output;

pub(super) const HELP: &str = "\
Requests may ask for faults with a member x_sim of their body. Stops at SIGTERM or Ctrl-C.

Example:
  airouter simulate-upstream --listen=127.0.0.1:9100 &
  OPENROUTER_BASE_URL=http://127.0.0.1:9100/api/v1 OPENROUTER_MASTER_KEYS=sk-or-v1-simulated airouter serve";

/// The command's arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Accepted inference keys, comma-separated; each is an account of its own.
    #[arg(long, value_delimiter = ',', default_value = DEFAULT_MASTER_KEY)]
    keys: Vec<String>,
}

/// Serves until a signal.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let simulator = Simulator::start(SimulatorConfig {
        listen: arguments.listen,
        master_keys: arguments.keys,
        ..SimulatorConfig::default()
    })
    .await
    .with_context(|| format!("can't listen on {}", arguments.listen))?;
    output::result(&format!("OPENROUTER_BASE_URL={}", simulator.base_url()))?;
    signals.next().await;
    simulator.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
