//! Clients as the operator sees and changes them.

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, Nanos, Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::client_admin::{
    AccountStatus, Booked, Booking, Changed, ClientAdmin, ClientQuery, ClientRecord, ClientSettings,
};
use airouter_store::clients::{Balance, NewKey, NewPerson};
use airouter_store::logins::SessionEnd;
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::connection::{begin, failed};
use crate::convert::{Column, LimitColumns};
use crate::open::SqliteStore;
use crate::{audit, booking, keys, people};

#[async_trait]
impl ClientAdmin for SqliteStore {
    async fn list_clients(&self, query: &ClientQuery) -> Result<Vec<ClientRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        clients(&mut reader, query, None).await
    }

    async fn client(&self, account: AccountId) -> Result<Option<ClientRecord>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        one(&mut reader, account).await
    }

    async fn create_client(
        &self,
        person: &NewPerson,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        people::insert_person(&mut transaction, person).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn create_client_key(
        &self,
        account: AccountId,
        key: &NewKey,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        keys::insert(&mut transaction, account, None, key, audit.at).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn book(&self, booking: &Booking) -> Result<Booked, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let booked = booking::book(&mut transaction, booking).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(booked)
    }

    async fn set_client_status(
        &self,
        account: AccountId,
        status: AccountStatus,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let before = one(&mut transaction, account)
            .await?
            .ok_or(StoreError::NotFound {
                what: "the account",
            })?;
        set_status(&mut transaction, account, status, audit.at).await?;
        let told = audit.of_change("status", before.status.name(), status.name());
        audit::append(&mut transaction, &told).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn change_client(
        &self,
        account: AccountId,
        expected: &ClientSettings,
        settings: &ClientSettings,
        audit: &AuditEntry,
    ) -> Result<Changed, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let changed = change(&mut transaction, account, expected, settings).await?;
        if changed == Changed::Yes {
            audit::append(&mut transaction, audit).await?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(changed)
    }
}

pub(crate) async fn one(
    connection: &mut SqliteConnection,
    account: AccountId,
) -> Result<Option<ClientRecord>, StoreError> {
    let query = ClientQuery {
        limit: 1,
        ..ClientQuery::default()
    };
    let found = clients(connection, &query, Some(account)).await?;
    Ok(found.into_iter().next())
}

async fn clients(
    connection: &mut SqliteConnection,
    query: &ClientQuery,
    only: Option<AccountId>,
) -> Result<Vec<ClientRecord>, StoreError> {
    let only = only.map(AccountId::get);
    let after = query.after.map(AccountId::get);
    let limit = i64::from(query.limit);
    let rows = sqlx::query!(
        r#"SELECT a.id, a.kind, a.name, u.id AS "user_id?", u.email AS "email?", a.mode, a.status, plans.name AS plan,
            a.tier, a.requests_per_minute, a.tokens_per_minute, a.concurrent_requests, a.created_at, b.balance_nanos,
            b.reserved_nanos, b.credit_line_nanos, b.lifetime_spent_nanos, b.lifetime_earned_nanos
        FROM accounts a JOIN plans ON plans.id = a.plan_id JOIN balances b ON b.account_id = a.id
        LEFT JOIN persons p ON p.account_id = a.id LEFT JOIN users u ON u.id = p.user_id
        WHERE ($1 IS NULL OR a.id = $1)
            AND ($2 IS NULL OR instr(lower(a.name), lower($2)) > 0 OR instr(lower(u.email), lower($2)) > 0)
            AND ($3 IS NULL OR a.id > $3)
        ORDER BY a.id LIMIT $4"#,
        only,
        query.search,
        after,
        limit
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let account = AccountId::new(Column::new("accounts", "id").uuid(&row.id)?);
            let corrupt = |name| Column::new("accounts", name).corrupt(account);
            let user = row.user_id.map(|id| Column::new("users", "id").uuid(&id));
            let limits = LimitColumns {
                requests_per_minute: row.requests_per_minute,
                tokens_per_minute: row.tokens_per_minute,
                concurrent_requests: row.concurrent_requests,
            };
            Ok(ClientRecord {
                account,
                kind: row.kind,
                name: row.name,
                login: user.transpose()?.map(UserId::new).zip(row.email),
                payment: Payment::from_name(&row.mode).ok_or_else(|| corrupt("mode"))?,
                status: AccountStatus::from_name(&row.status).ok_or_else(|| corrupt("status"))?,
                settings: ClientSettings {
                    plan: row.plan,
                    tier: row.tier,
                    credit_line: Nanos::new(row.credit_line_nanos),
                    limits: limits.into(),
                },
                balance: Balance {
                    balance: Nanos::new(row.balance_nanos),
                    reserved: Nanos::new(row.reserved_nanos),
                    credit_line: Nanos::new(row.credit_line_nanos),
                    lifetime_spent: Nanos::new(row.lifetime_spent_nanos),
                    lifetime_earned: Nanos::new(row.lifetime_earned_nanos),
                },
                created_at: Timestamp::from_micros(row.created_at),
            })
        })
        .collect()
}

