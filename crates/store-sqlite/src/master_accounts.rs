//! Master accounts.

use airouter_auth::SealedSecret;
use airouter_billing::{Discount, DiscountBasis, MasterAccountId, Nanos, Timestamp};
use airouter_store::audit::AuditEntry;
use airouter_store::master_accounts::{
    Agreement, CreditReading, LAST_KEY, MasterAccount, MasterAccountChange, MasterAccountKey,
    MasterAccountStatus, MasterAccounts, MostShare, NAME_TAKEN, NewMasterAccount, SealedKey,
    UpstreamKind, Weight,
};
use airouter_store::{Seen, StoreError};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::audit;
use crate::connection::{begin, failed, insert_failed};
use crate::convert::Column;
use crate::open::SqliteStore;

const ACCOUNT: &str = "the master account";
/// In the audit log.
const KIND: &str = "master_account";

#[async_trait]
impl MasterAccounts for SqliteStore {
    async fn add_master_account(
        &self,
        account: &NewMasterAccount,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        add(&mut transaction, account, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn master_accounts(&self) -> Result<Vec<MasterAccount>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        all(&mut reader).await
    }

    async fn change_master_account(
        &self,
        account: MasterAccountId,
        seen: &Seen,
        changes: &[MasterAccountChange],
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        change(&mut transaction, account, (seen, changes), audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn add_master_account_key(
        &self,
        account: MasterAccountId,
        key: &MasterAccountKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        add_key(&mut transaction, account, key, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn remove_master_account_key(
        &self,
        account: MasterAccountId,
        key: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        remove_key(&mut transaction, account, key, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn record_credit(
        &self,
        account: MasterAccountId,
        reading: &CreditReading,
    ) -> Result<(), StoreError> {
        let account = account.get();
        let (bought, used) = (reading.bought.get(), reading.used.get());
        let (pace, seen_at) = (reading.pace.map(Nanos::get), reading.seen_at.as_micros());
        let mut writer = self.writer().await?;
        sqlx::query!(
            "INSERT INTO master_account_credit (master_account_id, bought_nanos, used_nanos, pace_nanos, seen_at)
            SELECT id, $2, $3, $4, $5 FROM master_accounts WHERE id = $1
            ON CONFLICT (master_account_id) DO UPDATE SET bought_nanos = excluded.bought_nanos,
                used_nanos = excluded.used_nanos, pace_nanos = excluded.pace_nanos, seen_at = excluded.seen_at
            WHERE excluded.seen_at > master_account_credit.seen_at",
            account,
            bought,
            used,
            pace,
            seen_at
        )
        .execute(&mut *writer)
        .await
        .map(drop)
        .map_err(failed)
    }
}

fn found(rows: u64, what: &'static str) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::NotFound { what });
    }
    Ok(())
}

/// One account.
async fn one(
    connection: &mut SqliteConnection,
    account: MasterAccountId,
) -> Result<MasterAccount, StoreError> {
    all(connection)
        .await?
        .into_iter()
        .find(|known| known.id == account)
        .ok_or(StoreError::NotFound { what: ACCOUNT })
}

/// Writes the entry of the audit log on a change of what `before` was.
async fn tell(
    connection: &mut SqliteConnection,
    before: &MasterAccount,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let after = one(connection, before.id).await?;
    let (was, is) = (before.described(), after.described());
    let told = audit.telling(KIND, &after.name, Some(&was), Some(&is));
    audit::append(connection, &told).await
}

/// Refuses a name that another account has.
async fn check_name(
    connection: &mut SqliteConnection,
    account: MasterAccountId,
    name: &str,
) -> Result<(), StoreError> {
    let id = account.get();
    let is_taken = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM master_accounts WHERE name = $2 AND id <> $1) AS "taken!: bool""#,
        id,
        name
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    if is_taken { Err(NAME_TAKEN) } else { Ok(()) }
}

async fn add(
    connection: &mut SqliteConnection,
    account: &NewMasterAccount,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    check_name(connection, account.id, &account.name).await?;
    let id = account.id.get();
    let kind = account.kind.name();
    let key = account.key.sealed.as_bytes();
    let discount = account.discount.fraction().to_string();
    let basis = account.discount.basis().name();
    let at = audit.at.as_micros();
    sqlx::query!(
        "INSERT INTO master_accounts (id, name, kind, base_url, sealed_key, key_fingerprint, discount,
            discount_basis, status, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'active', $9)",
        id,
        account.name,
        kind,
        account.base_url,
        key,
        account.key.fingerprint,
        discount,
        basis,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "a master account with this key"))?;
    let added = one(connection, account.id).await?.described();
    let told = audit.telling(KIND, &account.name, None, Some(&added));
    audit::append(connection, &told).await
}

async fn change(
    connection: &mut SqliteConnection,
    account: MasterAccountId,
    (seen, changes): (&Seen, &[MasterAccountChange]),
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = one(connection, account).await?;
    seen.check(Some(&before.described()))?;
    let mut after = before.clone();
    for change in changes {
        after.apply(change);
    }
    if after.name != before.name {
        check_name(connection, account, &after.name).await?;
    }
    write(connection, &after).await?;
    tell(connection, &before, audit).await
}

async fn add_key(
    connection: &mut SqliteConnection,
    account: MasterAccountId,
    key: &MasterAccountKey,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = one(connection, account).await?;
    let (account, sealed) = (account.get(), key.key.sealed.as_bytes());
    let at = audit.at.as_micros();
    sqlx::query!(
        "INSERT INTO master_account_keys (id, master_account_id, sealed_key, fingerprint, created_at)
        VALUES ($1, $2, $3, $4, $5)",
        key.id,
        account,
        sealed,
        key.key.fingerprint,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "this key"))?;
    tell(connection, &before, audit).await
}

async fn remove_key(
    connection: &mut SqliteConnection,
    account: MasterAccountId,
    key: Uuid,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = one(connection, account).await?;
    if before.needs_key(key) {
        return Err(LAST_KEY);
    }
    let account = account.get();
    let removed = sqlx::query!(
        "DELETE FROM master_account_keys WHERE master_account_id = $1 AND id = $2",
        account,
        key
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    found(removed.rows_affected(), "the key")?;
    tell(connection, &before, audit).await
}

/// Writes everything of an account but its keys.
async fn write(
    connection: &mut SqliteConnection,
    account: &MasterAccount,
) -> Result<(), StoreError> {
    let id = account.id.get();
    let discount = account.discount.fraction().to_string();
    let basis = account.discount.basis().name();
    let (status, drains) = account.status.columns();
    let weight = i64::from(account.weight.get());
    let most_share = account.most_share.map(|share| i64::from(share.get()));
    let ends_at = account.agreement.ends_at.map(Timestamp::as_micros);
    let management = account.management_key.as_ref();
    let sealed_management_key = management.map(|key| key.sealed.as_bytes());
    let management_key_fingerprint = management.map(|key| key.fingerprint.as_str());
    sqlx::query!(
        "UPDATE master_accounts SET name = $2, base_url = $3, discount = $4, discount_basis = $5, status = $6,
            drains = $7, weight = $8, most_share_percent = $9, agreement = $10, agreement_ends_at = $11,
            sealed_management_key = $12, management_key_fingerprint = $13
        WHERE id = $1",
        id,
        account.name,
        account.base_url,
        discount,
        basis,
        status,
        drains,
        weight,
        most_share,
        account.agreement.reference,
        ends_at,
        sealed_management_key,
        management_key_fingerprint
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// All accounts with their keys.
async fn all(connection: &mut SqliteConnection) -> Result<Vec<MasterAccount>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT a.id, a.name, a.kind, a.base_url, a.discount, a.discount_basis, a.status, a.drains AS "drains: bool",
            a.weight, a.most_share_percent, a.agreement, a.agreement_ends_at, a.sealed_management_key,
            a.management_key_fingerprint, c.bought_nanos AS "bought_nanos?", c.used_nanos AS "used_nanos?",
            c.pace_nanos, c.seen_at AS "seen_at?"
        FROM master_accounts a LEFT JOIN master_account_credit c ON c.master_account_id = a.id ORDER BY a.seq"#
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let mut accounts = rows
        .into_iter()
        .map(|row| {
            let column = |name| Column::new("master_accounts", name);
            let id = MasterAccountId::new(column("id").uuid(&row.id)?);
            let basis = DiscountBasis::from_name(&row.discount_basis)
                .ok_or_else(|| column("discount_basis").corrupt(id))?;
            let fraction = column("discount").decimal(&row.discount, id)?;
            let credit = match (row.bought_nanos, row.used_nanos, row.seen_at) {
                (Some(bought), Some(used), Some(seen_at)) => Some(CreditReading {
                    bought: Nanos::new(bought),
                    used: Nanos::new(used),
                    pace: row.pace_nanos.map(Nanos::new),
                    seen_at: Timestamp::from_micros(seen_at),
                }),
                _ => None,
            };
            Ok(MasterAccount {
                id,
                name: row.name,
                kind: UpstreamKind::from_name(&row.kind)
                    .ok_or_else(|| column("kind").corrupt(id))?,
                base_url: row.base_url,
                keys: Vec::new(),
                management_key: row
                    .sealed_management_key
                    .zip(row.management_key_fingerprint)
                    .map(|(sealed, fingerprint)| SealedKey {
                        sealed: SealedSecret::from_bytes(sealed),
                        fingerprint,
                    }),
                discount: Discount::new(fraction, basis)
                    .map_err(|_| column("discount").corrupt(id))?,
                weight: Weight::new(row.weight).ok_or_else(|| column("weight").corrupt(id))?,
                most_share: row
                    .most_share_percent
                    .map(|percent| {
                        MostShare::percent(percent)
                            .ok_or_else(|| column("most_share_percent").corrupt(id))
                    })
                    .transpose()?,
                agreement: Agreement {
                    reference: row.agreement,
                    ends_at: row.agreement_ends_at.map(Timestamp::from_micros),
                },
                status: MasterAccountStatus::from_columns(&row.status, row.drains)
                    .ok_or_else(|| column("status").corrupt(id))?,
                credit,
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    add_keys(connection, &mut accounts).await?;
    Ok(accounts)
}

async fn add_keys(
    connection: &mut SqliteConnection,
    accounts: &mut [MasterAccount],
) -> Result<(), StoreError> {
    let rows = sqlx::query!(
        "SELECT id, master_account_id, sealed_key, fingerprint FROM master_account_keys ORDER BY seq"
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for row in rows {
        let column = |name| Column::new("master_account_keys", name);
        let owner = column("master_account_id").uuid(&row.master_account_id)?;
        let key = MasterAccountKey {
            id: column("id").uuid(&row.id)?,
            key: SealedKey {
                sealed: SealedSecret::from_bytes(row.sealed_key),
                fingerprint: row.fingerprint,
            },
        };
        let owner = accounts
            .iter_mut()
            .find(|account| account.id.get() == owner);
        if let Some(owner) = owner {
            owner.keys.push(key);
        }
    }
    Ok(())
}
