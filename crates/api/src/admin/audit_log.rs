//! `GET /v1/admin/audit-log`.

use std::sync::Arc;

use airouter_store::audit::{AuditQuery, AuditRecord, named};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::answer::Answer;
use crate::body::Params;
use crate::page::{Page, PageQuery};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::{Id, Time};

/// Longer texts are in no entry.
const LONGEST_ACTION: usize = 200;
const LONGEST_ACTOR: usize = 500;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// Only this action (`client.credit`), or all of a kind (`client`).
    #[param(max_length = 200)]
    action: Option<String>,
    /// Only what was done to this: an id, or a kind and a name (`plan:school`, `model:openai/gpt-4o-mini`, `alias:fast`,
    /// `tier:free`).
    #[param(max_length = 300)]
    subject: Option<String>,
    /// Only what this one did: an e-mail address, `command line`, `schedule`.
    #[param(max_length = 500)]
    actor: Option<String>,
    /// Only from this time on.
    #[param(value_type = Option<Time>)]
    from: Option<Time>,
    /// Only before this time.
    #[param(value_type = Option<Time>)]
    until: Option<Time>,
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
    /// To what: the id of an account, or of what the action names; what has a name and no id has one made of the two.
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
    let page = PageQuery::new(query.cursor, query.limit);
    let limit = page.limit()?;
    let search = AuditQuery {
        after: page.after_number()?.unwrap_or_default(),
        action: plain("action", query.action, LONGEST_ACTION)?,
        subject: query.subject.as_deref().map(subject).transpose()?,
        actor: plain("actor", query.actor, LONGEST_ACTOR)?,
        from: query.from.map(|Time(from)| from),
        until: query.until.map(|Time(until)| until),
        limit: limit + 1,
    };
    let found = shared.store.search_audit_log(&search).await?;
    Ok(Json(Page::of_numbered(
        found,
        limit,
        |record| record.number,
        AuditLogEntry::from,
    )))
}

/// No text of the log is longer, or has characters that don't show.
fn plain(
    field: &'static str,
    text: Option<String>,
    most: usize,
) -> Result<Option<String>, Problem> {
    let can_be = |text: &String| text.chars().count() <= most && !text.contains(char::is_control);
    match text {
        Some(text) if !can_be(&text) => Err(Problem::Invalid {
            field,
            expected: "one line, and not longer than any in the log",
        }),
        text => Ok(text),
    }
}

fn subject(text: &str) -> Result<Uuid, Problem> {
    let of_name = || {
        let (kind, name) = text.split_once(':')?;
        Some(named(kind, name))
    };
    let id = text.parse().ok();
    id.or_else(of_name).ok_or(Problem::Invalid {
        field: "subject",
        expected: "an id, or a kind and a name with a colon between them",
    })
}
