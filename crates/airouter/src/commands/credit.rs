//! `airouter credit`.

use std::process::ExitCode;
use std::time::Duration;

use airouter_billing::event::Payment;
use airouter_billing::money::MoneyError;
use airouter_billing::{AccountId, BudgetId, Nanos};
use airouter_proxy::clock::Clock as _;
use airouter_store::clients::Balance;
use airouter_store::ledger::Adjustment;
use airouter_store::{Store, StoreError};
use anyhow::{Context as _, bail};
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::clock::SystemClock;
use crate::config::Config;
use crate::{database, output};

pub(super) const HELP: &str = "\
Runs beside a server, which follows within a second. A debit is never refused: what the balance does not have is booked
as a receivable.

Examples:
  airouter credit --email=ann@example.com --amount=25 --reason='invoice 2026-117'
  airouter credit --email=ann@example.com --amount=-5 --reason='refunded by card'";

/// For so long a debit waits for what servers have leased and don't use.
const RECALL_WAIT: Duration = Duration::from_millis(800);
const RECALL_POLL: Duration = Duration::from_millis(50);
const LONGEST_REASON: usize = 500;

/// The command's arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The client's e-mail address.
    #[arg(long)]
    email: String,
    /// Amount in USD; negative for a debit.
    #[arg(long, value_name = "USD", allow_hyphen_values = true, value_parser = amount)]
    amount: Nanos,
    /// Why; kept in the ledger.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// Books the credit or debit and prints the new balance.
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let person = store
        .person_by_email(&arguments.email)
        .await?
        .with_context(|| format!("nobody has the e-mail address {}", arguments.email))?;
    if person.payment == Payment::Metered {
        bail!("{} is metered and has no balance", person.email);
    }
    if arguments.amount.is_negative() {
        recall(&*store, person.account, -arguments.amount).await?;
    }
    let balance = store
        .adjust(&Adjustment {
            account: person.account,
            amount: arguments.amount,
            reason: arguments.reason,
            actor: "command line".to_owned(),
            at: SystemClock.now(),
        })
        .await
        .context("nothing was booked")?;
    output::result(&format!("BALANCE_USD={}", balance.balance))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks servers for what they have leased and don't use, and waits until as much as the debit needs is free.
async fn recall(store: &dyn Store, account: AccountId, debit: Nanos) -> Result<(), StoreError> {
    if is_covered(&store.balance(account).await?, debit) {
        return Ok(());
    }
    store.recall(BudgetId::Balance(account)).await?;
    let deadline = Instant::now() + RECALL_WAIT;
    while Instant::now() < deadline {
        sleep(RECALL_POLL).await;
        let balance = store.balance(account).await?;
        if is_covered(&balance, debit) || balance.reserved == Nanos::ZERO {
            break;
        }
    }
    Ok(())
}

/// Whether what is not reserved covers the debit.
fn is_covered(balance: &Balance, debit: Nanos) -> bool {
    balance.balance.saturating_sub(balance.reserved) >= debit
}

fn amount(text: &str) -> Result<Nanos, String> {
    let amount: Nanos = text
        .parse()
        .map_err(|error: MoneyError| error.to_string())?;
    if amount == Nanos::ZERO {
        return Err("nothing to book".to_owned());
    }
    Ok(amount)
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_reason =
        !text.is_empty() && text.len() <= LONGEST_REASON && !text.contains(char::is_control);
    if is_reason {
        Ok(text.to_owned())
    } else {
        Err("not a reason".to_owned())
    }
}
