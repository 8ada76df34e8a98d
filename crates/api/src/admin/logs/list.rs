//! `GET /v1/admin/logs`.

use std::sync::Arc;

use airouter_billing::{AccountId, MasterAccountId};
use airouter_store::requests::RequestFilter;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::{COLUMNS, LogOutcome, LoggedRequest};
use crate::body::Params;
use crate::csv::Format;
use crate::page::{Page, PageQuery};
use crate::problem::Problem;
use crate::requests::{Common, HowItEnded, Wanted, model};
use crate::shared::Shared;
use crate::values::{Id, Time};

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogsQuery {
    /// Paid by this account.
    #[param(value_type = Option<Id>)]
    client_id: Option<Uuid>,
    /// Sent with this key. Then the list is in the order in which requests ended.
    #[param(value_type = Option<Id>)]
    key_id: Option<Uuid>,
    /// For this model: as the client asked for it, or was told it.
    #[param(max_length = 256, example = "openai/gpt-4o-mini")]
    model: Option<String>,
    /// Served by this model, as the upstream told it.
    #[param(max_length = 256, example = "openai/gpt-4o-mini")]
    served_model: Option<String>,
    /// Served by this master account.
    #[param(value_type = Option<Id>)]
    master_account_id: Option<Uuid>,
    /// Ended so.
    #[param(inline)]
    ending: Option<HowItEnded>,
    /// Borne so.
    #[param(inline)]
    outcome: Option<LogOutcome>,
    /// Begun then or later.
    from: Option<Time>,
    /// Begun before.
    to: Option<Time>,
    /// `next_cursor` of the page before (as CSV in the header `x-next-cursor`); without it the list begins.
    cursor: Option<String>,
    /// How many at most: 200, as CSV 2000. A page may have fewer, or none, and a next one all the same.
    #[param(minimum = 1, maximum = 2000, default = 50)]
    limit: Option<u16>,
    /// JSON or CSV; without it the header `Accept` says so.
    #[param(inline)]
    format: Option<Format>,
}

/// All requests, the newest first. Those that have not ended, or whose usage is still to be found out, are not there yet.
#[utoipa::path(
    get,
    path = "/v1/admin/logs",
    tag = "admin",
    params(LogsQuery),
    responses((status = 200, description = "A page of requests", content(
        (Page<LoggedRequest> = "application/json"),
        (String = "text/csv")
    )))
)]
pub(crate) async fn list_logs(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Params(query): Params<LogsQuery>,
) -> Result<Response, Problem> {
    let common = Common {
        key_id: query.key_id,
        model: query.model,
        ending: query.ending,
        from: query.from,
        to: query.to,
    };
    let filter = RequestFilter {
        payer: query.client_id.map(AccountId::new),
        served_model: model("served_model", query.served_model)?,
        master_account: query.master_account_id.map(MasterAccountId::new),
        outcome: query.outcome.map(Into::into),
        ..common.filter()?
    };
    let page = PageQuery::new(query.cursor, query.limit);
    let wanted = Wanted::new(page, query.format, &headers);
    let page = wanted.read(&shared, filter).await?;
    wanted.write::<LoggedRequest>(&COLUMNS, page)
}
