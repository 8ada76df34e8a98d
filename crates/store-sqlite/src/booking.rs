//! Credits and debits of an operator: booked once for an idempotency key, and told in the audit log. Other bookings keep
//! their keys here too.

use airouter_billing::Timestamp;
use airouter_store::StoreError;
use airouter_store::client_admin::{
    BOOKING_KEPT_SECONDS, Booked, BookedAdjustment, Booking, IdempotencyKey,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

use crate::connection::failed;
use crate::convert::Column;
use crate::{audit, ledger};

/// Books in a transaction that the caller has begun. There is one writer: another request with the same key has either not
/// begun or is done.
pub(crate) async fn book(
    connection: &mut SqliteConnection,
    booking: &Booking,
) -> Result<Booked, StoreError> {
    if let Some(key) = &booking.idempotency
        && let Some(before) = earlier(connection, key, booking.adjustment.at).await?
    {
        return Ok(before);
    }
    let (transaction, before, after) = ledger::adjust(connection, &booking.adjustment).await?;
    let done = BookedAdjustment {
        transaction,
        balance: after.balance,
    };
    if let Some(key) = &booking.idempotency {
        keep(connection, key, &done, booking.adjustment.at).await?;
    }
    let told = booking.audit.of_change(
        "balance",
        &before.balance.to_string(),
        &after.balance.to_string(),
    );
    audit::append(connection, &told).await?;
    Ok(Booked::Yes(done))
}

/// What came of the same key before; `None` where it is new.
pub(crate) async fn earlier<T: DeserializeOwned>(
    connection: &mut SqliteConnection,
    key: &IdempotencyKey,
    at: Timestamp,
) -> Result<Option<Booked<T>>, StoreError> {
    let user = key.user.get();
    let kept_since = at.plus_seconds(-BOOKING_KEPT_SECONDS).as_micros();
    sqlx::query!(
        "DELETE FROM idempotent_bookings WHERE user_id = $1 AND created_at < $2",
        user,
        kept_since
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let row = sqlx::query!(
        "SELECT request_hash, outcome FROM idempotent_bookings WHERE user_id = $1 AND key = $2",
        user,
        key.key
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    if row.request_hash != key.request {
        return Ok(Some(Booked::OtherRequest));
    }
    serde_json::from_str(&row.outcome)
        .map(|outcome| Some(Booked::Yes(outcome)))
        .map_err(|_| Column::new("idempotent_bookings", "outcome").corrupt(&key.key))
}

/// Keeps what came of a key.
pub(crate) async fn keep(
    connection: &mut SqliteConnection,
    key: &IdempotencyKey,
    done: &impl Serialize,
    at: Timestamp,
) -> Result<(), StoreError> {
    let outcome =
        serde_json::to_string(done).map_err(|error| StoreError::Refused(Box::new(error)))?;
    let (user, request, at) = (key.user.get(), key.request.as_slice(), at.as_micros());
    sqlx::query!(
        "INSERT INTO idempotent_bookings (user_id, key, request_hash, outcome, created_at) VALUES ($1, $2, $3, $4, $5)",
        user,
        key.key,
        request,
        outcome,
        at
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
