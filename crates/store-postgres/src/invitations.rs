//! Invitations to register.

use airouter_auth::TokenHash;
use airouter_billing::{Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::NewPerson;
use airouter_store::invitations::{InvitationRecord, Invitations, NewInvitation};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::failed;
use crate::convert::timestamptz;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;
use crate::{audit, people};

#[async_trait]
impl Invitations for PostgresStore {
    async fn invite(
        &self,
        invitation: &NewInvitation,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = invite(&mut transaction, invitation, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn invitations(
        &self,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<InvitationRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query!(
                    "SELECT id, email, created_at, expires_at, used_at, used_by, revoked_at FROM invitations
                    WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2",
                    after,
                    i64::from(limit)
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| InvitationRecord {
                id: row.id,
                email: row.email,
                created_at: Timestamp::from(row.created_at),
                expires_at: Timestamp::from(row.expires_at),
                used: row
                    .used_at
                    .map(Timestamp::from)
                    .zip(row.used_by.map(UserId::new)),
                revoked_at: row.revoked_at.map(Timestamp::from),
            })
            .collect())
    }

    async fn revoke_invitation(&self, id: Uuid, audit: &AuditEntry) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = revoke(&mut transaction, id, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn register_invited(
        &self,
        person: &NewPerson,
        code: &TokenHash,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = register(&mut transaction, person, code).await;
            finish(transaction, done).await
        })
        .await
    }
}

async fn invite(
    connection: &mut PgConnection,
    invitation: &NewInvitation,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO invitations (id, code_hash, email, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        invitation.id,
        invitation.code.as_bytes().as_slice(),
        invitation.email,
        timestamptz(invitation.at),
        timestamptz(invitation.expires_at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    audit::append(connection, entry).await
}

async fn revoke(
    connection: &mut PgConnection,
    id: Uuid,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let revoked = sqlx::query!(
        "UPDATE invitations SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 AND used_at IS NULL",
        id,
        timestamptz(entry.at)
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if revoked.rows_affected() == 0 {
        return Err(StoreError::NotFound {
            what: "the invitation",
        });
    }
    audit::append(connection, entry).await
}

async fn register(
    connection: &mut PgConnection,
    person: &NewPerson,
    code: &TokenHash,
) -> Result<(), StoreError> {
    use_up(connection, person, code).await?;
    people::insert_person(connection, person).await
}

/// Uses up the invitation with this code, if it holds for the person.
pub(crate) async fn use_up(
    connection: &mut PgConnection,
    person: &NewPerson,
    code: &TokenHash,
) -> Result<(), StoreError> {
    let used = sqlx::query!(
        "UPDATE invitations SET used_at = $3, used_by = $2
        WHERE code_hash = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $3
            AND (email IS NULL OR lower(email) = lower($4))",
        code.as_bytes().as_slice(),
        person.user.get(),
        timestamptz(person.at),
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
