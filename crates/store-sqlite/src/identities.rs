//! Identities of logins at providers.

use airouter_auth::TokenHash;
use airouter_billing::{AccountId, Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::audit::AuditEntry;
use airouter_store::clients::NewPerson;
use airouter_store::identities::{
    Identities, IdentityRecord, KnownLogin, KnownLogins, LinkGround, NewIdentity,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::{begin, failed, insert_failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{audit, invitations, people};

struct Row {
    user_id: Vec<u8>,
    account_id: Vec<u8>,
    email: String,
    email_verified: i64,
    status: String,
}

impl Row {
    fn read(self) -> Result<KnownLogin, StoreError> {
        Ok(KnownLogin {
            user: UserId::new(Column::new("users", "id").uuid(&self.user_id)?),
            account: AccountId::new(Column::new("persons", "account_id").uuid(&self.account_id)?),
            email: self.email,
            email_verified: self.email_verified != 0,
            is_active: self.status == "active",
        })
    }
}

#[async_trait]
impl Identities for SqliteStore {
    async fn known_logins(
        &self,
        issuer: &str,
        subject: &str,
        email: Option<&str>,
    ) -> Result<KnownLogins, StoreError> {
        let linked = sqlx::query_as!(
            Row,
            "SELECT u.id AS user_id, p.account_id, u.email, u.email_verified, u.status
            FROM user_identities i JOIN users u ON u.id = i.user_id JOIN persons p ON p.user_id = u.id
            WHERE i.issuer = $1 AND i.subject = $2",
            issuer,
            subject
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        let of_email = sqlx::query_as!(
            Row,
            "SELECT u.id AS user_id, p.account_id, u.email, u.email_verified, u.status
            FROM users u JOIN persons p ON p.user_id = u.id WHERE u.email = $1",
            email
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(failed)?;
        Ok(KnownLogins {
            linked: linked.map(Row::read).transpose()?,
            of_email: of_email.map(Row::read).transpose()?,
        })
    }

    async fn register_identity(
        &self,
        person: &NewPerson,
        identity: &NewIdentity,
        invitation: Option<&TokenHash>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        if let Some(code) = invitation {
            invitations::use_up(&mut transaction, person, code).await?;
        }
        people::insert_person(&mut transaction, person).await?;
        let user = person.user.get();
        sqlx::query!("UPDATE users SET email_verified = 1 WHERE id = $1", user)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        insert(&mut transaction, person.user, identity, LinkGround::Session).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn link_identity(
        &self,
        user: UserId,
        identity: &NewIdentity,
        ground: LinkGround<'_>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        insert(&mut transaction, user, identity, ground).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn identities(&self, user: UserId) -> Result<Vec<IdentityRecord>, StoreError> {
        let user = user.get();
        let rows = sqlx::query!(
            "SELECT id, issuer, email, created_at FROM user_identities WHERE user_id = $1 ORDER BY created_at, id",
            user
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                Ok(IdentityRecord {
                    id: Column::new("user_identities", "id").uuid(&row.id)?,
                    issuer: row.issuer,
                    email: row.email,
                    created_at: Timestamp::from_micros(row.created_at),
                })
            })
            .collect()
    }

    async fn unlink_identity(
        &self,
        user: UserId,
        identity: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        remove(&mut transaction, user, identity).await?;
        audit::append(&mut transaction, audit).await?;
        transaction.commit().await.map_err(failed)
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    user: UserId,
    identity: &NewIdentity,
    ground: LinkGround<'_>,
) -> Result<(), StoreError> {
    let (user, at) = (user.get(), identity.at.as_micros());
    let verified_email = match ground {
        LinkGround::Session => None,
        LinkGround::VerifiedEmail(email) => Some(email),
    };
    let inserted = sqlx::query!(
        "INSERT INTO user_identities (id, user_id, issuer, subject, email, created_at)
        SELECT $1, users.id, $3, $4, $5, $6 FROM users
        WHERE users.id = $2 AND users.status = 'active'
            AND ($7 IS NULL OR (users.email = $7 AND users.email_verified = 1))",
        identity.id,
        user,
        identity.issuer,
        identity.subject,
        identity.email,
        at,
        verified_email
    )
    .execute(connection)
    .await
    .map_err(|error| insert_failed(error, "the identity"))?;
    if inserted.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "the user" });
    }
    Ok(())
}

async fn remove(
    connection: &mut SqliteConnection,
    user: UserId,
    identity: Uuid,
) -> Result<(), StoreError> {
    let user = user.get();
    let removed = sqlx::query!(
        "DELETE FROM user_identities WHERE id = $1 AND user_id = $2",
        identity,
        user
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if removed.rows_affected() == 0 {
        return Err(StoreError::NotFound {
            what: "the identity",
        });
    }
    let others = sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM user_identities WHERE user_id = $1)
            + (SELECT count(password_hash) FROM users WHERE id = $1) AS "others!: i64""#,
        user
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    if others == 0 {
        return Err(StoreError::InUse {
            what: "the identity",
        });
    }
    Ok(())
}
