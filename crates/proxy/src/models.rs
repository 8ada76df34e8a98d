//! `GET …/models`: what is on sale, with the client's prices.

use airouter_billing::decimal::parse_decimal;
use airouter_billing::plan::PriceRule;
use airouter_store::clients::{KeySnapshot, ModelAccess};
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use rust_decimal::Decimal;

use crate::body::AnswerBody;
use crate::catalog::CatalogEntry;
use crate::gateway::Gateway;
use crate::problem::Problem;
use crate::route::Surface;
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
        .models()
        .iter()
        .filter(|entry| may_use(snapshot, &entry.prices.id))
        .map(|entry| shown(gateway, surface, snapshot, entry))
        .collect();
    let data = models.join(",");
    json_answer(match surface {
        Surface::OpenAi => format!("{{\"object\":\"list\",\"data\":[{data}]}}"),
        Surface::OpenRouter => format!("{{\"data\":[{data}],\"total_count\":{}}}", models.len()),
    })
}

/// One model.
pub(crate) fn one(
    gateway: &Gateway,
    surface: Surface,
    snapshot: &KeySnapshot,
    id: &str,
) -> Result<Response<AnswerBody>, Problem> {
    let catalog = gateway.catalog.load();
    let entry = catalog
        .get(id)
        .filter(|entry| may_use(snapshot, &entry.prices.id))
        .ok_or_else(|| Problem::UnknownModel(id.to_owned()))?;
    let model = shown(gateway, surface, snapshot, entry);
    Ok(json_answer(match surface {
        Surface::OpenAi => model,
        Surface::OpenRouter => format!("{{\"data\":{model}}}"),
    }))
}

fn may_use(snapshot: &KeySnapshot, id: &str) -> bool {
    match &snapshot.models {
        ModelAccess::All => true,
        ModelAccess::Only(allowed) => allowed.iter().any(|allowed| allowed == id),
    }
}

pub(crate) fn json_answer(body: String) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The upstream's model object with the client's prices; on OpenAI's surface also with what OpenAI's has beside it.
fn shown(
    gateway: &Gateway,
    surface: Surface,
    snapshot: &KeySnapshot,
    entry: &CatalogEntry,
) -> String {
    let id = &entry.prices.id;
    let prices = ClientPrices {
        rule: snapshot.plan.rule_for(id),
        share: snapshot
            .plan
            .rule_for(id)
            .price_share(gateway.masters.load().cheapest_cost_share()),
    };
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
    share: Option<Decimal>,
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
        let price = match (self.rule, &*member.name) {
            (PriceRule::OwnPrices { prompt, .. }, "prompt") => *prompt,
            (PriceRule::OwnPrices { completion, .. }, "completion") => *completion,
            (PriceRule::OwnPrices { request, .. }, "request") => *request,
            (PriceRule::OwnPrices { .. }, _) => return None,
            _ => list.checked_mul(self.share?)?,
        };
        Some(price.normalize().to_string())
    }
}
