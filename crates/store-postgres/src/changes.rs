//! The change log. Its numbers are not in the order in which transactions commit, so a position is a snapshot: what it
//! did not see, and the next one does, is told.

use airouter_billing::{AccountId, ApiKeyId, BudgetId};
use airouter_store::StoreError;
use airouter_store::clients::{Change, ChangePosition, Changes};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::Column;
use crate::lane::{Repeat, Work};

/// More changes than this are not listed one by one.
const MOST_CHANGES: usize = 1_000;
/// So many changes are kept, for replicas that were away a while.
const KEPT_CHANGES: i64 = 10_000;

/// Reads the change log.
pub(crate) struct ChangePoll;

impl Work for ChangePoll {
    type Question = ChangePosition;
    type Answer = Changes;

    const REPEAT: Repeat = Repeat::Safe;

    async fn answer(
        &mut self,
        connection: &mut PgConnection,
        positions: &[ChangePosition],
    ) -> Result<Vec<Changes>, StoreError> {
        let mut answers = Vec::with_capacity(positions.len());
        for position in positions {
            answers.push(changes_since(connection, position).await?);
        }
        Ok(answers)
    }
}

/// A position: a snapshot, and the life of the server in which it was taken. It means nothing in another life.
#[derive(Clone, Copy)]
struct Seen<'a> {
    life: &'a str,
    snapshot: &'a str,
}

impl<'a> Seen<'a> {
    fn parse(position: &'a ChangePosition) -> Option<Self> {
        let (life, snapshot) = position.get()?.split_once('/')?;
        Some(Self { life, snapshot })
    }
}

struct ChangeRow {
    seq: i64,
    kind: String,
    id: Option<Uuid>,
}

/// One look at the change log.
struct Look {
    life: String,
    snapshot: String,
    /// Whether changes that the position did not see may have been pruned.
    was_pruned: bool,
    /// At most one more than [`MOST_CHANGES`].
    rows: Vec<ChangeRow>,
}

async fn changes_since(
    connection: &mut PgConnection,
    position: &ChangePosition,
) -> Result<Changes, StoreError> {
    let seen = Seen::parse(position);
    let look = match look(connection, seen).await? {
        Some(look) => look,
        None => {
            begin_life(connection).await?;
            look(connection, seen).await?.ok_or(StoreError::NotFound {
                what: "the life of the server",
            })?
        }
    };
    let is_known = seen.is_some_and(|seen| seen.life == look.life) && !look.was_pruned;
    let mut changes = Changes {
        position: ChangePosition::new(format!("{}/{}", look.life, look.snapshot)),
        changes: Vec::new(),
        overflow: position.get().is_some() && (!is_known || look.rows.len() > MOST_CHANGES),
    };
    if changes.overflow || !is_known {
        return Ok(changes);
    }
    for row in look.rows {
        match change(&row) {
            Ok(change) => changes.changes.push(change),
            // It says that something changed, but not what.
            Err(error) => {
                tracing::error!(%error, "a change can't be read; everything is read again");
                changes.overflow = true;
            }
        }
    }
    Ok(changes)
}

/// What was not seen at `seen`, and the snapshot that sees it: one statement, so that both are of the same moment. `None`
/// in a life of the server that has no name yet.
async fn look(
    connection: &mut PgConnection,
    seen: Option<Seen<'_>>,
) -> Result<Option<Look>, StoreError> {
    let rows = sqlx::query!(
        r#"WITH seen AS (
            SELECT $1::text::pg_snapshot AS snapshot
        ), missed AS MATERIALIZED (
            SELECT log.seq, log.kind, log.id FROM seen, change_log log
            WHERE log.xid >= pg_snapshot_xmin(seen.snapshot) AND NOT pg_visible_in_snapshot(log.xid, seen.snapshot)
        ), listed AS (
            SELECT seq, kind, id FROM missed ORDER BY seq LIMIT $2
        )
        SELECT (SELECT id::text FROM server_lives) AS life, pg_current_snapshot()::text AS "snapshot!",
            coalesce(pg_snapshot_xmin(seen.snapshot) < (SELECT before FROM change_log_pruned), false) AS "was_pruned!",
            listed.seq AS "seq?", listed.kind AS "kind?", listed.id AS "id?"
        FROM seen LEFT JOIN listed ON true
        ORDER BY listed.seq"#,
        seen.map(|seen| seen.snapshot),
        i64::try_from(MOST_CHANGES).unwrap_or(i64::MAX).saturating_add(1)
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut look = None;
    for row in rows {
        let Some(life) = row.life else {
            return Ok(None);
        };
        let look = look.get_or_insert(Look {
            life,
            snapshot: row.snapshot,
            was_pruned: row.was_pruned,
            rows: Vec::new(),
        });
        if let (Some(seq), Some(kind)) = (row.seq, row.kind) {
            look.rows.push(ChangeRow {
                seq,
                kind,
                id: row.id,
            });
        }
    }
    Ok(look)
}

/// The life of the server.
pub(crate) async fn life(connection: &mut PgConnection) -> Result<String, StoreError> {
    for _ in 0..2 {
        let life = sqlx::query_scalar!(r#"SELECT id::text AS "id!" FROM server_lives"#)
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
        if let Some(life) = life {
            return Ok(life);
        }
        begin_life(connection).await?;
    }
    Err(StoreError::NotFound {
        what: "the life of the server",
    })
}

/// Names a life of the server: the first, or the one after a crash.
async fn begin_life(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("INSERT INTO server_lives DEFAULT VALUES ON CONFLICT DO NOTHING")
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}

fn change(row: &ChangeRow) -> Result<Change, StoreError> {
    let column = |name| Column::new("change_log", name);
    let id = || row.id.ok_or_else(|| column("id").corrupt(row.seq));
    let balance = || Ok::<_, StoreError>(BudgetId::Balance(AccountId::new(id()?)));
    Ok(match row.kind.as_str() {
        "account" => Change::Account(AccountId::new(id()?)),
        "key" => Change::Key(ApiKeyId::new(id()?)),
        "balance" => Change::Budget(balance()?),
        "budget" => Change::Budget(BudgetId::Cap(id()?)),
        "recall_balance" => Change::Recall(balance()?),
        "recall_budget" => Change::Recall(BudgetId::Cap(id()?)),
        "master_accounts" => Change::MasterAccounts,
        "prices" => Change::Prices,
        _ => return Err(column("kind").corrupt(row.seq)),
    })
}

/// Asks for what leases of a budget do not use.
pub(crate) async fn insert_recall(
    connection: &mut PgConnection,
    budget: BudgetId,
) -> Result<(), StoreError> {
    let (kind, id) = match budget {
        BudgetId::Balance(account) => ("recall_balance", account.get()),
        BudgetId::Cap(id) => ("recall_budget", id),
    };
    sqlx::query!(
        "INSERT INTO change_log (kind, id) VALUES ($1, $2)",
        kind,
        id
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Forgets changes that every cache has long seen, and notes from which transaction on they are complete. Transactions
/// that still run are left: no later snapshot is then older than what was noted.
pub(crate) async fn prune(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH kept AS (
            SELECT least(xid, pg_snapshot_xmin(pg_current_snapshot())) AS since
            FROM change_log ORDER BY seq DESC OFFSET $1 LIMIT 1
        ), pruned AS (
            UPDATE change_log_pruned SET before = kept.since FROM kept WHERE before < kept.since RETURNING before
        )
        DELETE FROM change_log USING pruned WHERE change_log.xid < pruned.before",
        KEPT_CHANGES
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
