//! The simulated upstream, the load generator and the bare proxy as programs.

use std::{
    io::Write,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use airouter_simulator::{
    DEFAULT_MASTER_KEY, Simulator, SimulatorConfig, Speaks, bare,
    load::{self, LoadConfig, LoadLimit, StreamMode, WholeAnswers},
};
use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A simulated OpenRouter, a load generator and a bare pass-through proxy.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    /// Threads that serve or load.
    #[arg(long, global = true, default_value = "1")]
    threads: NonZeroUsize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the simulated upstream until SIGINT or SIGTERM.
    Upstream(Upstream),
    /// Put load on a server and print the report as JSON.
    Load(Load),
    /// Serve the bare pass-through proxy until SIGINT or SIGTERM.
    Bare(Bare),
}

#[derive(Args)]
struct Upstream {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// What it speaks.
    #[arg(long, value_enum, default_value = "openrouter")]
    speaks: SpeaksOption,
    /// Accepted inference keys, comma-separated; an empty one takes requests without a key.
    #[arg(long, value_delimiter = ',', default_value = DEFAULT_MASTER_KEY)]
    keys: Vec<String>,
    /// Management keys, comma-separated: the n-th belongs to the n-th inference key's account.
    #[arg(long, value_delimiter = ',')]
    management_keys: Vec<String>,
    /// Count so many prompt tokens a byte of the body.
    #[arg(long)]
    prompt_tokens_per_byte: Option<u32>,
    /// Generations that are remembered.
    #[arg(long, default_value = "200000")]
    keep_generations: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum SpeaksOption {
    Openrouter,
    Compatible,
}

#[derive(Args)]
struct Bare {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9200")]
    listen: SocketAddr,
    /// Where to forward to.
    #[arg(long)]
    upstream: SocketAddr,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stream {
    Streamed,
    Whole,
    Alternating,
}

#[derive(Args)]
struct Load {
    /// The server.
    #[arg(long)]
    target: SocketAddr,
    /// The path to post to.
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    /// The bearer key.
    #[arg(long, env = "AIROUTER_SIM_KEY", default_value = DEFAULT_MASTER_KEY, hide_env_values = true)]
    key: String,
    /// Connections, each with one request at a time.
    #[arg(long, default_value = "64")]
    connections: usize,
    /// End after so many requests (instead of after some seconds).
    #[arg(long, conflicts_with = "seconds")]
    requests: Option<u64>,
    /// End after so many seconds.
    #[arg(long, default_value = "10")]
    seconds: u64,
    /// At most so many requests a second.
    #[arg(long)]
    rate: Option<NonZeroU32>,
    /// Which answers are asked for as streams.
    #[arg(long, value_enum, default_value = "whole")]
    stream: Stream,
    /// The JSON object to post, without `stream`.
    #[arg(
        long,
        default_value = r#"{"model":"sim/small","max_tokens":64,"messages":[{"role":"user","content":"Hello!"}]}"#
    )]
    body: String,
    /// Write each whole answer to this file, a line of JSON each.
    #[arg(long)]
    answers: Option<PathBuf>,
    /// Seconds after which an answer has failed.
    #[arg(long, default_value = "60")]
    timeout: u64,
}

fn main() -> anyhow::Result<()> {
    let line = CommandLine::parse();
    let runtime = match line.threads.get() {
        1 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        threads => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()?,
    };
    runtime.block_on(async {
        match line.command {
            Command::Upstream(options) => serve_upstream(options).await,
            Command::Load(options) => put_load(options).await,
            Command::Bare(options) => serve_bare(options).await,
        }
    })
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()?;
    Ok(())
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn serve_upstream(options: Upstream) -> anyhow::Result<()> {
    let config = SimulatorConfig {
        listen: options.listen,
        speaks: match options.speaks {
            SpeaksOption::Openrouter => Speaks::OpenRouter,
            SpeaksOption::Compatible => Speaks::Compatible,
        },
        master_keys: options.keys,
        management_keys: options.management_keys,
        prompt_tokens_per_byte: options.prompt_tokens_per_byte,
        keep_generations: options.keep_generations,
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config)
        .await
        .with_context(|| format!("can't listen on {}", options.listen))?;
    say(&format!("listening on {}", simulator.base_url()))?;
    stop_signal().await?;
    simulator.shutdown().await;
    Ok(())
}

async fn serve_bare(options: Bare) -> anyhow::Result<()> {
    let proxy = bare::start(options.listen, options.upstream)
        .await
        .with_context(|| format!("can't listen on {}", options.listen))?;
    say(&format!("listening on http://{}", proxy.address()))?;
    stop_signal().await?;
    proxy.shutdown().await;
    Ok(())
}

async fn put_load(options: Load) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let config = LoadConfig {
        target: options.target,
        path: options.path,
        key: options.key,
        connections: options.connections,
        limit: match options.requests {
            Some(requests) => LoadLimit::Requests(requests),
            None => LoadLimit::Duration(Duration::from_secs(options.seconds)),
        },
        body: options.body,
        stream: match options.stream {
            Stream::Streamed => StreamMode::Streamed,
            Stream::Whole => StreamMode::Whole,
            Stream::Alternating => StreamMode::Alternating,
        },
        rate: options.rate,
        whole_answers: options
            .answers
            .map_or(WholeAnswers::Count, WholeAnswers::Write),
        request_timeout: Duration::from_secs(options.timeout),
        stop: stop.clone(),
    };
    let mut running = std::pin::pin!(load::run(config));
    let report = tokio::select! {
        report = &mut running => report?,
        signalled = stop_signal() => {
            signalled?;
            stop.cancel();
            running.await?
        }
    };
    say(&serde_json::to_string_pretty(&report)?)
}
