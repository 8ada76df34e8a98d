//! Invitations to register.

use airouter_auth::TokenHash;
use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::NewPerson;
use airouter_store::invitations::{InvitationRecord, Invitations, NewInvitation};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{audit, people};

#[async_trait]
impl Invitations for SqliteStore {
    async fn invite(
        &self,
        invitation: &NewInvitation,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let (at, expires_at) = (invitation.at.as_micros(), invitation.expires_at.as_micros());
        let code = invitation.code.as_bytes().as_slice();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        sqlx::query!(
            "INSERT INTO invitations (id, code_hash, email, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
            invitation.id,
            code,
            invitation.email,
            at,
            expires_at
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn invitations(
        &self,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<InvitationRecord>, StoreError> {
        let limit = i64::from(limit);
        let rows = sqlx::query!(
            "SELECT id, email, created_at, expires_at, used_at, used_by, revoked_at FROM invitations
            WHERE $1 IS NULL OR id > $1 ORDER BY id LIMIT $2",
            after,
            limit
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                let used_by = row
                    .used_by
                    .map(|id| Column::new("invitations", "used_by").uuid(&id))
                    .transpose()?;
                Ok(InvitationRecord {
                    id: Column::new("invitations", "id").uuid(&row.id)?,
                    email: row.email,
                    created_at: Timestamp::from_micros(row.created_at),
                    expires_at: Timestamp::from_micros(row.expires_at),
                    used: row
                        .used_at
                        .map(Timestamp::from_micros)
                        .zip(used_by.map(UserId::new)),
                    revoked_at: row.revoked_at.map(Timestamp::from_micros),
                })
            })
            .collect()
    }

    async fn revoke_invitation(&self, id: Uuid, audit: &AuditEntry) -> Result<(), StoreError> {
        let at = audit.at.as_micros();
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let revoked = sqlx::query!(
            "UPDATE invitations SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 AND used_at IS NULL",
            id,
            at
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if revoked.rows_affected() == 0 {
            return Err(StoreError::NotFound {
                what: "the invitation",
            });
        }
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn register_invited(
        &self,
        person: &NewPerson,
        code: &TokenHash,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        use_up(&mut transaction, person, code).await?;
        people::insert_person(&mut transaction, person).await?;
        transaction.commit().await.map_err(failed)
    }
}

/// Uses up the invitation with this code, if it holds for the person.
pub(crate) async fn use_up(
    connection: &mut SqliteConnection,
    person: &NewPerson,
    code: &TokenHash,
) -> Result<(), StoreError> {
    let code = code.as_bytes().as_slice();
    let (user, at) = (person.user.get(), person.at.as_micros());
    let used = sqlx::query!(
        "UPDATE invitations SET used_at = $3, used_by = $2
        WHERE code_hash = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $3
            AND (email IS NULL OR lower(email) = lower($4))",
        code,
        user,
        at,
        person.email
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    if used.rows_affected() == 0 {
        return Err(StoreError::NotFound {
            what: "the invitation",
        });
    }
    Ok(())
}
