//! What may be said of what is on sale.

use airouter_billing::model_id::RequestedModel;
use airouter_billing::sale::{Alias, SaleState};
use airouter_store::Store;
use airouter_store::prices::CatalogModel;

use super::InventoryError;

/// Whether the price book has a model.
pub fn is_listed(catalog: &[CatalogModel], id: &str) -> bool {
    catalog.iter().any(|model| model.prices.id == id)
}

/// Every model of an alias must be there now, with at most one routing modifier: a slip of the pen would only show when a
/// client asks. Returns those that are disabled, and left out until they are not.
pub async fn check_alias(store: &dyn Store, alias: &Alias) -> Result<Vec<String>, InventoryError> {
    let (rules, catalog) = (store.sale_rules().await?, store.catalog().await?);
    let mut disabled = Vec::new();
    for model in alias.models() {
        let found = RequestedModel::resolve(model, |id| is_listed(&catalog, id))
            .ok_or_else(|| InventoryError::UnknownModel(model.clone()))?;
        if rules.state_of(found.priced_as) == SaleState::Disabled {
            disabled.push(model.clone());
        }
    }
    Ok(disabled)
}

/// The default must be an alias, or a model that is sold.
pub async fn check_default(store: &dyn Store, name: &str) -> Result<(), InventoryError> {
    let (rules, catalog) = (store.sale_rules().await?, store.catalog().await?);
    let is_sold = rules.aliases.contains_key(name)
        || (is_listed(&catalog, name) && rules.state_of(name) != SaleState::Disabled);
    is_sold
        .then_some(())
        .ok_or_else(|| InventoryError::NotSold(name.to_owned()))
}
