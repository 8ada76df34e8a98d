//! From the names in a request to the models that may serve it, and what of it raises the cost.

use std::borrow::Cow;
use std::sync::Arc;

use airouter_billing::cost_raising::{CostRaisingKind, CostRaisingUse};
use airouter_billing::event::{ModelName, ModelRule};
use airouter_billing::model_id::Modifier;
use airouter_billing::plan::{ModelChoice, NotInPlan, PriceRule};
use airouter_billing::sale::{ChosenModel, NotForSale};
use airouter_billing::{ModelAccess, Nanos};
use airouter_store::clients::KeySnapshot;

use crate::catalog::{Catalog, CatalogEntry, SoldBy};
use crate::gateway::Settings;
use crate::problem::Problem;
use crate::wire::fields::RequestError;
use crate::wire::request::{ChatRequest, MODELS_MAX};

/// A model that may serve a request, and what it is sold by.
pub(crate) struct Wanted {
    pub(crate) entry: Arc<CatalogEntry>,
    pub(crate) rule: PriceRule,
    chosen: ChosenModel,
    /// What the client called it.
    name: String,
}

impl Wanted {
    /// The modifier that the name came with.
    pub(crate) fn modifier(&self) -> Option<Modifier> {
        self.chosen.modifier
    }

    /// What the client is told that it is.
    pub(crate) fn shown_as(&self) -> &str {
        match self.chosen.alias {
            Some(_) => &self.name,
            None => &self.entry.prices.id,
        }
    }

    /// What the client calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// The names that a request gives, or the default, the preferred one first.
pub(crate) fn named_models<'a>(
    settings: &'a Settings,
    catalog: &'a Catalog,
    request: &'a ChatRequest<'_>,
) -> Result<Vec<Cow<'a, str>>, Problem> {
    let decided = catalog.rules().default_model.as_deref();
    let default = decided.or(settings.default_model.as_deref());
    let first = request
        .model
        .as_deref()
        .or_else(|| default.filter(|_| request.models.is_empty()));
    let fallbacks = request.models.iter().map(|model| &**model);
    let mut named: Vec<Cow<'a, str>> = Vec::with_capacity(1 + request.models.len());
    for model in first.into_iter().chain(fallbacks) {
        if !named.iter().any(|known| known == model) {
            named.push(Cow::Borrowed(model));
        }
    }
    if named.is_empty() {
        Err(Problem::MissingModel)
    } else {
        Ok(named)
    }
}

