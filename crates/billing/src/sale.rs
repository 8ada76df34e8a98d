//! What is on sale, and under which names: models that are hidden or disabled, aliases, the default model. From the names
//! of a request to the models that may serve it.

use std::collections::{BTreeMap, HashMap};

use crate::access::ModelAccess;
use crate::model_id::{Modifier, RequestedModel};

/// No name of a model or an alias is longer, in bytes.
pub const LONGEST_NAME: usize = 256;
/// An alias stands for so many models at most.
pub const MOST_MODELS_OF_AN_ALIAS: usize = 8;

/// Whether a model of the price book is sold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaleState {
    /// It is, and listed.
    #[default]
    OnSale,
    /// It can be used, but is not listed.
    Hidden,
    /// It is as if it did not exist.
    Disabled,
}

impl SaleState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::OnSale, Self::Hidden, Self::Disabled];

    /// The name in the database, on the command line and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnSale => "on_sale",
            Self::Hidden => "hidden",
            Self::Disabled => "disabled",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A name of the operator's own, and the models that it stands for: the first one, and what to fall back on, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    name: String,
    models: Vec<String>,
}

/// Why something can't be an alias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// The name can't be one.
    #[error(
        "'{0}' can't be an alias: it takes 1 to {longest} visible ASCII characters, none of them ':', '@', '*' or ','",
        longest = LONGEST_NAME
    )]
    Name(String),
    /// One of the models can't be a model's id.
    #[error("'{0}' is no model's id")]
    Model(String),
    /// None, or too many.
    #[error("an alias stands for 1 to {most} different models", most = MOST_MODELS_OF_AN_ALIAS)]
    Count,
}

impl Alias {
    /// An alias. Its name has no colon, so that what follows one is always a suffix.
    pub fn new(name: String, models: Vec<String>) -> Result<Self, AliasError> {
        if !is_name(&name) || name.contains([':', '@', '*', ',']) {
            return Err(AliasError::Name(name));
        }
        if let Some(bad) = models
            .iter()
            .find(|model| !is_name(model) || model.contains(['@', '*']))
        {
            return Err(AliasError::Model(bad.clone()));
        }
        let is_repeated = |index: usize, model: &String| models[..index].contains(model);
        let repeats = models
            .iter()
            .enumerate()
            .any(|(index, model)| is_repeated(index, model));
        if models.is_empty() || models.len() > MOST_MODELS_OF_AN_ALIAS || repeats {
            return Err(AliasError::Count);
        }
        Ok(Self { name, models })
    }

    /// What clients call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The models, the preferred one first.
    pub fn models(&self) -> &[String] {
        &self.models
    }
}

/// Whether a text can be the name of a model.
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What the operator decided about what is on sale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaleRules {
    /// Models that are not simply on sale.
    pub states: HashMap<String, SaleState>,
    /// Aliases by name.
    pub aliases: BTreeMap<String, Alias>,
    /// For requests that name no model.
    pub default_model: Option<String>,
}

/// The upstream's list of models, as far as names go.
pub trait PriceList {
    /// Whether there are prices for exactly this id.
    fn lists(&self, id: &str) -> bool;

    /// The model that an id stands for at the upstream (`~author/family-latest`).
    fn redirect_of(&self, id: &str) -> Option<&str>;
}

/// A model that may serve a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenModel {
    /// The id under which the price book knows it.
    pub model: String,
    /// The id to ask the upstream for: with the routing modifier, if there is one.
    pub asked_as: String,
    /// The modifier.
    pub modifier: Option<Modifier>,
    /// The alias by which the client named it.
    pub alias: Option<String>,
}

/// Why a name can't be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForSale {
    /// Nobody sells it.
    Unknown,
    /// It is not among what the key and the plan may use.
    NotAllowed,
}

impl SaleRules {
    /// Whether a model is sold. What is decided about `a/b` holds for its variants (`a/b:free`) too, unless something is
    /// decided about those.
    pub fn state_of(&self, model: &str) -> SaleState {
        let base = || {
            model
                .split_once(':')
                .and_then(|(base, _)| self.states.get(base))
        };
        self.states
            .get(model)
            .or_else(base)
            .copied()
            .unwrap_or_default()
    }

