//! Administrators who see for a while what a login sees.

use airouter_store::StoreError;
use airouter_store::logins::NewImpersonation;
use sqlx::SqliteConnection;

use crate::audit;
use crate::connection::failed;

/// Begins one, and forgets those that have ended.
pub(crate) async fn begin(
    connection: &mut SqliteConnection,
    new: &NewImpersonation,
) -> Result<(), StoreError> {
    let (at, expires_at) = (new.audit.at.as_micros(), new.expires_at.as_micros());
    let (id, account, session) = (new.id.get(), new.account.get(), new.session.get());
    sqlx::query!("DELETE FROM impersonations WHERE expires_at <= $1", at)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let begun = sqlx::query!(
        "INSERT INTO impersonations (id, user_id, session_id, created_at, expires_at)
        SELECT $1, u.id, $3, $4, $5 FROM persons p JOIN users u ON u.id = p.user_id
        WHERE p.account_id = $2 AND u.role = 'client' AND u.status = 'active'",
        id,
        account,
        session,
        at,
        expires_at
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if begun.rows_affected() == 0 {
        return Err(StoreError::NotFound {
            what: "the client's login",
        });
    }
    audit::append(connection, &new.audit).await
}
