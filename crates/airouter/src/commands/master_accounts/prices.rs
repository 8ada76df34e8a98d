//! `airouter master-accounts prices`: the price table of an account at a compatible server.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use airouter_api::inventory::InventoryError;
use airouter_billing::price_book::PriceKey;
use airouter_billing::price_table::{self, LONGEST_TABLE, LimitField, TableEntry};
use airouter_openrouter::Model;
use airouter_store::master_accounts::{MasterAccount, UpstreamKind};
use airouter_store::prices::{CatalogModel, ListedModel, PriceProvider};
use anyhow::{Context as _, bail};

use super::Tool;
use super::arguments::Prices;
use crate::catalog::listing::listed;
use crate::commands::audited;
use crate::masters::control_client;
use crate::upstreams::{OperatorUpstreams, key_if_any};
use crate::{master_accounts, output};

impl Tool<'_> {
    pub(super) async fn prices(&self, arguments: Prices) -> anyhow::Result<()> {
        let account = self.find(&arguments.named.account).await?;
        if account.kind != UpstreamKind::Compatible {
            bail!(InventoryError::NoPriceTable(account.name));
        }
        let provider = PriceProvider::Compatible(account.id);
        let table = match &arguments.file {
            Some(path) => read(path)?,
            None if arguments.from_upstream => self.listed_by(&account).await?,
            None => return self.show(provider).await,
        };
        let models: Vec<_> = table.into_iter().map(ListedModel::from).collect();
        let audit = audited("master_account.set_prices", account.id.get());
        let versions = self
            .store
            .set_price_table(account.id, &models, &audit)
            .await
            .context("the table was not put in force")?;
        output::result(&format!("MODELS={}", models.len()))?;
        output::result(&format!("NEW_PRICES={versions}"))?;
        Ok(())
    }

    async fn show(&self, provider: PriceProvider) -> anyhow::Result<()> {
        let catalog = self.store.catalog().await?;
        for model in catalog.iter().filter(|model| model.provider == provider) {
            output::result(&line(model))?;
        }
        Ok(())
    }

    /// What the server lists with prices, in OpenRouter's form. What can't be sold is said.
    async fn listed_by(&self, account: &MasterAccount) -> anyhow::Result<Vec<TableEntry>> {
        let OperatorUpstreams {
            encryption,
            upstream,
            ..
        } = self.upstreams;
        let opened = master_accounts::open(account.clone(), encryption, upstream);
        let key = opened.keys.first().and_then(|(_, key)| key_if_any(key));
        let control = control_client(&account.base_url, upstream)?;
        let mut list = control
            .models(key)
            .await
            .with_context(|| format!("{} does not tell its models", account.name))?;
        let (limited, unlimited): (Vec<_>, Vec<_>) =
            list.models.into_iter().partition(takes_a_limit);
        list.models = limited;
        for model in unlimited {
            output::remark(&format!("{}: its answers can't be limited", model.id));
        }
        let limit_fields: HashMap<String, LimitField> = list
            .models
            .iter()
            .map(|model| (model.id.clone(), limit_field(model)))
            .collect();
        let (models, left_out) = listed(list);
        for left_out in left_out {
            output::remark(&format!("{}: {}", left_out.id, left_out.reason));
        }
        let mut table = Vec::with_capacity(models.len());
        for model in models {
            let (context, most) = (model.context_length, model.max_completion_tokens);
            match TableEntry::listed(&model.id, model.pricing, context, most) {
                Ok(mut entry) => {
                    let known = limit_fields.get(&entry.id);
                    entry.served_as.limit_field = known.copied().unwrap_or_default();
                    table.push(entry);
                }
                Err(error) => output::remark(&format!("{}: {error}", model.id)),
            }
        }
        if table.is_empty() {
            bail!(
                "{} lists no model with prices: write a table, and import it with --file",
                account.name
            );
        }
        Ok(table)
    }
}

/// Whether answers of a model can be limited, as far as the list tells.
fn takes_a_limit(model: &Model) -> bool {
    let fields = [LimitField::MaxTokens, LimitField::MaxCompletionTokens];
    model.supported_parameters.is_empty() || fields.iter().any(|field| takes(model, *field))
}

/// The field by which the server limits a model's answers.
fn limit_field(model: &Model) -> LimitField {
    let (old, new) = (LimitField::MaxTokens, LimitField::MaxCompletionTokens);
    if takes(model, new) && !takes(model, old) {
        new
    } else {
        old
    }
}

fn takes(model: &Model, field: LimitField) -> bool {
    let mut parameters = model.supported_parameters.iter();
    parameters.any(|name| name == field.name())
}

fn read(path: &Path) -> anyhow::Result<Vec<TableEntry>> {
    let longest = u64::try_from(LONGEST_TABLE).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(longest.saturating_add(1)).read_to_end(&mut text))
        .with_context(|| format!("{} can't be read", path.display()))?;
    price_table::parse(&text).with_context(|| path.display().to_string())
}

/// A model of the table that is in force.
fn line(model: &CatalogModel) -> String {
    let upstream_model = model
        .served_as
        .as_ref()
        .map_or("", |served_as| served_as.upstream_model.as_str());
    let price = |key| {
        let price = model.prices.dearest(&[key]).unwrap_or_default();
        price.normalize().to_string()
    };
    format!(
        "{} upstream_model={upstream_model} prompt={} completion={}",
        model.prices.id,
        price(PriceKey::Prompt),
        price(PriceKey::Completion)
    )
}
