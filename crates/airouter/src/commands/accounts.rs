//! `airouter accounts`.

use std::process::ExitCode;

use airouter_billing::AccountId;
use airouter_store::Store;
use airouter_store::audit::AuditEntry;
use airouter_store::erasure::{ERASE, Erased};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::commands::audited;
use crate::config::Config;
use crate::{database, output};

const HELP: &str = "\
Runs beside servers, which follow within a second.

Examples:
  airouter accounts set-plan --email=ann@example.com school
  airouter accounts remove-second-factor --email=admin@example.com --reason='lost phone'
  airouter accounts erase --email=ann@example.com --reason='asked for it, ticket 12'";

#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub(super) enum AccountsCommand {
    /// Give an account another plan.
    SetPlan {
        #[command(flatten)]
        whose: Whose,
        /// The plan's name.
        plan: String,
    },
    /// Take away the second factor of a login, for somebody who has lost it.
    RemoveSecondFactor {
        #[command(flatten)]
        whose: Whose,
        /// Why; kept in the audit log.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Erase a person for good: name, e-mail address, login, sessions; keys end. Ids, money and usage stay.
    Erase {
        #[command(flatten)]
        whose: Whose,
        /// Why; kept in the audit log. Name nobody in it.
        #[arg(long, value_parser = super::credit::reason)]
        reason: String,
    },
}

/// Which account.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whose {
    /// The e-mail address of the person whose account it is.
    #[arg(long)]
    email: Option<String>,
    /// The account's id.
    #[arg(long, value_name = "ID")]
    account: Option<Uuid>,
}

pub(super) async fn run(command: AccountsCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    match command {
        AccountsCommand::SetPlan { whose, plan } => set_plan(&*store, &whose, &plan).await?,
        AccountsCommand::Erase { whose, reason } => erase(&*store, &whose, reason).await?,
        AccountsCommand::RemoveSecondFactor { whose, reason } => {
            remove_second_factor(&*store, &whose, reason).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_plan(store: &dyn Store, whose: &Whose, plan: &str) -> anyhow::Result<()> {
    let account = account(store, whose).await?;
    let audit = audited("client.change", account.get());
    store
        .set_plan(account, plan, &audit)
        .await
        .with_context(|| format!("the plan '{plan}' can't be given"))?;
    Ok(output::result(&format!("PLAN={plan}"))?)
}

async fn erase(store: &dyn Store, whose: &Whose, reason: String) -> anyhow::Result<()> {
    let account = account(store, whose).await?;
    let audit = AuditEntry {
        reason: Some(reason),
        ..audited(ERASE, account.get())
    };
    match store.erase_client(account, &audit).await? {
        Erased::Yes => Ok(output::result(&format!("ERASED={account}"))?),
        Erased::NoPerson => bail!("there is no person to erase"),
        Erased::Administrator => bail!("it is an administrator: nobody can erase one"),
        Erased::BalanceLeft(balance) => {
            bail!("the balance is {balance} USD: book it with a debit or a credit first")
        }
        Erased::LastOwner => bail!("an organization has no other owner: make somebody one first"),
    }
}

async fn remove_second_factor(
    store: &dyn Store,
    whose: &Whose,
    reason: Option<String>,
) -> anyhow::Result<()> {
    let account = account(store, whose).await?;
    let client = store
        .client(account)
        .await?
        .context("there is no such account")?;
    let (user, email) = client.login.context("the account has no login")?;
    let audit = AuditEntry {
        reason,
        ..audited("client.remove_second_factor", account.get())
    };
    store
        .remove_second_factor(user, &audit)
        .await
        .with_context(|| format!("the second factor of {email} can't be removed"))?;
    Ok(output::result(&format!("EMAIL={email}"))?)
}

async fn account(store: &dyn Store, whose: &Whose) -> anyhow::Result<AccountId> {
    if let Some(id) = whose.account {
        return Ok(AccountId::new(id));
    }
    let email = whose.email.as_deref().unwrap_or_default();
    let person = store.person_by_email(email).await?;
    let person = person.with_context(|| format!("nobody has the e-mail address {email}"))?;
    Ok(person.account)
}
