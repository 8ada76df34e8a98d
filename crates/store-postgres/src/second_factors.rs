//! Second factors of logins. Whoever changes recovery codes locks their second factor first.

use airouter_auth::{SealedSecret, TimeStep, TokenHash};
use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::second_factors::{ConfirmedFactor, FactorState, SecondFactor, SecondFactors};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::audit;
use crate::connection::failed;
use crate::convert::timestamptz;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;

const NO_FACTOR: StoreError = StoreError::NotFound {
    what: "the second factor",
};

#[async_trait]
impl SecondFactors for PostgresStore {
    async fn second_factor(&self, user: UserId) -> Result<Option<SecondFactor>, StoreError> {
        self.on_pool(async |connection| find(connection, user).await)
            .await
    }

    async fn begin_second_factor(
        &self,
        user: UserId,
        secret: &SealedSecret,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| start(connection, user, secret, at).await)
            .await
    }

    async fn confirm_second_factor(
        &self,
        factor: &ConfirmedFactor,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = confirm(&mut transaction, factor, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn use_time_step(&self, user: UserId, step: TimeStep) -> Result<bool, StoreError> {
        self.on_pool(async |connection| use_step(connection, user, step).await)
            .await
    }

    async fn use_recovery_code(
        &self,
        user: UserId,
        code: &TokenHash,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let used = use_code(&mut transaction, user, code, audit).await;
            finish(transaction, used).await
        })
        .await
    }

    async fn replace_recovery_codes(
        &self,
        user: UserId,
        codes: &[TokenHash],
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = replace_codes(&mut transaction, user, codes, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn remove_second_factor(
        &self,
        user: UserId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = remove(&mut transaction, user, audit).await;
            finish(transaction, done).await
        })
        .await
    }
}

async fn find(
    connection: &mut PgConnection,
    user: UserId,
) -> Result<Option<SecondFactor>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT sealed_secret, confirmed_at,
            (SELECT count(*) FROM recovery_codes c WHERE c.user_id = f.user_id) AS "recovery_codes!"
        FROM second_factors f WHERE user_id = $1"#,
        user.get()
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    Ok(row.map(|row| SecondFactor {
        secret: SealedSecret::from_bytes(row.sealed_secret),
        state: match row.confirmed_at {
            None => FactorState::Pending,
            Some(since) => FactorState::On {
                since: Timestamp::from(since),
                recovery_codes: row.recovery_codes,
            },
        },
    }))
}

async fn start(
    connection: &mut PgConnection,
    user: UserId,
    secret: &SealedSecret,
    at: Timestamp,
) -> Result<(), StoreError> {
    let begun = sqlx::query!(
        "INSERT INTO second_factors AS f (user_id, sealed_secret, created_at) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE SET sealed_secret = $2, created_at = $3 WHERE f.confirmed_at IS NULL",
        user.get(),
        secret.as_bytes(),
        timestamptz(at)
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    if begun.rows_affected() == 0 {
        return Err(StoreError::Exists {
            what: "a second factor",
        });
    }
    Ok(())
}

async fn confirm(
    connection: &mut PgConnection,
    factor: &ConfirmedFactor,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let confirmed = sqlx::query!(
        "UPDATE second_factors SET confirmed_at = $3, last_step = $4
        WHERE user_id = $1 AND sealed_secret = $2 AND confirmed_at IS NULL",
        factor.user.get(),
        factor.secret.as_bytes(),
        timestamptz(entry.at),
        factor.step.get()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if confirmed.rows_affected() == 0 {
        return Err(NO_FACTOR);
    }
    insert_codes(connection, factor.user, &factor.recovery_codes).await?;
    audit::append(connection, entry).await
}

async fn use_step(
    connection: &mut PgConnection,
    user: UserId,
    step: TimeStep,
) -> Result<bool, StoreError> {
    let used = sqlx::query!(
        "UPDATE second_factors SET last_step = $2
        WHERE user_id = $1 AND last_step < $2 AND confirmed_at IS NOT NULL",
        user.get(),
        step.get()
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(used.rows_affected() > 0)
}

async fn use_code(
    connection: &mut PgConnection,
    user: UserId,
    code: &TokenHash,
    entry: &AuditEntry,
) -> Result<bool, StoreError> {
    lock(connection, user).await?;
    let used = sqlx::query!(
        "DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2",
        user.get(),
        code.as_bytes().as_slice()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if used.rows_affected() == 0 {
        return Ok(false);
    }
    audit::append(connection, entry).await?;
    Ok(true)
}

async fn replace_codes(
    connection: &mut PgConnection,
    user: UserId,
    codes: &[TokenHash],
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    if lock(connection, user).await? == Locked::Nothing {
        return Err(NO_FACTOR);
    }
    delete_codes(connection, user).await?;
    insert_codes(connection, user, codes).await?;
    audit::append(connection, entry).await
}

async fn remove(
    connection: &mut PgConnection,
    user: UserId,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    lock(connection, user).await?;
    delete_codes(connection, user).await?;
    let removed = sqlx::query!("DELETE FROM second_factors WHERE user_id = $1", user.get())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if removed.rows_affected() == 0 {
        return Err(NO_FACTOR);
    }
    audit::append(connection, entry).await
}

/// Whether there is a second factor that is on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locked {
    Nothing,
    On,
}

async fn lock(connection: &mut PgConnection, user: UserId) -> Result<Locked, StoreError> {
    let confirmed_at = sqlx::query_scalar!(
        "SELECT confirmed_at FROM second_factors WHERE user_id = $1 FOR UPDATE",
        user.get()
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .flatten();
    Ok(match confirmed_at {
        Some(_) => Locked::On,
        None => Locked::Nothing,
    })
}

async fn insert_codes(
    connection: &mut PgConnection,
    user: UserId,
    codes: &[TokenHash],
) -> Result<(), StoreError> {
    let hashes: Vec<Vec<u8>> = codes.iter().map(|code| code.as_bytes().to_vec()).collect();
    sqlx::query!(
        "INSERT INTO recovery_codes (user_id, code_hash) SELECT $1, unnest($2::bytea[])",
        user.get(),
        &hashes
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

async fn delete_codes(connection: &mut PgConnection, user: UserId) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM recovery_codes WHERE user_id = $1", user.get())
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}
