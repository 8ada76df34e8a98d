//! The command line.

mod accounts;
mod aliases;
mod audit;
mod backup;
mod credit;
mod demo;
mod ledger;
mod master_accounts;
mod migrate;
mod models;
mod plans;
mod provision_user;
mod reconcile;
mod restore;
mod serve;
mod simulate_upstream;

use std::process::ExitCode;

use airouter_proxy::clock::Clock as _;
use airouter_store::audit::{AuditEntry, COMMAND_LINE};
use clap::{Parser, Subcommand};
use uuid::Uuid;

use crate::clock::SystemClock;
use crate::config::{Config, Environment, Faults, settings_table};

/// The OpenAI-compatible gateway with which an operator resells AI models bought from OpenRouter.
#[derive(Debug, Parser)]
#[command(name = "airouter", version, arg_required_else_help = true, after_help = settings_table())]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients.
    #[command(after_help = serve::HELP)]
    Serve,
    /// Try everything out in one process: simulated upstream, sample client, no account anywhere.
    #[command(after_help = demo::HELP)]
    Demo,
    /// Create a client and a key, or another key for a client.
    #[command(after_help = provision_user::HELP)]
    ProvisionUser(provision_user::Arguments),
    /// Credit or debit a client's balance.
    #[command(after_help = credit::HELP)]
    Credit(credit::Arguments),
    /// Decide which models are sold.
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Give models names of your own.
    #[command(subcommand)]
    Aliases(aliases::AliasesCommand),
    /// Decide what clients pay and what they may use.
    #[command(subcommand)]
    Plans(plans::PlansCommand),
    /// Change accounts.
    #[command(subcommand)]
    Accounts(accounts::AccountsCommand),
    /// Look at the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Compare what is booked with what upstreams billed.
    #[command(after_help = reconcile::HELP)]
    Reconcile(reconcile::Arguments),
    /// Look at and change the operator's accounts at upstreams.
    #[command(subcommand, after_help = master_accounts::HELP)]
    MasterAccounts(master_accounts::Command),
    /// Look at the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Write everything that the database has into a file, while servers go on.
    #[command(after_help = backup::HELP)]
    Backup(backup::Arguments),
    /// Make a new database what a backup has.
    #[command(after_help = restore::HELP)]
    Restore(restore::Arguments),
    /// Bring the database's schema to this version.
    #[command(after_help = migrate::HELP)]
    Migrate,
    /// Run an upstream that speaks OpenRouter's API and bills nobody.
    #[command(after_help = simulate_upstream::HELP)]
    SimulateUpstream(simulate_upstream::Arguments),
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Prove that everything adds up.
    #[command(after_help = ledger::HELP)]
    Verify,
    /// Book usage that the database refused before.
    #[command(after_help = ledger::BOOK_REFUSED_HELP)]
    BookRefused,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Prove that no entry was changed, left out or put in.
    #[command(after_help = audit::HELP)]
    Verify,
}

/// An entry of the audit log on what the command line does to something, now.
fn audited(action: &str, subject: Uuid) -> AuditEntry {
    AuditEntry::new(COMMAND_LINE, action, subject, SystemClock.now())
}

/// What commands begin with.
pub(crate) struct Context {
    /// The environment as it was at the start.
    pub(crate) environment: Environment,
    /// What it configures.
    pub(crate) config: Config,
    /// Counts log lines that were dropped.
    pub(crate) dropped_lines: tracing_appender::non_blocking::ErrorCounter,
}

impl CommandLine {
    /// What is logged unless the configuration says otherwise: a server tells what it does, a tool only what is wrong.
    pub(crate) const fn default_log(&self) -> &'static str {
        match self.command {
            Command::Serve | Command::Demo => "info",
            Command::ProvisionUser(_)
            | Command::Credit(_)
            | Command::Models(_)
            | Command::Aliases(_)
            | Command::Plans(_)
            | Command::Accounts(_)
            | Command::Ledger(_)
            | Command::Reconcile(_)
            | Command::MasterAccounts(_)
            | Command::Audit(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Migrate
            | Command::SimulateUpstream(_) => "warn",
        }
    }

    /// What the environment configures, if that is enough for the command.
    pub(crate) fn configuration(&self, environment: &Environment) -> Result<Config, Faults> {
        let config = Config::read(environment)?;
        if matches!(self.command, Command::Serve) {
            config.for_serving(environment)?;
        }
        Ok(config)
    }

    /// Runs the command.
    pub(crate) async fn run(self, context: Context) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve => serve::run(&context).await,
            Command::Demo => demo::run(context).await,
            Command::ProvisionUser(arguments) => {
                provision_user::run(arguments, &context.config).await
            }
            Command::Credit(arguments) => credit::run(arguments, &context.config).await,
            Command::Models(command) => models::run(command, &context.config).await,
            Command::Aliases(command) => aliases::run(command, &context.config).await,
            Command::Plans(command) => plans::run(command, &context.config).await,
            Command::Accounts(command) => accounts::run(command, &context.config).await,
            Command::Ledger(LedgerCommand::Verify) => ledger::verify(&context.config).await,
            Command::Ledger(LedgerCommand::BookRefused) => {
                ledger::book_refused(&context.config).await
            }
            Command::Reconcile(arguments) => reconcile::run(arguments, &context.config).await,
            Command::MasterAccounts(command) => master_accounts::run(command, &context).await,
            Command::Audit(AuditCommand::Verify) => audit::verify(&context.config).await,
            Command::Backup(arguments) => backup::run(arguments, &context.config).await,
            Command::Restore(arguments) => restore::run(arguments, &context.config).await,
            Command::Migrate => migrate::run(&context.config).await,
            Command::SimulateUpstream(arguments) => simulate_upstream::run(arguments).await,
        }
    }
}
