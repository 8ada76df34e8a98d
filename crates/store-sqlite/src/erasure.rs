//! Erasing a person.

use airouter_billing::{AccountId, Nanos, Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::{AuditEntry, AuditRecord};
use airouter_store::erasure::{ERASE, ERASED, Erased, Erasure, Remains, erased_email};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{audit, client_admin};

#[async_trait]
impl Erasure for SqliteStore {
    async fn erase_client(
        &self,
        account: AccountId,
        entry: &AuditEntry,
    ) -> Result<Erased, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let erased = erase(&mut transaction, account, entry).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(erased)
    }
}

/// Who is erased.
struct Person {
    account: Uuid,
    user: Uuid,
    email: String,
}

async fn erase(
    connection: &mut SqliteConnection,
    account: AccountId,
    entry: &AuditEntry,
) -> Result<Erased, StoreError> {
    let id = account.get();
    if client_admin::one(connection, account).await?.is_none() {
        return Err(StoreError::NotFound {
            what: "the account",
        });
    }
    let found = sqlx::query!(
        r#"SELECT u.id, u.email, u.role, u.erased_at IS NOT NULL AS "is_erased!: bool"
        FROM persons p JOIN users u ON u.id = p.user_id WHERE p.account_id = $1"#,
        id
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let Some(found) = found.filter(|found| !found.is_erased) else {
        return Ok(Erased::NoPerson);
    };
    if found.role != "client" {
        return Ok(Erased::Administrator);
    }
    if is_last_owner(connection, account).await? {
        return Ok(Erased::LastOwner);
    }
    let balance = sqlx::query_scalar!(
        "SELECT balance_nanos FROM balances WHERE account_id = $1",
        id
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if balance != 0 {
        return Ok(Erased::BalanceLeft(Nanos::new(balance)));
    }
    let person = Person {
        account: id,
        user: Column::new("users", "id").uuid(&found.id)?,
        email: found.email,
    };
    let at = entry.at.as_micros();
    erase_login(connection, &person, at).await?;
    erase_proofs(connection, &person).await?;
    erase_access(connection, &person, at).await?;
    erase_invitations(connection, &person, at).await?;
    let remains = erase_entries(connection, &person).await?;
    let told = AuditEntry {
        after: Some(remains.told()),
        ..entry.clone()
    };
    audit::append(connection, &told).await?;
    Ok(Erased::Yes)
}

/// Whether an organization has no other owner.
async fn is_last_owner(
    connection: &mut SqliteConnection,
    account: AccountId,
) -> Result<bool, StoreError> {
    let id = account.get();
    let owned = sqlx::query_scalar!(
        "SELECT organization_id FROM memberships
        WHERE person_id = $1 AND role = 'owner' AND ended_at IS NULL",
        id
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    for organization in owned {
        let others = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                SELECT 1 FROM memberships
                WHERE organization_id = $1 AND person_id <> $2 AND role = 'owner' AND ended_at IS NULL
            ) AS "others!: bool""#,
            organization,
            id
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
        if !others {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn erase_login(
    connection: &mut SqliteConnection,
    person: &Person,
    at: i64,
) -> Result<(), StoreError> {
    let nobody = erased_email(UserId::new(person.user));
    sqlx::query!(
        "UPDATE users SET email = $2, email_verified = false, name = $3, image = NULL, password_hash = NULL, locale = NULL,
            utm_source = NULL, signup_address = NULL, status = 'disabled', updated_at = $4, erased_at = $4
        WHERE id = $1",
        person.user,
        nobody,
        ERASED,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE accounts SET name = $2, status = 'disabled' WHERE id = $1",
        person.account,
        ERASED
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!("DELETE FROM impersonations WHERE user_id = $1", person.user)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query!("DELETE FROM sessions WHERE user_id = $1", person.user)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query!(
        "DELETE FROM idempotent_bookings WHERE user_id = $1",
        person.user
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// What else a login is proved by, and what was mailed for that.
async fn erase_proofs(
    connection: &mut SqliteConnection,
    person: &Person,
) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM recovery_codes WHERE user_id = $1", person.user)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query!("DELETE FROM second_factors WHERE user_id = $1", person.user)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query!(
        "DELETE FROM user_identities WHERE user_id = $1",
        person.user
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "DELETE FROM mailed_tokens WHERE user_id = $1 OR email = $2",
        person.user,
        person.email
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Keys, what was answered to them, operator tokens and memberships.
async fn erase_access(
    connection: &mut SqliteConnection,
    person: &Person,
    at: i64,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE memberships SET ended_at = $2 WHERE person_id = $1 AND ended_at IS NULL",
        person.account,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE api_keys SET name = $2, allowed_addresses = NULL, revoked_at = coalesce(revoked_at, $3) WHERE account_id = $1",
        person.account,
        ERASED,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE idempotency_keys SET sealed_answer = NULL
        WHERE sealed_answer IS NOT NULL AND EXISTS (
            SELECT 1 FROM request_logs request JOIN api_keys k ON k.id = request.api_key_id
            WHERE request.id = idempotency_keys.request_id AND k.account_id = $1
        )",
        person.account
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE operator_tokens SET name = $2, revoked_at = coalesce(revoked_at, $3) WHERE user_id = $1",
        person.user,
        ERASED,
        at
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// An open one that names nobody would be good for anybody: it ends.
async fn erase_invitations(
    connection: &mut SqliteConnection,
    person: &Person,
    at: i64,
) -> Result<(), StoreError> {
    let nobody = erased_email(UserId::new(person.user));
    sqlx::query!(
        "UPDATE invitations
        SET email = $3, revoked_at = CASE WHEN used_at IS NULL THEN coalesce(revoked_at, $4) ELSE revoked_at END
        WHERE lower(email) = lower($1) OR (used_by = $2 AND email IS NOT NULL)",
        person.email,
        person.user,
        nobody,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE organization_invitations
        SET email = $3, revoked_at = CASE WHEN accepted_at IS NULL THEN coalesce(revoked_at, $4) ELSE revoked_at END
        WHERE lower(email) = lower($1) OR accepted_by = $2",
        person.email,
        person.account,
        nobody,
        at
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Erases the entries of the audit log that have something of the person; what is left of those that were not erased before.
async fn erase_entries(
    connection: &mut SqliteConnection,
    person: &Person,
) -> Result<Remains, StoreError> {
    let number = sqlx::query_scalar!("SELECT number + 1 AS \"number!: i64\" FROM audit_head")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let rows = sqlx::query!(
        r#"SELECT number, at, actor_id, action, subject_id, after, hash, erased_by FROM audit_log
        WHERE actor_id = $1 OR subject_id IN ($1, $2)
            OR subject_id IN (SELECT id FROM api_keys WHERE account_id = $2)
            OR subject_id IN (SELECT id FROM memberships WHERE person_id = $2)
            OR instr(lower(coalesce(reason, '') || ' ' || coalesce(before, '') || ' ' || coalesce(after, '')), lower($3)) > 0
        ORDER BY number"#,
        person.user,
        person.account,
        person.email
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let numbers: Vec<i64> = rows.iter().map(|row| row.number).collect();
    let numbers = serde_json::json!(numbers).to_string();
    let mut remains = Remains::default();
    for row in rows.into_iter().filter(|row| row.erased_by.is_none()) {
        let column = |name| Column::new("audit_log", name);
        let subject = column("subject_id").uuid(&row.subject_id)?;
        let actor = row.actor_id.map(|id| column("actor_id").uuid(&id));
        let mut entry =
            AuditEntry::new(ERASED, &row.action, subject, Timestamp::from_micros(row.at));
        entry.actor_id = actor.transpose()?.map(UserId::new);
        entry.after = row.after;
        remains.add(&AuditRecord {
            number: row.number,
            hash: audit::hash(&row.hash, row.number)?,
            entry,
            salt: None,
            erased_by: Some(number),
        });
    }
    sqlx::query!(
        "UPDATE audit_log SET actor = CASE WHEN actor_id = $2 THEN $3 ELSE actor END,
            address = CASE WHEN actor_id = $2 THEN NULL ELSE address END,
            salt = NULL, reason = NULL, before = NULL, after = CASE action WHEN $4 THEN after END,
            erased_by = coalesce(erased_by, $5)
        WHERE number IN (SELECT value FROM json_each($1))",
        numbers,
        person.user,
        ERASED,
        ERASE,
        number
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(remains)
}
