//! `GET /v1/admin/prices`.

use std::sync::Arc;

use airouter_billing::plan_terms::PlanTerms;
use airouter_store::master_accounts::{MasterAccountStatus, UpstreamKind};
use airouter_store::prices::PriceProvider;
use axum::Json;
use axum::extract::State;
use rust_decimal::Decimal;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Price, Seller, listed};
use crate::answer::Answer;
use crate::body::Params;
use crate::page::{self, Page, PageQuery};
use crate::problem::Problem;
use crate::shared::Shared;

/// Which prices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PricesQuery {
    /// What the model's id has in it.
    #[param(max_length = 254)]
    search: Option<String>,
    /// A price plan, whose prices are to stand beside.
    plan: Option<String>,
    /// `next_cursor` of the page before; without it the list begins.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// The price book in force, by model. Every model that an upstream lists and that can be sold is in it, also one that is
/// disabled.
#[utoipa::path(
    get,
    path = "/v1/admin/prices",
    tag = "prices",
    params(PricesQuery),
    responses((status = 200, description = "A page of prices", body = Page<Price>))
)]
pub(crate) async fn list_prices(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<PricesQuery>,
) -> Answer<Page<Price>> {
    let terms = match &query.plan {
        Some(plan) => Some(terms_of(&shared, plan).await?),
        None => None,
    };
    let shares = shares(&shared).await?;
    let search = page::search(query.search)?;
    let catalog = shared.store.catalog().await?;
    let found = catalog
        .into_iter()
        .filter(|model| model.prices.id.contains(&search));
    let page = PageQuery::new(query.cursor, query.limit);
    Ok(Json(Page::of_sorted(
        found,
        &page,
        |model| format!("{} {}", model.prices.id, model.provider),
        |model| {
            let seller = terms.as_ref().map(|terms| Seller {
                terms,
                cost_share: cost_share(&shares, model.provider),
            });
            listed(&model, seller.as_ref())
        },
    )?))
}

async fn terms_of(shared: &Shared, plan: &str) -> Result<PlanTerms, Problem> {
    let plans = shared.store.plans().await?;
    let found = plans.into_iter().find(|known| known.name == plan);
    found.map(|found| found.terms).ok_or(Problem::Invalid {
        field: "plan",
        expected: "the name of a price plan",
    })
}

/// What a dollar of list cost costs at accounts that serve.
async fn shares(shared: &Shared) -> Result<Vec<(PriceProvider, Decimal)>, Problem> {
    let accounts = shared.store.master_accounts().await?;
    let serving = accounts
        .into_iter()
        .filter(|account| account.status != MasterAccountStatus::Paused);
    let share = serving.map(|account| {
        let provider = match account.kind {
            UpstreamKind::OpenRouter => PriceProvider::OpenRouter,
            UpstreamKind::Compatible => PriceProvider::Compatible(account.id),
        };
        (provider, account.discount.cost_share())
    });
    Ok(share.collect())
}

/// The least of them, as clients are shown it.
fn cost_share(shares: &[(PriceProvider, Decimal)], provider: PriceProvider) -> Decimal {
    let mut shares = shares.iter();
    let of_provider = shares.by_ref().filter(|(of, _)| *of == provider);
    let least = of_provider.map(|(_, share)| *share).min();
    least.unwrap_or(Decimal::ONE)
}