async fn is_erased(
    connection: &mut SqliteConnection,
    account: AccountId,
) -> Result<bool, StoreError> {
    let account = account.get();
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
            SELECT 1 FROM persons p JOIN users u ON u.id = p.user_id
            WHERE p.account_id = $1 AND u.erased_at IS NOT NULL
        ) AS "is_erased!: bool""#,
        account
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

async fn set_status(
    connection: &mut SqliteConnection,
    account: AccountId,
    status: AccountStatus,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (id, name, at) = (account.get(), status.name(), at.as_micros());
    if status == AccountStatus::Active && is_erased(connection, account).await? {
        return Err(StoreError::NotFound { what: "the person" });
    }
    sqlx::query!("UPDATE accounts SET status = $2 WHERE id = $1", id, name)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query!(
        "UPDATE users SET status = $2, updated_at = $3
        WHERE id = (SELECT user_id FROM persons WHERE account_id = $1)",
        id,
        name,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if status == AccountStatus::Active {
        return Ok(());
    }
    let why = SessionEnd::Disabled.name();
    sqlx::query!(
        "UPDATE sessions SET ended_at = $2, end_reason = $3
        WHERE user_id = (SELECT user_id FROM persons WHERE account_id = $1) AND ended_at IS NULL AND expires_at > $2",
        id,
        at,
        why
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn change(
    connection: &mut SqliteConnection,
    account: AccountId,
    expected: &ClientSettings,
    settings: &ClientSettings,
) -> Result<Changed, StoreError> {
    let found = one(connection, account)
        .await?
        .ok_or(StoreError::NotFound {
            what: "the account",
        })?;
    if found.settings != *expected {
        return Ok(Changed::Conflict);
    }
    people::check_tier(connection, settings.tier.as_deref()).await?;
    let plan = sqlx::query_scalar!("SELECT id FROM plans WHERE name = $1", settings.plan)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?
        .ok_or(StoreError::NotFound { what: "the plan" })?;
    let id = account.get();
    if settings.credit_line != expected.credit_line {
        let line = settings.credit_line.get();
        let lent = sqlx::query!(
            "UPDATE balances SET credit_line_nanos = $2
            WHERE account_id = $1 AND balance_nanos + $2 - reserved_nanos >= 0",
            id,
            line
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        if lent.rows_affected() == 0 {
            return Ok(Changed::CreditLineInUse);
        }
    }
    let limits = LimitColumns::from(settings.limits);
    sqlx::query!(
        "UPDATE accounts SET plan_id = $2, tier = $3, requests_per_minute = $4, tokens_per_minute = $5,
            concurrent_requests = $6
        WHERE id = $1",
        id,
        plan,
        settings.tier,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(Changed::Yes)
}
