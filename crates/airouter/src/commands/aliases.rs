//! `airouter aliases`: names of the operator's own.

use std::process::ExitCode;

use airouter_api::inventory::sale::check_alias;
use airouter_billing::sale::Alias;
use airouter_store::Seen;
use airouter_store::audit::named;
use anyhow::Context as _;
use clap::Subcommand;

use crate::commands::audited;
use crate::commands::models::model;
use crate::config::Config;
use crate::{database, output};

const HELP: &str = "\
Clients see an alias as a model of its own: in the list of models, and in 'model' of its answers. Runs beside servers,
which follow within a second.

Examples:
  airouter aliases set fast openai/gpt-4o-mini
  airouter aliases set best anthropic/claude-sonnet-4 openai/gpt-4o    # the second when the first can't answer";

#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub(super) enum AliasesCommand {
    /// List all aliases.
    List,
    /// Add an alias, or give one other models.
    Set {
        /// What clients call it.
        #[arg(value_parser = model)]
        alias: String,
        /// The model that it stands for, then what to fall back on, in order.
        #[arg(required = true, value_name = "MODEL", value_parser = model)]
        models: Vec<String>,
    },
    /// Remove an alias.
    Remove {
        /// What clients call it.
        alias: String,
    },
}

pub(super) async fn run(command: AliasesCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    match command {
        AliasesCommand::List => {
            for alias in store.sale_rules().await?.aliases.values() {
                output::result(&line(alias))?;
            }
        }
        AliasesCommand::Set { alias, models } => {
            let alias = Alias::new(alias, models)?;
            for model in check_alias(&*store, &alias).await? {
                output::remark(&format!(
                    "'{model}' is disabled: it is left out until it is not"
                ));
            }
            let audit = audited("alias.set", named("alias", alias.name()));
            store.set_alias(&alias, &Seen::Whatever, &audit).await?;
            output::result(&line(&alias))?;
        }
        AliasesCommand::Remove { alias } => {
            let audit = audited("alias.remove", named("alias", &alias));
            store
                .remove_alias(&alias, &audit)
                .await
                .with_context(|| format!("'{alias}' can't be removed"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(alias: &Alias) -> String {
    format!("{} -> {}", alias.name(), alias.models().join(", "))
}
