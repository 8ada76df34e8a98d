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
use sqlx::PgConnection;
use uuid::Uuid;

use crate::audit;
use crate::connection::{failed, insert_failed};
use crate::convert::{Column, timestamptz};
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

const ACCOUNT: &str = "the master account";
/// In the audit log.
const KIND: &str = "master_account";

#[async_trait]
impl MasterAccounts for PostgresStore {
    async fn add_master_account(
        &self,
        account: &NewMasterAccount,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let added = add(&mut transaction, account, audit).await;
            finish(transaction, added).await
        })
        .await
    }

    async fn master_accounts(&self) -> Result<Vec<MasterAccount>, StoreError> {
        self.on_pool(all).await
    }

    async fn change_master_account(
        &self,
        account: MasterAccountId,
        seen: &Seen,
        changes: &[MasterAccountChange],
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let changed = change(&mut transaction, account, (seen, changes), audit).await;
            finish(transaction, changed).await
        })
        .await
    }

    async fn add_master_account_key(
        &self,
        account: MasterAccountId,
        key: &MasterAccountKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let added = add_key(&mut transaction, account, key, audit).await;
            finish(transaction, added).await
        })
        .await
    }

    async fn remove_master_account_key(
        &self,
        account: MasterAccountId,
        key: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let removed = remove_key(&mut transaction, account, key, audit).await;
            finish(transaction, removed).await
        })
        .await
    }

    async fn record_credit(
        &self,
        account: MasterAccountId,
        reading: &CreditReading,
    ) -> Result<(), StoreError> {
        let account = account.get();
        let (bought, used) = (reading.bought.get(), reading.used.get());
        let (pace, seen_at) = (reading.pace.map(Nanos::get), timestamptz(reading.seen_at));
        self.on_pool(async |connection| {
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
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
        })
        .await
    }
}

fn found(rows: u64, what: &'static str) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::NotFound { what });
    }
    Ok(())
}

/// One account, which nobody else changes until the transaction ends.
async fn locked(
    connection: &mut PgConnection,
    account: MasterAccountId,
) -> Result<MasterAccount, StoreError> {
    sqlx::query!(
        "SELECT id FROM master_accounts WHERE id = $1 FOR UPDATE",
        account.get()
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    all(connection)
        .await?
        .into_iter()
        .find(|known| known.id == account)
        .ok_or(StoreError::NotFound { what: ACCOUNT })
}

/// Writes the entry of the audit log on a change of what `before` was.
async fn tell(
    connection: &mut PgConnection,
    before: &MasterAccount,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let after = locked(connection, before.id).await?;
    let (was, is) = (before.described(), after.described());
    let told = audit.telling(KIND, &after.name, Some(&was), Some(&is));
    audit::append(connection, &told).await
}

/// Refuses a name that another account has.
async fn check_name(
    connection: &mut PgConnection,
    account: MasterAccountId,
    name: &str,
) -> Result<(), StoreError> {
    // Until the transaction ends: whoever else wants a name waits, and sees this one.
    sqlx::query!("SELECT FROM pg_advisory_xact_lock(hashtextextended('airouter: names of master accounts', 0))")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let is_taken = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM master_accounts WHERE name = $2 AND id <> $1) AS "taken!""#,
        account.get(),
        name
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    if is_taken { Err(NAME_TAKEN) } else { Ok(()) }
}

async fn add(
    connection: &mut PgConnection,
    account: &NewMasterAccount,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    check_name(connection, account.id, &account.name).await?;
    sqlx::query!(
        "INSERT INTO master_accounts (id, name, kind, base_url, sealed_key, key_fingerprint, discount,
            discount_basis, status, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7::text::numeric, $8, 'active', $9)",
        account.id.get(),
        account.name,
        account.kind.name(),
        account.base_url,
        account.key.sealed.as_bytes(),
        account.key.fingerprint,
        account.discount.fraction().to_string(),
        account.discount.basis().name(),
        timestamptz(audit.at)
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "a master account with this key"))?;
    let added = locked(connection, account.id).await?.described();
    let told = audit.telling(KIND, &account.name, None, Some(&added));
    audit::append(connection, &told).await
}

