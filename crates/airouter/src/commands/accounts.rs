//! `airouter accounts`.

use std::process::ExitCode;

use airouter_billing::AccountId;
use airouter_store::Store;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::commands::audited;
use crate::config::Config;
use crate::{database, output};

const HELP: &str = "\
Runs beside servers, which follow within a second.

Example:
  airouter accounts set-plan --email=ann@example.com school";

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
    let AccountsCommand::SetPlan { whose, plan } = command;
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let account = account(&*store, &whose).await?;
    let audit = audited("client.change", account.get());
    store
        .set_plan(account, &plan, &audit)
        .await
        .with_context(|| format!("the plan '{plan}' can't be given"))?;
    output::result(&format!("PLAN={plan}"))?;
    Ok(ExitCode::SUCCESS)
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
