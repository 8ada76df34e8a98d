//! `/v1/admin/aliases`: names of the operator's own for models.

pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod remove;
pub(crate) mod set;

use serde::Serialize;
use utoipa::ToSchema;

/// An alias.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alias {
    /// What clients call it.
    #[schema(example = "fast")]
    name: String,
    /// The model that it stands for, then what to fall back on, in order.
    #[schema(example = json!(["openai/gpt-4o-mini", "anthropic/claude-haiku"]))]
    models: Vec<String>,
}

impl From<&airouter_billing::sale::Alias> for Alias {
    fn from(alias: &airouter_billing::sale::Alias) -> Self {
        Self {
            name: alias.name().to_owned(),
            models: alias.models().to_vec(),
        }
    }
}
