//! `airouter credit`.

use std::process::ExitCode;

use airouter_api::recall;
use airouter_billing::event::Payment;
use airouter_billing::money::MoneyError;
use airouter_billing::{AccountId, Nanos};
use airouter_store::Store;
use airouter_store::audit::{AuditEntry, COMMAND_LINE};
use airouter_store::client_admin::{Booked, Booking};
use airouter_store::ledger::Adjustment;
use anyhow::{Context as _, bail};
use clap::Args;

use crate::commands::audited;
use crate::config::Config;
use crate::{database, output};

pub(super) const HELP: &str = "\
Runs beside a server, which follows within a second. A debit is never refused: what the balance does not have is booked
as a receivable.

Examples:
  airouter credit --email=ann@example.com --amount=25 --reason='invoice 2026-117'
  airouter credit --email=ann@example.com --amount=-5 --reason='refunded by card'";

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
        recall::recall(&*store, person.account, -arguments.amount).await?;
    }
    let balance = book(&*store, person.account, arguments.amount, arguments.reason).await?;
    output::result(&format!("BALANCE_USD={balance}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Books a credit or a debit of the command line's, with its entry of the audit log; the balance after it.
pub(super) async fn book(
    store: &dyn Store,
    account: AccountId,
    amount: Nanos,
    reason: String,
) -> anyhow::Result<Nanos> {
    let action = if amount.is_negative() {
        "client.debit"
    } else {
        "client.credit"
    };
    let audit = AuditEntry {
        reason: Some(reason.clone()),
        ..audited(action, account.get())
    };
    let booking = Booking {
        adjustment: Adjustment {
            account,
            amount,
            reason,
            actor: COMMAND_LINE.to_owned(),
            at: audit.at,
        },
        audit,
        idempotency: None,
    };
    match store.book(&booking).await.context("nothing was booked")? {
        Booked::Yes(booked) => Ok(booked.balance),
        Booked::OtherRequest | Booked::Running => bail!("nothing was booked"),
    }
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

/// A reason: one line.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_reason =
        !text.is_empty() && text.len() <= LONGEST_REASON && !text.contains(char::is_control);
    if is_reason {
        Ok(text.to_owned())
    } else {
        Err("not a reason".to_owned())
    }
}
