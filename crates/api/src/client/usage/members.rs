//! What was used of an organization, by member.

use airouter_store::usage::{PayerPart, PayerQuery};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use super::keys::KeysQuery;
use super::{Spender, UsageLine, UsageReport, columns, model_of};
use crate::csv::{self, Format};
use crate::page::NumberedPage;
use crate::problem::Problem;
use crate::report_time::{Asked, ReportTime};
use crate::shared::Shared;

/// What each member has used, of whoever's use it is about.
pub(crate) async fn report(
    shared: &Shared,
    whose: Spender,
    headers: &HeaderMap,
    query: KeysQuery,
) -> Result<Response, Problem> {
    let page = NumberedPage::of(query.cursor.as_deref(), query.limit)?;
    let asked = Asked {
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        time_zone: query.time_zone.as_deref(),
    };
    let time = ReportTime::of(asked, shared.now())?;
    let mut rows = shared
        .store
        .payer_usage(&PayerQuery {
            payer: whose.payer,
            member: whose.member,
            periods: vec![time.period()],
            key: None,
            model: model_of(query.model)?,
            by: PayerPart::Member,
            lines: page.lines(),
        })
        .await?;
    let next_cursor = page.cut(&mut rows);
    let lines: Vec<UsageLine> = rows.into_iter().map(UsageLine::of_member).collect();
    if Format::of(query.format, headers) == Format::Csv {
        let columns = columns(&["account_id", "name"]);
        return csv::csv("members-usage", &columns, &lines, next_cursor.as_deref());
    }
    Ok(Json(UsageReport::new(&time, lines, next_cursor)).into_response())
}
