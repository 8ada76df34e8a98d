//! `airouter reconcile`.

use std::collections::HashMap;
use std::process::ExitCode;

use airouter_billing::reconciliation::Sampling;
use airouter_billing::{MasterAccountId, Nanos, UtcDay};
use airouter_proxy::clock::Clock as _;
use airouter_store::Store;
use airouter_store::master_accounts::MasterAccount;
use anyhow::bail;
use clap::Args;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::master_accounts::{self, OpenedMasterAccount};
use crate::reconciliation::{
    AskedUpstream, Reconciler, days_told, entry_line, report_lines, sum_up,
};
use crate::{WRONG_USAGE, database, output, secret_files};

pub(super) const HELP: &str = "\
Asks upstreams what they billed on a day that is over, compares it with what is booked, and posts each difference once, to
the ledger account reconciliation of the master account. Runs beside servers, which do the same every day. A sample of
requests is compared one by one, or all of them. Amounts are in USD; a difference above zero is what the upstream billed
beyond what is booked, its cost is what that costs you.
Exit code: 0 when nothing differs, 1 when something does, 2 for a day of which upstreams tell nothing.

Examples:
  airouter reconcile
  airouter reconcile --day=2026-11-20 --account=openrouter-1 --all-events
  airouter reconcile --report --since=2026-11-01";

/// The command's arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The day in UTC, of the last thirty that are over [default: yesterday].
    #[arg(long, conflicts_with = "report")]
    day: Option<UtcDay>,
    /// Only this master account, by its name or id.
    #[arg(long)]
    account: Option<String>,
    /// Compare every request with its generation record, not only a sample.
    #[arg(long, conflicts_with = "report")]
    all_events: bool,
    /// List what was found, and ask nobody.
    #[arg(long)]
    report: bool,
    /// From which day on [default: thirty days ago].
    #[arg(long, requires = "report")]
    since: Option<UtcDay>,
}

/// Compares, or lists what was found.
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let told = days_told(SystemClock.now());
    let day = arguments.day.unwrap_or(*told.end());
    if !told.contains(&day) {
        output::remark(&format!(
            "{day}: upstreams tell of the days from {} to {}",
            told.start(),
            told.end()
        ));
        return Ok(ExitCode::from(WRONG_USAGE));
    }
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let accounts = wanted(&*store, arguments.account.as_deref()).await?;
    let differs = if arguments.report {
        list(&*store, &accounts, arguments.since.unwrap_or(*told.start())).await?
    } else {
        let sampling = if arguments.all_events {
            Sampling::All
        } else {
            Sampling::Some
        };
        compare(&*store, config, &accounts, day, sampling).await?
    };
    Ok(if differs {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The master accounts that are meant.
async fn wanted(store: &dyn Store, named: Option<&str>) -> anyhow::Result<Vec<MasterAccount>> {
    let mut accounts = store.master_accounts().await?;
    if let Some(named) = named {
        accounts.retain(|account| account.name == named || account.id.to_string() == named);
        if accounts.is_empty() {
            bail!("there is no master account {named}: see airouter master-accounts list");
        }
    }
    Ok(accounts)
}

/// Compares a day of these accounts, and prints what differs; whether anything does.
async fn compare(
    store: &dyn Store,
    config: &Config,
    accounts: &[MasterAccount],
    day: UtcDay,
    sampling: Sampling,
) -> anyhow::Result<bool> {
    let encryption = secret_files::encryption_keys(config)?;
    let opened = master_accounts::opened(store, &encryption, &config.upstream).await?;
    let mut opened: HashMap<MasterAccountId, OpenedMasterAccount> = opened
        .into_iter()
        .map(|opened| (opened.account.id, opened))
        .collect();
    let reconciler = Reconciler { store };
    let (mut findings, mut entered) = (0, 0);
    for account in accounts {
        let upstream = match opened.remove(&account.id) {
            Some(opened) => AskedUpstream::of(opened, &config.upstream),
            None => Err("it has no key that can be opened".to_owned()),
        };
        let upstream = match upstream {
            Ok(upstream) => upstream,
            Err(why) => {
                let name = &account.name;
                output::result(&format!(
                    "not_checked=account day={day} account={name} why={why}"
                ))?;
                continue;
            }
        };
        let report = reconciler.reconcile(&upstream, day, sampling).await?;
        findings += report.standing.len();
        entered += report.entered.len();
        for line in report_lines(&report) {
            output::result(&line)?;
        }
    }
    output::result(&format!("findings={findings}"))?;
    output::result(&format!("entered={entered}"))?;
    Ok(findings > 0)
}

/// Prints all entries about days from `since` on; whether anything of them stands.
async fn list(
    store: &dyn Store,
    accounts: &[MasterAccount],
    since: UtcDay,
) -> anyhow::Result<bool> {
    let names: HashMap<_, _> = accounts
        .iter()
        .map(|account| (account.id, account.name.as_str()))
        .collect();
    let mut entries = store.findings(since).await?;
    entries.retain(|entry| names.contains_key(&entry.key.master_account));
    for entry in &entries {
        let name = names.get(&entry.key.master_account).copied();
        output::result(&entry_line(entry, name.unwrap_or_default()))?;
    }
    let standing = sum_up(entries.into_iter());
    let findings = standing
        .values()
        .filter(|finding| finding.difference != Nanos::ZERO)
        .count();
    output::result(&format!("findings={findings}"))?;
    Ok(findings > 0)
}
