//! The change log, and everything about clients that is one line long.

use airouter_auth::KeyHash;
use airouter_billing::{AccountId, ApiKeyId, BudgetId, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::{
    Balance, Change, ChangePosition, Changes, Clients, Connections, KeySnapshot, NewKey, NewMember,
    NewOrganization, NewPerson, Person,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::connection::failed;
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{keys, people};

/// More changes than this are not listed one by one.
const MOST_CHANGES: i64 = 1_000;
/// So many changes are kept, for replicas that were away a while.
const KEPT_CHANGES: i64 = 10_000;

#[async_trait]
impl Clients for SqliteStore {
    fn connections(&self) -> Connections {
        Connections {
            open: usize::try_from(self.readers.size()).unwrap_or(usize::MAX),
            idle: self.readers.num_idle(),
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!(r#"SELECT max(id) AS "id: i64" FROM plans"#)
            .fetch_one(&self.readers)
            .await
            .map(drop)
            .map_err(failed)
    }

    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeySnapshot>, StoreError> {
        keys::by_hash(self, hash).await
    }

    async fn keys_used(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        keys::used(self, used).await
    }

    async fn changes_since(&self, position: &ChangePosition) -> Result<Changes, StoreError> {
        let after = match position.get() {
            None => -1,
            Some(text) => text.parse().unwrap_or(0),
        };
        changes_since(self, after).await
    }

    /// Other processes write to the file without a word: only the change log tells.
    async fn change_hint(&self) {
        std::future::pending().await
    }

    async fn create_person(&self, person: &NewPerson) -> Result<(), StoreError> {
        people::create_person(self, person).await
    }

    async fn person_by_email(&self, email: &str) -> Result<Option<Person>, StoreError> {
        people::by_email(self, email).await
    }

    async fn create_organization(&self, organization: &NewOrganization) -> Result<(), StoreError> {
        people::create_organization(self, organization).await
    }

    async fn add_member(&self, member: &NewMember) -> Result<(), StoreError> {
        people::add_member(self, member).await
    }

    async fn create_key(
        &self,
        account: AccountId,
        payer: Option<AccountId>,
        key: &NewKey,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        keys::create(self, account, payer, key, at).await
    }

    async fn revoke_key(&self, key: ApiKeyId, at: Timestamp) -> Result<(), StoreError> {
        keys::revoke(self, key, at).await
    }

    async fn has_admin(&self) -> Result<bool, StoreError> {
        people::has_admin(self).await
    }

    async fn balance(&self, account: AccountId) -> Result<Balance, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        people::balance(&mut reader, account).await
    }
}

async fn changes_since(store: &SqliteStore, position: i64) -> Result<Changes, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT seq, kind, id FROM change_log WHERE seq > $1 AND $1 >= 0 ORDER BY seq LIMIT $2 + 1"#,
        position,
        MOST_CHANGES
    )
    .fetch_all(&store.readers)
    .await
    .map_err(failed)?;
    let first = rows.first().map(|row| row.seq);
    let was_pruned = first.is_some_and(|first| first > position.saturating_add(1));
    let is_too_long = i64::try_from(rows.len()).is_ok_and(|count| count > MOST_CHANGES);
    if position < 0 || was_pruned || is_too_long {
        return Ok(Changes {
            position: present_position(store).await?,
            changes: Vec::new(),
            overflow: position >= 0,
        });
    }
    let last = rows.last().map_or(position, |row| row.seq);
    let mut changes = Changes {
        position: named(last),
        ..Changes::default()
    };
    for row in rows {
        match change(row.seq, &row.kind, row.id) {
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

/// The number of the last change that was ever written, also when it was pruned since.
async fn present_position(store: &SqliteStore) -> Result<ChangePosition, StoreError> {
    let last = sqlx::query_scalar!(
        r#"SELECT coalesce(max(seq), 0) AS "seq!: i64" FROM sqlite_sequence WHERE name = 'change_log'"#
    )
    .fetch_one(&store.readers)
    .await
    .map_err(failed)?;
    Ok(named(last))
}

fn named(seq: i64) -> ChangePosition {
    ChangePosition::new(seq.to_string())
}

fn change(seq: i64, kind: &str, id: Option<Vec<u8>>) -> Result<Change, StoreError> {
    let column = Column::new("change_log", "id");
    let id = || {
        let bytes = id.as_deref().ok_or_else(|| column.corrupt(seq))?;
        column.uuid(bytes)
    };
    let balance = || Ok::<_, StoreError>(BudgetId::Balance(AccountId::new(id()?)));
    Ok(match kind {
        "account" => Change::Account(AccountId::new(id()?)),
        "key" => Change::Key(ApiKeyId::new(id()?)),
        "balance" => Change::Budget(balance()?),
        "budget" => Change::Budget(BudgetId::Cap(id()?)),
        "recall_balance" => Change::Recall(balance()?),
        "recall_budget" => Change::Recall(BudgetId::Cap(id()?)),
        "master_accounts" => Change::MasterAccounts,
        "prices" => Change::Prices,
        _ => return Err(Column::new("change_log", "kind").corrupt(seq)),
    })
}

/// Asks for what leases of a budget do not use.
pub(crate) async fn insert_recall(
    connection: &mut SqliteConnection,
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

/// Forgets changes that every cache has long seen.
pub(crate) async fn prune(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM change_log WHERE seq <= (SELECT max(seq) FROM change_log) - $1",
        KEPT_CHANGES
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