async fn change(
    connection: &mut PgConnection,
    account: MasterAccountId,
    (seen, changes): (&Seen, &[MasterAccountChange]),
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = locked(connection, account).await?;
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
    connection: &mut PgConnection,
    account: MasterAccountId,
    key: &MasterAccountKey,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = locked(connection, account).await?;
    sqlx::query!(
        "INSERT INTO master_account_keys (id, master_account_id, sealed_key, fingerprint, created_at)
        VALUES ($1, $2, $3, $4, $5)",
        key.id,
        account.get(),
        key.key.sealed.as_bytes(),
        key.key.fingerprint,
        timestamptz(audit.at)
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "this key"))?;
    tell(connection, &before, audit).await
}

async fn remove_key(
    connection: &mut PgConnection,
    account: MasterAccountId,
    key: Uuid,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let before = locked(connection, account).await?;
    if before.needs_key(key) {
        return Err(LAST_KEY);
    }
    let removed = sqlx::query!(
        "DELETE FROM master_account_keys WHERE master_account_id = $1 AND id = $2",
        account.get(),
        key
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    found(removed.rows_affected(), "the key")?;
    tell(connection, &before, audit).await
}

/// Writes everything of an account but its keys.
async fn write(connection: &mut PgConnection, account: &MasterAccount) -> Result<(), StoreError> {
    let id = account.id.get();
    let discount = account.discount.fraction().to_string();
    let basis = account.discount.basis().name();
    let (status, drains) = account.status.columns();
    let weight = i32::from(account.weight.get());
    let most_share = account.most_share.map(|share| i32::from(share.get()));
    let ends_at = account.agreement.ends_at.map(timestamptz);
    let management = account.management_key.as_ref();
    let sealed_management_key = management.map(|key| key.sealed.as_bytes());
    let management_key_fingerprint = management.map(|key| key.fingerprint.as_str());
    sqlx::query!(
        "UPDATE master_accounts SET name = $2, base_url = $3, discount = $4::text::numeric, discount_basis = $5, status = $6,
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
async fn all(connection: &mut PgConnection) -> Result<Vec<MasterAccount>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT a.id, a.name, a.kind, a.base_url, a.discount::text AS "discount!", a.discount_basis, a.status, a.drains,
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
            let id = MasterAccountId::new(row.id);
            let basis = DiscountBasis::from_name(&row.discount_basis)
                .ok_or_else(|| column("discount_basis").corrupt(id))?;
            let fraction = column("discount").decimal(&row.discount, id)?;
            let credit = match (row.bought_nanos, row.used_nanos, row.seen_at) {
                (Some(bought), Some(used), Some(seen_at)) => Some(CreditReading {
                    bought: Nanos::new(bought),
                    used: Nanos::new(used),
                    pace: row.pace_nanos.map(Nanos::new),
                    seen_at: Timestamp::from(seen_at),
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
                weight: Weight::new(row.weight.into())
                    .ok_or_else(|| column("weight").corrupt(id))?,
                most_share: row
                    .most_share_percent
                    .map(|percent| {
                        MostShare::percent(percent.into())
                            .ok_or_else(|| column("most_share_percent").corrupt(id))
                    })
                    .transpose()?,
                agreement: Agreement {
                    reference: row.agreement,
                    ends_at: row.agreement_ends_at.map(Timestamp::from),
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
    connection: &mut PgConnection,
    accounts: &mut [MasterAccount],
) -> Result<(), StoreError> {
    let rows = sqlx::query!(
        "SELECT id, master_account_id, sealed_key, fingerprint FROM master_account_keys ORDER BY seq"
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    for row in rows {
        let owner = row.master_account_id;
        let key = MasterAccountKey {
            id: row.id,
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
