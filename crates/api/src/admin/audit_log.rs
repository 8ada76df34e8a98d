//! `GET /v1/admin/audit-log`.

use std::sync::Arc;

use airouter_store::audit::AuditRecord;
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::{Id, Time};

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// `next_cursor` of the page before; without it the log begins.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditLogEntry {
    /// Its place, from 1 without gaps.
    number: i64,
    /// When.
    at: Time,
    /// Who: an e-mail address, or `command line`.
    actor: String,
    /// That login's id.
    actor_id: Option<Id>,
    /// From where.
    address: Option<String>,
    /// What was done.
    #[schema(example = "client.credit")]
    action: String,
    /// To what: the id of an account, or of what the action names.
    subject_id: Id,
    /// Why.
    reason: Option<String>,
    /// What it was.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// What it is.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

impl From<AuditRecord> for AuditLogEntry {
    fn from(record: AuditRecord) -> Self {
        let entry = record.entry;
        let json = |text: Option<String>| serde_json::from_str(&text?).ok();
        Self {
            number: record.number,
            at: Time(entry.at),
            actor: entry.actor,
            actor_id: entry.actor_id.map(|id| Id(id.get())),
            address: entry.address,
            action: entry.action,
            subject_id: Id(entry.subject),
            reason: entry.reason,
            before: json(entry.before),
            after: json(entry.after),
        }
    }
}

/// Who did what to what, the oldest first. `airouter audit verify` proves that it is whole.
#[utoipa::path(
    get,
    path = "/v1/admin/audit-log",
    tag = "admin",
    params(LogQuery),
    responses((status = 200, description = "A page of entries", body = Page<AuditLogEntry>))
)]
pub(crate) async fn audit_log(
    State(shared): State<Arc<Shared>>,
    Params(query): Params<LogQuery>,
) -> Answer<Page<AuditLogEntry>> {
    let after = match query.cursor.as_deref() {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| Problem::Invalid {
            field: "cursor",
            expected: "the next_cursor of another page",
        })?,
    };
    let limit = PageQuery::new(None, query.limit).limit()?;
    let mut records = shared.store.audit_log(after, limit + 1).await?;
    let is_more = records.len() > usize::from(limit);
    records.truncate(limit.into());
    let last = records.last().filter(|_| is_more);
    Ok(Json(Page {
        next_cursor: last.map(|record| record.number.to_string()),
        data: records.into_iter().map(AuditLogEntry::from).collect(),
    }))
}
