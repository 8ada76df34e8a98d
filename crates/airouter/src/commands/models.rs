//! `airouter models`: which models are sold.

use std::process::ExitCode;

use airouter_api::inventory::sale::{check_default, is_listed};
use airouter_billing::sale::{SaleState, is_name};
use airouter_store::Store;
use airouter_store::audit::named;
use anyhow::bail;
use clap::Subcommand;

use crate::commands::audited;
use crate::config::Config;
use crate::{database, output};

const HELP: &str = "\
Runs beside servers, which follow within a second.

Examples:
  airouter models list
  airouter models hide openai/gpt-4o-mini
  airouter models default openai/gpt-4o-mini";

#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub(super) enum ModelsCommand {
    /// List every model of the price book, and whether it is sold.
    List,
    /// Show one model: whether it is sold, and what the upstream says of it.
    Show {
        /// The model's id.
        #[arg(value_parser = model)]
        model: String,
    },
    /// Put a model on sale (each is, unless something else was said).
    Enable {
        /// The model's id.
        #[arg(value_parser = model)]
        model: String,
    },
    /// Sell a model to those who know its id, without listing it.
    Hide {
        /// The model's id.
        #[arg(value_parser = model)]
        model: String,
    },
    /// Take a model off sale, by whatever name, with its variants: it is as if it did not exist.
    Disable {
        /// The model's id.
        #[arg(value_parser = model)]
        model: String,
    },
    /// Set which model (or alias) requests get that name none.
    Default {
        /// Its id. Without one, what holds is DEFAULT_MODEL of each server.
        #[arg(value_parser = model)]
        model: Option<String>,
    },
}

pub(super) async fn run(command: ModelsCommand, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    match command {
        ModelsCommand::List => list(&*store).await?,
        ModelsCommand::Show { model } => show(&*store, &model).await?,
        ModelsCommand::Enable { model } => set(&*store, &model, SaleState::OnSale).await?,
        ModelsCommand::Hide { model } => set(&*store, &model, SaleState::Hidden).await?,
        ModelsCommand::Disable { model } => set(&*store, &model, SaleState::Disabled).await?,
        ModelsCommand::Default { model } => set_default(&*store, model.as_deref()).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A text that can be the id of a model.
pub(super) fn model(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("not the id of a model".to_owned())
    }
}

async fn list(store: &dyn Store) -> anyhow::Result<()> {
    let rules = store.sale_rules().await?;
    let mut catalog = store.catalog().await?;
    catalog.dedup_by(|next, before| next.prices.id == before.prices.id);
    for model in catalog {
        let id = &model.prices.id;
        output::result(&format!("{id} state={}", rules.state_of(id).name()))?;
    }
    if let Some(default) = &rules.default_model {
        output::result(&format!("DEFAULT_MODEL={default}"))?;
    }
    Ok(())
}

async fn show(store: &dyn Store, id: &str) -> anyhow::Result<()> {
    let (rules, catalog) = (store.sale_rules().await?, store.catalog().await?);
    // OpenRouter's, where others have it too.
    let Some(model) = catalog.iter().rfind(|model| model.prices.id == id) else {
        bail!("the price book has no model '{id}'");
    };
    output::result(&format!("MODEL={id}"))?;
    output::result(&format!("STATE={}", rules.state_of(id).name()))?;
    for alias in rules.aliases.values() {
        if alias.models().iter().any(|model| model == id) {
            output::result(&format!("ALIAS={}", alias.name()))?;
        }
    }
    output::result(&format!("LISTING={}", model.listing))?;
    Ok(())
}

async fn set(store: &dyn Store, id: &str, state: SaleState) -> anyhow::Result<()> {
    let audit = audited("model.set", named("model", id));
    store.set_sale_state(id, state, &audit).await?;
    if !is_listed(&store.catalog().await?, id) {
        output::remark(&format!(
            "the price book has no model '{id}' at present; this holds as soon as it has"
        ));
    }
    output::result(&format!("{id} state={}", state.name()))?;
    Ok(())
}

async fn set_default(store: &dyn Store, model: Option<&str>) -> anyhow::Result<()> {
    if let Some(name) = model {
        check_default(store, name).await?;
    }
    let audit = audited("model.default", named("setting", "default_model"));
    store.set_default_model(model, &audit).await?;
    output::result(&format!("DEFAULT_MODEL={}", model.unwrap_or_default()))?;
    Ok(())
}
