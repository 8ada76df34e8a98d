//! `/v1/admin/models` and the default model: which models are sold.

pub(crate) mod change;
pub(crate) mod default;
pub(crate) mod list;
pub(crate) mod set_default;

use airouter_billing::sale::{SaleRules, SaleState};
use airouter_store::prices::CatalogModel;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::prices::{Price, listed};

/// A model of the price book.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    /// Its id.
    #[schema(example = "openai/gpt-4o-mini")]
    id: String,
    /// Whether it is sold.
    #[schema(value_type = StateName)]
    state: &'static str,
    /// Aliases that stand for it.
    aliases: Vec<String>,
    /// What each upstream that has it asks for it; none where it is not in the price book at present.
    prices: Vec<Price>,
}

/// Whether a model is sold.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateName {
    /// It is, and listed.
    OnSale,
    /// It can be used, but is not listed.
    Hidden,
    /// It is as if it did not exist.
    Disabled,
}

impl From<StateName> for SaleState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::OnSale => Self::OnSale,
            StateName::Hidden => Self::Hidden,
            StateName::Disabled => Self::Disabled,
        }
    }
}

/// A model as it is shown.
fn shown<'a>(
    id: &str,
    rules: &SaleRules,
    offers: impl IntoIterator<Item = &'a CatalogModel>,
) -> Model {
    let aliases = rules.aliases.values();
    let aliases = aliases.filter(|alias| alias.models().iter().any(|model| model == id));
    let prices = offers.into_iter().map(|offer| listed(offer, None));
    Model {
        id: id.to_owned(),
        state: rules.state_of(id).name(),
        aliases: aliases.map(|alias| alias.name().to_owned()).collect(),
        prices: prices.collect(),
    }
}