    /// Whether there is a model that must not be used.
    pub fn disables_any(&self) -> bool {
        let mut states = self.states.values();
        states.any(|state| *state == SaleState::Disabled)
    }

    /// Whether a model of the list can be used: neither it nor what the upstream makes of it is disabled.
    pub fn is_sold(&self, model: &str, list: &impl PriceList) -> bool {
        let is_disabled = |id: &str| self.state_of(id) == SaleState::Disabled;
        list.lists(model)
            && !is_disabled(model)
            && !list.redirect_of(model).is_some_and(is_disabled)
    }

    /// The models that a name stands for, each of them sold and allowed by every one of `access`. An alias goes before a
    /// model of the same name; models of it that are not sold are left out. A list that names the alias allows what it
    /// stands for.
    pub fn choose(
        &self,
        name: &str,
        list: &impl PriceList,
        access: &[&ModelAccess],
    ) -> Result<Vec<ChosenModel>, NotForSale> {
        match RequestedModel::resolve(name, |name| self.aliases.contains_key(name)) {
            Some(requested) => self.choose_alias(requested, list, access),
            None => self.choose_model(name, list, access),
        }
    }

    fn choose_model(
        &self,
        name: &str,
        list: &impl PriceList,
        access: &[&ModelAccess],
    ) -> Result<Vec<ChosenModel>, NotForSale> {
        let requested = RequestedModel::resolve(name, |id| list.lists(id))
            .filter(|requested| self.is_sold(requested.priced_as, list))
            .ok_or(NotForSale::Unknown)?;
        if !access
            .iter()
            .all(|access| allows(access, requested.priced_as, list))
        {
            return Err(NotForSale::NotAllowed);
        }
        Ok(vec![ChosenModel {
            model: requested.priced_as.to_owned(),
            asked_as: name.to_owned(),
            modifier: requested.modifier,
            alias: None,
        }])
    }

    fn choose_alias(
        &self,
        requested: RequestedModel<'_>,
        list: &impl PriceList,
        access: &[&ModelAccess],
    ) -> Result<Vec<ChosenModel>, NotForSale> {
        let alias = self
            .aliases
            .get(requested.priced_as)
            .ok_or(NotForSale::Unknown)?;
        let chosen: Vec<ChosenModel> = alias
            .models
            .iter()
            .filter_map(|target| self.target(target, requested, list))
            .collect();
        if chosen.is_empty() {
            return Err(NotForSale::Unknown);
        }
        let is_allowed = access.iter().all(|access| {
            access.names(&alias.name)
                || chosen
                    .iter()
                    .all(|model| allows(access, &model.model, list))
        });
        if is_allowed {
            Ok(chosen)
        } else {
            Err(NotForSale::NotAllowed)
        }
    }

    /// A model of an alias, with the modifier of the request. Modifiers don't pile up.
    fn target(
        &self,
        target: &str,
        requested: RequestedModel<'_>,
        list: &impl PriceList,
    ) -> Option<ChosenModel> {
        let found = RequestedModel::resolve(target, |id| list.lists(id))?;
        let suffix = &requested.id[requested.priced_as.len()..];
        let piles_up = found.modifier.is_some() && requested.modifier.is_some();
        if piles_up || !self.is_sold(found.priced_as, list) {
            return None;
        }
        Some(ChosenModel {
            model: found.priced_as.to_owned(),
            asked_as: format!("{target}{suffix}"),
            modifier: found.modifier.or(requested.modifier),
            alias: Some(requested.priced_as.to_owned()),
        })
    }
}

/// Whether a list allows a model: it names it, or what the upstream makes of it.
fn allows(access: &ModelAccess, model: &str, list: &impl PriceList) -> bool {
    access.names(model)
        || list
            .redirect_of(model)
            .is_some_and(|target| access.names(target))
}

#[cfg(test)]
mod tests;