/// Every model that may serve is on sale, and both the key and the plan allow it: a fallback, an alias or a suffix is no
/// way around.
pub(crate) fn wanted_models(
    catalog: &Catalog,
    snapshot: &KeySnapshot,
    named: &[Cow<'_, str>],
) -> Result<Vec<Wanted>, Problem> {
    let access = access_of(snapshot);
    let mut wanted: Vec<Wanted> = Vec::with_capacity(named.len());
    for name in named {
        let chosen =
            catalog
                .rules()
                .choose(name, catalog, &access)
                .map_err(|reason| match reason {
                    NotForSale::Unknown => Problem::UnknownModel(name.to_string()),
                    NotForSale::NotAllowed => Problem::ModelNotAllowed(name.to_string()),
                })?;
        for chosen in chosen {
            if wanted
                .iter()
                .any(|known| known.chosen.asked_as == chosen.asked_as)
            {
                continue;
            }
            let entry = catalog
                .get(&chosen.model)
                .ok_or_else(|| Problem::UnknownModel(name.to_string()))?;
            wanted.push(Wanted {
                entry: Arc::clone(entry),
                rule: rule_of(snapshot, entry).clone(),
                chosen,
                name: name.to_string(),
            });
        }
    }
    // The preferred model and its fallbacks.
    if wanted.len() > MODELS_MAX + 1 {
        return Err(Problem::InvalidRequest(RequestError::invalid(
            "models",
            "an array of models that come to at most 32",
        )));
    }
    Ok(wanted)
}

/// What the key and its plan may use: both hold.
pub(crate) fn access_of(snapshot: &KeySnapshot) -> [&ModelAccess; 2] {
    [&snapshot.models, &snapshot.plan.policy.allowed_models]
}

/// What is held for what raises the cost in ways that have no price in advance; an error where the plan includes it not.
/// Routers are held by their own price, but may be refused here.
pub(crate) fn cost_raising(
    catalog: &Catalog,
    snapshot: &KeySnapshot,
    request: &ChatRequest<'_>,
    wanted: &[Wanted],
) -> Result<Nanos, Problem> {
    let policy = &snapshot.plan.policy;
    for wanted in wanted.iter().filter(|one| one.entry.prices.is_dynamic()) {
        let used = |name: &str| CostRaisingUse::new(CostRaisingKind::Routers, name);
        policy
            .cap_of(&used(&wanted.chosen.model))
            .map_err(|NotInPlan(_)| Problem::NotInPlan(used(&wanted.name)))?;
    }
    let mut used = request.cost_raising.clone();
    let is_online = |wanted: &Wanted| wanted.chosen.modifier == Some(Modifier::WebSearch);
    if wanted.iter().any(is_online) {
        used.push(CostRaisingUse::new(CostRaisingKind::Online, ""));
    }
    policy
        .caps_of(&used, model_choice(catalog, snapshot))
        .map_err(|NotInPlan(used)| Problem::NotInPlan(used))
}

fn model_choice(catalog: &Catalog, snapshot: &KeySnapshot) -> ModelChoice {
    let every = access_of(snapshot)
        .iter()
        .all(|access| access.is_unrestricted());
    if every && !catalog.rules().disables_any() {
        ModelChoice::Free
    } else {
        ModelChoice::Limited
    }
}

/// What a model is sold by: also one that the upstream only calls otherwise.
pub(crate) fn rule_of<'a>(snapshot: &'a KeySnapshot, entry: &CatalogEntry) -> &'a PriceRule {
    let stands_for = entry.redirect();
    snapshot.plan.rule_for(&entry.prices.id, stands_for)
}

/// The rules of fallbacks that are priced unlike the first model.
pub(crate) fn fallback_rules(wanted: &[Wanted]) -> Vec<ModelRule> {
    let Some((first, fallbacks)) = wanted.split_first() else {
        return Vec::new();
    };
    fallbacks
        .iter()
        .filter(|wanted| wanted.rule != first.rule)
        .map(|wanted| ModelRule {
            model: wanted.entry.prices.id.clone(),
            rule: wanted.rule.clone(),
        })
        .collect()
}

/// What each model is called in the answer; empty where all have the upstream's names.
pub(crate) fn names(wanted: &[Wanted]) -> Vec<ModelName> {
    if wanted.iter().all(|wanted| wanted.chosen.alias.is_none()) {
        return Vec::new();
    }
    wanted
        .iter()
        .map(|wanted| ModelName {
            model: wanted.chosen.model.clone(),
            name: wanted.name.clone(),
        })
        .collect()
}

/// The ids to ask OpenRouter for, where these are not what the client's own body says. It would refuse one that it does
/// not know.
pub(crate) fn asked_instead<'w>(
    request: &ChatRequest<'_>,
    wanted: &'w [Wanted],
) -> Option<Vec<&'w str>> {
    let names_a_model = request.model.is_some() || !request.models.is_empty();
    let has_alias = wanted.iter().any(|wanted| wanted.chosen.alias.is_some());
    let is_known_there = |wanted: &&Wanted| wanted.entry.sold_by == SoldBy::OpenRouter;
    let all_are_known = wanted.iter().all(|wanted| is_known_there(&wanted));
    (!names_a_model || has_alias || !all_are_known).then(|| {
        wanted
            .iter()
            .filter(is_known_there)
            .map(|wanted| wanted.chosen.asked_as.as_str())
            .collect()
    })
}
