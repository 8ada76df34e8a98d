//! `GET /v1/admin/stats`: what the business comes to.

mod line;

use std::sync::Arc;

use airouter_billing::{AccountId, MasterAccountId};
use airouter_store::usage::{
    Lines, OperatorPart, OperatorQuery, PayerPart, PayerQuery, UsagePeriod, UsageRow, UsageSums,
};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::line::StatsLine;
use crate::body::Params;
use crate::client::usage::model_of;
use crate::csv::{self, Format};
use crate::page::NumberedPage;
use crate::problem::Problem;
use crate::report_time::{Asked, ReportTime};
use crate::shared::Shared;
use crate::values::{Id, Time};

/// What the sums are divided into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GroupBy {
    /// Days of the time zone; those without use too.
    #[default]
    Day,
    /// Models, as the upstream names them.
    Model,
    /// Master accounts.
    MasterAccount,
    /// Accounts of clients.
    Client,
}

/// When, of what, and into what it is divided.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    /// The first day, or the first moment; without it, 30 days before the end.
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// The last day, or the first moment after the report; without it, today is the last day.
    #[param(example = "2026-11-30")]
    to: Option<String>,
    /// Whose days they are: a name of the IANA time zone database.
    #[param(default = "UTC", example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// What the sums are divided into; apart from days, what brought most comes first.
    #[param(inline, default = "day")]
    #[serde(default)]
    group_by: GroupBy,
    /// Only of this model, as the upstream names it; not with `group_by=client`.
    #[param(max_length = 256)]
    model: Option<String>,
    /// Only at this master account; not with `group_by=client`.
    #[param(value_type = Option<Id>)]
    master_account_id: Option<Uuid>,
    /// Only of this account; with `group_by=day` or, by the names that it was told, `group_by=model`.
    #[param(value_type = Option<Id>)]
    client_id: Option<Uuid>,
    /// JSON or CSV; `Accept: text/csv` does the same.
    #[param(inline)]
    format: Option<Format>,
    /// `next_cursor` of the page before; without it the list begins. Days are on one page.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// What the business came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stats {
    /// The first moment.
    from: Time,
    /// The first moment after it.
    to: Time,
    /// Whose days it has.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// What the sums are divided into.
    group_by: GroupBy,
    /// All together.
    total: StatsLine,
    /// The parts.
    data: Vec<StatsLine>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// Revenue, cost, margin and losses, requests, tokens, errors and latency. It is up to date: what was committed is in it.
/// What was refused or failed without a cost is not; the metrics count that.
#[utoipa::path(
    get,
    path = "/v1/admin/stats",
    tag = "admin",
    params(StatsQuery),
    responses((status = 200, description = "The sums and their parts", content(
        (Stats = "application/json"),
        (String = "text/csv"),
    )))
)]
pub(crate) async fn stats(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Params(query): Params<StatsQuery>,
) -> Result<Response, Problem> {
    let page = NumberedPage::of(query.cursor.as_deref(), query.limit)?;
    let asked = Asked {
        from: query.from.as_deref(),
        to: query.to.as_deref(),
        time_zone: query.time_zone.as_deref(),
    };
    let time = ReportTime::of(asked, shared.now())?;
    let format = Format::of(query.format, &headers);
    let of = Subject::of(&shared, query.group_by, &query).await?;
    let group_by = query.group_by;
    let (data, next_cursor) = match group_by {
        GroupBy::Day => (days(&shared, &of, &time).await?, None),
        _ => {
            let mut rows = of
                .ask(&shared, vec![time.period()], group_by, page.lines())
                .await?;
            let next_cursor = page.cut(&mut rows);
            let line = |row| StatsLine::of(group_by, row);
            (rows.into_iter().map(line).collect(), next_cursor)
        }
    };
    if format == Format::Csv {
        let columns = StatsLine::columns(group_by);
        return csv::csv("stats", &columns, &data, next_cursor.as_deref());
    }
    let total = of.total(&shared, time.period()).await?;
    let stats = Stats {
        from: Time(time.period().from.begins()),
        to: Time(time.period().to.begins()),
        time_zone: time.zone_name().to_owned(),
        group_by,
        total: total.into(),
        data,
        next_cursor,
    };
    Ok(Json(stats).into_response())
}

