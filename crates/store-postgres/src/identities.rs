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
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connection::{failed, insert_failed};
use crate::convert::timestamptz;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;
use crate::{audit, invitations, people};

struct Row {
    user_id: Uuid,
    account_id: Uuid,
    email: String,
    email_verified: bool,
    status: String,
}

impl From<Row> for KnownLogin {
    fn from(row: Row) -> Self {
        Self {
            user: UserId::new(row.user_id),
            account: AccountId::new(row.account_id),
            email: row.email,
            email_verified: row.email_verified,
            is_active: row.status == "active",
        }
    }
}

#[async_trait]
impl Identities for PostgresStore {
    async fn known_logins(
        &self,
        issuer: &str,
        subject: &str,
        email: Option<&str>,
    ) -> Result<KnownLogins, StoreError> {
        self.on_pool(async |connection| known_logins(connection, (issuer, subject), email).await)
            .await
    }

    async fn register_identity(
        &self,
        person: &NewPerson,
        identity: &NewIdentity,
        invitation: Option<&TokenHash>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = register(&mut transaction, person, identity, invitation, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn link_identity(
        &self,
        user: UserId,
        identity: &NewIdentity,
        ground: LinkGround<'_>,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = link(&mut transaction, user, identity, ground, audit).await;
            finish(transaction, done).await
        })
        .await
    }

    async fn identities(&self, user: UserId) -> Result<Vec<IdentityRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query!(
                    "SELECT id, issuer, email, created_at FROM user_identities WHERE user_id = $1
                    ORDER BY created_at, id",
                    user.get()
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| IdentityRecord {
                id: row.id,
                issuer: row.issuer,
                email: row.email,
                created_at: Timestamp::from(row.created_at),
            })
            .collect())
    }

    async fn unlink_identity(
        &self,
        user: UserId,
        identity: Uuid,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let done = unlink(&mut transaction, user, identity, audit).await;
            finish(transaction, done).await
        })
        .await
    }
}

async fn known_logins(
    connection: &mut PgConnection,
    (issuer, subject): (&str, &str),
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
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let of_email = sqlx::query_as!(
        Row,
        "SELECT u.id AS user_id, p.account_id, u.email, u.email_verified, u.status
        FROM users u JOIN persons p ON p.user_id = u.id WHERE lower(u.email) = lower($1)",
        email
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    Ok(KnownLogins {
        linked: linked.map(KnownLogin::from),
        of_email: of_email.map(KnownLogin::from),
    })
}

async fn register(
    connection: &mut PgConnection,
    person: &NewPerson,
    identity: &NewIdentity,
    invitation: Option<&TokenHash>,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    if let Some(code) = invitation {
        invitations::use_up(connection, person, code).await?;
    }
    people::insert_person(connection, person).await?;
    sqlx::query!(
        "UPDATE users SET email_verified = true WHERE id = $1",
        person.user.get()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    link(
        connection,
        person.user,
        identity,
        LinkGround::Session,
        entry,
    )
    .await
}

async fn link(
    connection: &mut PgConnection,
    user: UserId,
    identity: &NewIdentity,
    ground: LinkGround<'_>,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let verified_email = match ground {
        LinkGround::Session => None,
        LinkGround::VerifiedEmail(email) => Some(email),
    };
    let inserted = sqlx::query!(
        "INSERT INTO user_identities (id, user_id, issuer, subject, email, created_at)
        SELECT $1, users.id, $3, $4, $5, $6 FROM users
        WHERE users.id = $2 AND users.status = 'active'
            AND ($7::text IS NULL OR (lower(users.email) = lower($7) AND users.email_verified))
        FOR SHARE",
        identity.id,
        user.get(),
        identity.issuer,
        identity.subject,
        identity.email,
        timestamptz(identity.at),
        verified_email
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "the identity"))?;
    if inserted.rows_affected() == 0 {
        return Err(StoreError::NotFound { what: "the user" });
    }
    audit::append(connection, entry).await
}

async fn unlink(
    connection: &mut PgConnection,
    user: UserId,
    identity: Uuid,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    // Of two that take one each, the second one sees what the first has left.
    let password = sqlx::query_scalar!(
        "SELECT password_hash FROM users WHERE id = $1 FOR UPDATE",
        user.get()
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?
    .flatten();
    let removed = sqlx::query!(
        "DELETE FROM user_identities WHERE id = $1 AND user_id = $2",
        identity,
        user.get()
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
        r#"SELECT count(*) AS "others!" FROM user_identities WHERE user_id = $1"#,
        user.get()
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if others == 0 && password.is_none() {
        return Err(StoreError::InUse {
            what: "the identity",
        });
    }
    audit::append(connection, entry).await
}
