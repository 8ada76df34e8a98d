//! `GET …/models`: what is on sale, with the client's prices.

use airouter_billing::decimal::parse_decimal;
use airouter_billing::plan::PriceRule;
use airouter_store::clients::KeySnapshot;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use rust_decimal::Decimal;

use crate::body::AnswerBody;
use crate::catalog::{Catalog, CatalogEntry};
use crate::gateway::Gateway;
use crate::offers::cheapest_cost_share;
use crate::problem::Problem;
use crate::route::Surface;
use crate::wanted::{access_of, rule_of};
use crate::wire::json::{self, Member, ObjectWriter};

/// Members of `pricing` that are no price of the client's.
const NOT_SHOWN: [&str; 1] = ["discount"];
/// Members of `pricing.overrides[]` that are conditions and no prices.
const CONDITIONS: [&str; 4] = ["min_prompt_tokens", "utc_start", "utc_end", "utc_days"];

/// All models that the key may use.
pub(crate) fn list(
    gateway: &Gateway,
    surface: Surface,
    snapshot: &KeySnapshot,
) -> Response<AnswerBody> {
    let catalog = gateway.catalog.load();
    let models: Vec<String> = catalog
        .listed()
        .filter(|entry| may_use(&catalog, snapshot, &entry.prices.id))
        .map(|entry| shown(gateway, surface, snapshot, entry))
        .chain(aliases(gateway, surface, snapshot, &catalog))
        .collect();
    let data = models.join(",");
    json_answer(match surface {
        Surface::OpenAi => format!("{{\"object\":\"list\",\"data\":[{data}]}}"),
        Surface::OpenRouter => format!("{{\"data\":[{data}],\"total_count\":{}}}", models.len()),
    })
}

/// One model, also if it is hidden.
pub(crate) fn one(
    gateway: &Gateway,
    surface: Surface,
    snapshot: &KeySnapshot,
    id: &str,
) -> Result<Response<AnswerBody>, Problem> {
    let catalog = gateway.catalog.load();
    let unknown = || Problem::UnknownModel(id.to_owned());
    let chosen = catalog
        .rules()
        .choose(id, &**catalog, &access_of(snapshot))
        .map_err(|_| unknown())?;
    let first = chosen.first().ok_or_else(unknown)?;
    let entry = catalog.get(&first.model).ok_or_else(unknown)?;
    let model = match &first.alias {
        Some(alias) if alias == id => shown_alias(gateway, surface, snapshot, entry, alias),
        // A name with a modifier is no model of its own.
        Some(_) => return Err(unknown()),
        None if entry.prices.id == id => shown(gateway, surface, snapshot, entry),
        None => return Err(unknown()),
    };
    Ok(json_answer(match surface {
        Surface::OpenAi => model,
        Surface::OpenRouter => format!("{{\"data\":{model}}}"),
    }))
}

fn may_use(catalog: &Catalog, snapshot: &KeySnapshot, id: &str) -> bool {
    let access = access_of(snapshot);
    catalog.rules().choose(id, catalog, &access).is_ok()
}

/// The aliases that the key may use, as models of their own.
fn aliases(
    gateway: &Gateway,
    surface: Surface,
    snapshot: &KeySnapshot,
    catalog: &Catalog,
) -> Vec<String> {
    let access = access_of(snapshot);
    let shown = |alias: &String| {
        let chosen = catalog.rules().choose(alias, catalog, &access).ok()?;
        let entry = catalog.get(&chosen.first()?.model)?;
        Some(shown_alias(gateway, surface, snapshot, entry, alias))
    };
    catalog.rules().aliases.keys().filter_map(shown).collect()
}

pub(crate) fn json_answer(body: String) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Members of a model object that tell nothing of which model it is.
const TOLD_OF_ALIASES: [&str; 9] = [
    "created",
    "context_length",
    "architecture",
    "pricing",
    "top_provider",
    "per_request_limits",
    "supported_parameters",
    "default_parameters",
    "reasoning",
];
/// Who "owns" an alias.
const OPERATOR: &str = "system";

