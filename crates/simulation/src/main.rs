//! Runs seeds of the simulation.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use airouter_billing::fault::Fault;
use airouter_simulation::{Course, History, Report, run};
use clap::Parser;

/// Simulates the money core, seed by seed, until one breaks a promise.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    /// Run only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run so many minutes instead, however many seeds that are.
    #[arg(long)]
    minutes: Option<u64>,
    /// Let a replica crash before this action, counted over all replicas.
    #[arg(long, requires = "seed")]
    crash_at: Option<u64>,
    /// Tell all steps of the one seed, not only the last ones.
    #[arg(long, requires = "seed")]
    all_steps: bool,
    /// Plant this fault.
    #[arg(long, value_parser = fault_named)]
    fault: Option<Fault>,
}

fn fault_named(name: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        format!("there are: {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match simulate(&line) {
        Ok(code) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn simulate(line: &CommandLine) -> std::io::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let started = Instant::now();
    let (first, count) = line.seed.map_or((line.first, line.seeds), |seed| (seed, 1));
    let minutes = line
        .minutes
        .map(|minutes| Duration::from_secs(minutes * 60));
    let mut sum = Report::default();
    let mut seed = first;
    loop {
        let is_over = match minutes {
            Some(minutes) => started.elapsed() >= minutes,
            None => seed - first >= count,
        };
        if is_over {
            break;
        }
        let history = if line.all_steps {
            History::Whole
        } else {
            History::LastSteps
        };
        let course = Course {
            seed,
            fault: line.fault,
            crash_at: line.crash_at,
        };
        match run(course, history) {
            Ok(report) => sum = add(sum, report),
            Err(failure) => {
                writeln!(out, "{failure}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
        seed += 1;
    }
    let (count, took, trace) = (seed - first, started.elapsed(), sum.trace);
    writeln!(
        out,
        "{count} seeds from {first}: {} steps, {} actions, {took:?}, trace {trace:016x}",
        sum.steps, sum.actions
    )?;
    for (sight, times) in &sum.seen {
        writeln!(out, "  {sight:?}: {times}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn add(mut sum: Report, report: Report) -> Report {
    sum.steps += report.steps;
    sum.actions += report.actions;
    sum.trace = sum.trace.rotate_left(1) ^ report.trace;
    for (sight, times) in report.seen {
        *sum.seen.entry(sight).or_default() += times;
    }
    sum
}