/// Of what the sums are.
enum Subject {
    /// The whole business, or of one model or master account.
    Business {
        model: Option<String>,
        master_account: Option<MasterAccountId>,
    },
    /// One account.
    Client {
        payer: AccountId,
        model: Option<String>,
    },
}

impl Subject {
    async fn of(shared: &Shared, by: GroupBy, query: &StatsQuery) -> Result<Self, Problem> {
        let model = model_of(query.model.clone())?;
        let Some(client) = query.client_id.map(AccountId::new) else {
            let is_part = model.is_some() || query.master_account_id.is_some();
            if by == GroupBy::Client && is_part {
                return Err(Problem::Invalid {
                    field: "group_by",
                    expected: "another than 'client' where 'model' or 'master_account_id' is given",
                });
            }
            return Ok(Self::Business {
                model,
                master_account: query.master_account_id.map(MasterAccountId::new),
            });
        };
        let is_possible = matches!(by, GroupBy::Day | GroupBy::Model);
        if !is_possible || query.master_account_id.is_some() {
            return Err(Problem::Invalid {
                field: "client_id",
                expected: "given without 'master_account_id', and with 'group_by' day or model",
            });
        }
        if shared.store.client(client).await?.is_none() {
            return Err(Problem::NotFound("client"));
        }
        Ok(Self::Client {
            payer: client,
            model,
        })
    }

    /// The lines of a report; without a division, one a period.
    async fn ask(
        &self,
        shared: &Shared,
        periods: Vec<UsagePeriod>,
        by: GroupBy,
        lines: Lines,
    ) -> Result<Vec<UsageRow>, Problem> {
        let store = &shared.store;
        let rows = match (self, by) {
            (Self::Business { .. }, GroupBy::Client) => {
                let Some(period) = periods.first() else {
                    return Ok(Vec::new());
                };
                store.usage_by_client(*period, lines).await?
            }
            (
                Self::Business {
                    model,
                    master_account,
                },
                by,
            ) => {
                let query = OperatorQuery {
                    periods,
                    model: model.clone(),
                    master_account: *master_account,
                    by: match by {
                        GroupBy::Model => OperatorPart::Model,
                        GroupBy::MasterAccount => OperatorPart::MasterAccount,
                        GroupBy::Day | GroupBy::Client => OperatorPart::Whole,
                    },
                    lines,
                };
                store.operator_usage(&query).await?
            }
            (Self::Client { payer, model }, by) => {
                let query = PayerQuery {
                    payer: *payer,
                    periods,
                    key: None,
                    member: None,
                    model: model.clone(),
                    by: match by {
                        GroupBy::Model => PayerPart::Model,
                        _ => PayerPart::Whole,
                    },
                    lines,
                };
                store.payer_usage(&query).await?
            }
        };
        Ok(rows)
    }

    async fn total(&self, shared: &Shared, period: UsagePeriod) -> Result<UsageSums, Problem> {
        let rows = self
            .ask(shared, vec![period], GroupBy::Day, Lines::ALL)
            .await?;
        Ok(rows.first().map(|row| row.sums).unwrap_or_default())
    }
}

async fn days(shared: &Shared, of: &Subject, time: &ReportTime) -> Result<Vec<StatsLine>, Problem> {
    let days = time.days();
    let periods = days.iter().map(|day| day.period).collect();
    let mut sums = vec![UsageSums::default(); days.len()];
    for row in of.ask(shared, periods, GroupBy::Day, Lines::ALL).await? {
        if let Some(day) = sums.get_mut(row.period) {
            *day = row.sums;
        }
    }
    let lines = days
        .into_iter()
        .zip(sums)
        .map(|(day, sums)| StatsLine::of_day(day.date, sums));
    Ok(lines.collect())
}
