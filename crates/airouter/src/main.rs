//! The binary: configuration, command line, wiring, metrics and shutdown.

mod accounts;
mod catalog;
mod certificate;
mod clock;
mod commands;
mod config;
mod control_plane;
mod database;
mod lifecycle;
mod logging;
mod mail;
mod master_accounts;
mod masters;
mod metrics_server;
mod output;
mod plan_schedule;
mod reconciliation;
mod rollups;
mod secret_files;
mod serve;
mod spool;
mod upstreams;
mod usd;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use commands::{CommandLine, Context};
use config::{Config, Environment, Process};
use logging::Logging;

/// Many small allocations of many threads: what jemalloc is for.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong usage or configuration.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    // It is installed once, here: an error would mean that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command_line = CommandLine::parse();
    let environment = Environment::of_process();
    let config = match command_line.configuration(&environment) {
        Ok(config) => config,
        Err(faults) => {
            output::remark("the configuration is wrong:");
            output::remark(&faults.to_string());
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match run(command_line, environment, config) {
        Ok(code) => code,
        Err(error) => {
            output::remark(&format!("airouter: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(
    command_line: CommandLine,
    environment: Environment,
    config: Config,
) -> anyhow::Result<ExitCode> {
    let filter = config.process.log();
    let logging = Logging::start(filter.unwrap_or(command_line.default_log()))?;
    for name in &config.unknown {
        tracing::warn!(name, "this variable means nothing: is it mistyped?");
    }
    let runtime = runtime(&config.process)?;
    let context = Context {
        environment,
        config,
        dropped_lines: logging.dropped_lines(),
    };
    let result = runtime.block_on(command_line.run(context));
    // Whatever has not ended by now was cut off: nobody waits for it.
    runtime.shutdown_background();
    result
}

fn runtime(process: &Process) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = process.worker_threads {
        builder.worker_threads(threads.get());
    }
    builder
        .enable_all()
        .build()
        .context("the threads can't be started")
}