/// An alias as a model of its own, like the first model behind it, which it does not name.
fn shown_alias(
    gateway: &Gateway,
    surface: Surface,
    snapshot: &KeySnapshot,
    entry: &CatalogEntry,
    alias: &str,
) -> String {
    let prices = client_prices(gateway, snapshot, entry);
    let members = json::members(&entry.listing).unwrap_or_default();
    let mut writer = ObjectWriter::with_capacity(entry.listing.len());
    writer.add("id", &json::quote(alias));
    writer.add("name", &json::quote(alias));
    for member in &members {
        match &*member.name {
            "pricing" => {
                writer.keep_with_value(member, &prices.of_object(member.value, &NOT_SHOWN));
            }
            "architecture" => {
                writer.keep_with_value(member, &without(member.value, "tokenizer"));
            }
            name if TOLD_OF_ALIASES.contains(&name) => writer.keep(member),
            _ => {}
        }
    }
    if surface == Surface::OpenAi {
        writer.add("object", "\"model\"");
        writer.add("owned_by", &json::quote(OPERATOR));
    }
    writer.finish()
}

/// An object without one of its members.
fn without(object: &str, name: &str) -> String {
    let members = json::members(object).unwrap_or_default();
    let mut writer = ObjectWriter::with_capacity(object.len());
    for member in members.iter().filter(|member| member.name != name) {
        writer.keep(member);
    }
    writer.finish()
}

fn client_prices<'a>(
    gateway: &Gateway,
    snapshot: &'a KeySnapshot,
    entry: &CatalogEntry,
) -> ClientPrices<'a> {
    ClientPrices {
        rule: rule_of(snapshot, entry),
        cost_share: cheapest_cost_share(&gateway.masters.load(), entry),
    }
}

/// The upstream's model object with the client's prices; on OpenAI's surface also with what OpenAI's has beside it.
fn shown(
    gateway: &Gateway,
    surface: Surface,
    snapshot: &KeySnapshot,
    entry: &CatalogEntry,
) -> String {
    let id = &entry.prices.id;
    let prices = client_prices(gateway, snapshot, entry);
    let author = id.split('/').next().unwrap_or(id).trim_start_matches('~');
    let members = json::members(&entry.listing).unwrap_or_default();
    let mut writer = ObjectWriter::with_capacity(entry.listing.len() + 64);
    for member in &members {
        match &*member.name {
            "object" | "owned_by" => {}
            "pricing" => {
                writer.keep_with_value(member, &prices.of_object(member.value, &NOT_SHOWN))
            }
            _ => writer.keep(member),
        }
    }
    if surface == Surface::OpenAi {
        writer.add("object", "\"model\"");
        writer.add("owned_by", &json::quote(author));
    }
    writer.finish()
}

/// Turns list prices into what the client pays.
struct ClientPrices<'a> {
    rule: &'a PriceRule,
    cost_share: Decimal,
}

impl ClientPrices<'_> {
    fn of_object(&self, pricing: &str, dropped: &[&str]) -> String {
        let members = json::members(pricing).unwrap_or_default();
        let mut writer = ObjectWriter::with_capacity(pricing.len() + 32);
        for member in &members {
            match &*member.name {
                name if dropped.contains(&name) => {}
                name if CONDITIONS.contains(&name) => writer.keep(member),
                "overrides" => writer.keep_with_value(member, &self.of_overrides(member.value)),
                _ => {
                    if let Some(price) = self.of_price(member) {
                        writer.keep_with_value(member, &json::quote(&price));
                    }
                }
            }
        }
        writer.finish()
    }

    fn of_overrides(&self, overrides: &str) -> String {
        let mut shown = Vec::new();
        let read = json::each_element(overrides, |entry: &serde_json::value::RawValue| {
            shown.push(self.of_object(entry.get(), &NOT_SHOWN));
        });
        if read.is_err() {
            shown.clear();
        }
        format!("[{}]", shown.join(","))
    }

    /// `None` for what is no price. The `-1` of routers stays: it is no number to multiply.
    fn of_price(&self, member: &Member<'_>) -> Option<String> {
        let text = json::string(member.value).unwrap_or(member.value.into());
        if text.trim_start().starts_with('-') {
            return Some("-1".to_owned());
        }
        let list = parse_decimal(&text).ok()?;
        let price = self.rule.unit_price(&member.name, list, self.cost_share)?;
        Some(price.normalize().to_string())
    }
}
