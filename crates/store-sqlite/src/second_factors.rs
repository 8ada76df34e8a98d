//! Second factors of logins.

use airouter_auth::{SealedSecret, TimeStep, TokenHash};
use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::second_factors::{ConfirmedFactor, FactorState, SecondFactor, SecondFactors};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::audit;
use crate::connection::{begin, failed};
use crate::open::SqliteStore;

const NO_FACTOR: StoreError = StoreError::NotFound {
    what: "the second factor",
};

#[async_trait]
impl SecondFactors for SqliteStore {
    async fn second_factor(&self, user: UserId) -> Result<Option<SecondFactor>, StoreError> {
        let user = user.get();
        let row = sqlx::query!(
            r#"SELECT sealed_secret, confirmed_at,
                (SELECT count(*) FROM recovery_codes c WHERE c.user_id = f.user_id) AS "recovery_codes!: i64"
            FROM second_factors f WHERE user_id = $1"#,
            user
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        Ok(row.map(|row| SecondFactor {
            secret: SealedSecret::from_bytes(row.sealed_secret),
            state: match row.confirmed_at {
                None => FactorState::Pending,
                Some(since) => FactorState::On {
                    since: Timestamp::from_micros(since),
                    recovery_codes: row.recovery_codes,
                },
            },
        }))
    }

    async fn begin_second_factor(
        &self,
        user: UserId,
        secret: &SealedSecret,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (user, secret, at) = (user.get(), secret.as_bytes(), at.as_micros());
        let mut writer = self.writer().await?;
        let begun = sqlx::query!(
            "INSERT INTO second_factors (user_id, sealed_secret, created_at) VALUES ($1, $2, $3)
            ON CONFLICT (user_id) DO UPDATE SET sealed_secret = $2, created_at = $3 WHERE confirmed_at IS NULL",
            user,
            secret,
            at
        )
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
        if begun.rows_affected() == 0 {
            return Err(StoreError::Exists {
                what: "a second factor",
            });
        }
        Ok(())
    }

    async fn confirm_second_factor(
        &self,
        factor: &ConfirmedFactor,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let (user, secret) = (factor.user.get(), factor.secret.as_bytes());
        let (step, at) = (factor.step.get(), audit.at.as_micros());
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let confirmed = sqlx::query!(
            "UPDATE second_factors SET confirmed_at = $3, last_step = $4
            WHERE user_id = $1 AND sealed_secret = $2 AND confirmed_at IS NULL",
            user,
            secret,
            at,
            step
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if confirmed.rows_affected() == 0 {
            return Err(NO_FACTOR);
        }
        insert_codes(&mut transaction, factor.user, &factor.recovery_codes).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn use_time_step(&self, user: UserId, step: TimeStep) -> Result<bool, StoreError> {
        let (user, step) = (user.get(), step.get());
        let mut writer = self.writer().await?;
        let used = sqlx::query!(
            "UPDATE second_factors SET last_step = $2
            WHERE user_id = $1 AND last_step < $2 AND confirmed_at IS NOT NULL",
            user,
            step
        )
        .execute(&mut *writer)
        .await
        .map_err(failed)?;
        Ok(used.rows_affected() > 0)
    }

    async fn use_recovery_code(
        &self,
        user: UserId,
        code: &TokenHash,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError> {
        let (user, code) = (user.get(), code.as_bytes().as_slice());
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let used = sqlx::query!(
            "DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2",
            user,
            code
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if used.rows_affected() == 0 {
            return Ok(false);
        }
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(true)
    }

    async fn replace_recovery_codes(
        &self,
        user: UserId,
        codes: &[TokenHash],
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let id = user.get();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        sqlx::query!(
            "SELECT created_at FROM second_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL",
            id
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?
        .ok_or(NO_FACTOR)?;
        delete_codes(&mut transaction, user).await?;
        insert_codes(&mut transaction, user, codes).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn remove_second_factor(
        &self,
        user: UserId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let id = user.get();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        delete_codes(&mut transaction, user).await?;
        let removed = sqlx::query!("DELETE FROM second_factors WHERE user_id = $1", id)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if removed.rows_affected() == 0 {
            return Err(NO_FACTOR);
        }
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }
}

async fn insert_codes(
    connection: &mut SqliteConnection,
    user: UserId,
    codes: &[TokenHash],
) -> Result<(), StoreError> {
    let user = user.get();
    for code in codes {
        let code = code.as_bytes().as_slice();
        sqlx::query!(
            "INSERT INTO recovery_codes (user_id, code_hash) VALUES ($1, $2)",
            user,
            code
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

async fn delete_codes(connection: &mut SqliteConnection, user: UserId) -> Result<(), StoreError> {
    let user = user.get();
    sqlx::query!("DELETE FROM recovery_codes WHERE user_id = $1", user)
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}
