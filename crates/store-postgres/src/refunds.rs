//! What is given back of single requests.

use std::collections::BTreeSet;

use airouter_billing::batch::{BalanceChange, BalanceChanges};
use airouter_billing::event::Payment;
use airouter_billing::posting::Transaction;
use airouter_billing::refund::{Charge, Refund};
use airouter_billing::{AccountId, Nanos, RequestId, Timestamp};
use airouter_store::StoreError;
use airouter_store::client_admin::Booked;
use airouter_store::ledger::Adjustment;
use airouter_store::refunds::{BookedRefund, RefundOrder, RefundRecord, Refunding, Refunds};
use async_trait::async_trait;
use sqlx::PgConnection;

use crate::books::{self, Entry, Postings};
use crate::connection::failed;
use crate::convert::Column;
use crate::dedicated::{begin, finish};
use crate::open::PostgresStore;
use crate::{audit, booking, ledger};

#[async_trait]
impl Refunds for PostgresStore {
    async fn refund(&self, order: &RefundOrder) -> Result<Refunding, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let refunded = book(&mut transaction, order).await;
            finish(transaction, refunded).await
        })
        .await
    }

    async fn refunds(&self, request: RequestId) -> Result<Vec<RefundRecord>, StoreError> {
        let rows = self
            .on_pool(async |connection| {
                sqlx::query!(
                    r#"SELECT f.transaction_id, f.amount_nanos, t.reason AS "reason!", t.actor AS "actor!", t.created_at
                    FROM request_refunds f JOIN ledger_transactions t ON t.id = f.transaction_id
                    WHERE f.request_id = $1 ORDER BY f.transaction_id"#,
                    request.get()
                )
                .fetch_all(connection)
                .await
                .map_err(failed)
            })
            .await?;
        let records = rows.into_iter().map(|row| RefundRecord {
            transaction: row.transaction_id,
            amount: Nanos::new(row.amount_nanos),
            reason: row.reason,
            actor: row.actor,
            at: Timestamp::from(row.created_at),
        });
        Ok(records.collect())
    }
}

/// Refunds in a transaction that the caller has begun. What was charged and refunded before is read when the payer's balance
/// is locked: who settles or refunds a request of the payer has it locked too.
async fn book(connection: &mut PgConnection, order: &RefundOrder) -> Result<Refunding, StoreError> {
    if let Some(key) = &order.idempotency
        && let Some(before) = booking::earlier(connection, key, order.at).await?
    {
        return Ok(Refunding::Booked(before));
    }
    let payer = payer_of(connection, order.request).await?;
    books::lock(connection, &BTreeSet::new(), std::iter::once(payer.get())).await?;
    let (charged_by, charge) = charge(connection, order.request).await?;
    let (_, standing) = ledger::standing(connection, payer).await?;
    let amount = order.amount.unwrap_or_else(|| charge.left());
    let refund = match charge.refund(amount, standing) {
        Ok(refund) => refund,
        Err(too_large) => return Ok(Refunding::TooLarge(too_large)),
    };
    let done = BookedRefund {
        transaction: write(connection, order, charged_by, &refund).await?,
        amount,
        refunded: charge.refunded.saturating_add(amount),
    };
    if let Some(key) = &order.idempotency {
        booking::keep(connection, key, &done, order.at).await?;
    }
    let (before, after) = (charge.refunded.to_string(), done.refunded.to_string());
    let told = order.audit.of_change("refunded", &before, &after);
    audit::append(connection, &told).await?;
    Ok(Refunding::Booked(Booked::Yes(done)))
}

async fn payer_of(
    connection: &mut PgConnection,
    request: RequestId,
) -> Result<AccountId, StoreError> {
    sqlx::query_scalar!(
        "SELECT payer_id FROM request_logs WHERE id = $1",
        request.get()
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .map(AccountId::new)
    .ok_or(StoreError::NotFound {
        what: "the request",
    })
}

/// What a request was charged, and by which transaction: by the correction of its loss, if it has one.
async fn charge(
    connection: &mut PgConnection,
    request: RequestId,
) -> Result<(i64, Charge), StoreError> {
    let row = sqlx::query!(
        r#"SELECT b.transaction_id AS "transaction_id!", b.payer_id AS "payer_id!",
            b.charged_nanos AS "charged_nanos!", t.terms::json ->> 'payment' AS "payment!",
            (SELECT coalesce(sum(f.amount_nanos), 0)::bigint FROM request_refunds f WHERE f.request_id = $1)
                AS "refunded!"
        FROM (
            SELECT transaction_id, payer_id, charged_nanos, price_terms_id FROM request_logs WHERE id = $1
            UNION ALL
            SELECT transaction_id, payer_id, charged_nanos, price_terms_id FROM request_corrections WHERE id = $1
        ) AS b JOIN price_terms t ON t.id = b.price_terms_id
        ORDER BY b.transaction_id DESC LIMIT 1"#,
        request.get()
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let payment = Payment::from_name(&row.payment)
        .ok_or_else(|| Column::new("price_terms", "terms").corrupt(request))?;
    let charge = Charge {
        payer: AccountId::new(row.payer_id),
        payment,
        charged: Nanos::new(row.charged_nanos),
        refunded: Nanos::new(row.refunded),
    };
    Ok((row.transaction_id, charge))
}

/// Writes the transaction of a refund; its number.
async fn write(
    connection: &mut PgConnection,
    order: &RefundOrder,
    charged_by: i64,
    refund: &Refund,
) -> Result<i64, StoreError> {
    let adjustment = Adjustment {
        account: refund.payer,
        amount: refund.amount,
        reason: order.reason.clone(),
        actor: order.actor.clone(),
        at: order.at,
    };
    let transaction = ledger::open_transaction(connection, &adjustment, Some(charged_by)).await?;
    sqlx::query!(
        "INSERT INTO request_refunds (transaction_id, request_id, amount_nanos, debt_paid_nanos) VALUES ($1, $2, $3, $4)",
        transaction,
        order.request.get(),
        refund.amount.get(),
        refund.debt_paid.get()
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let mut posted = Transaction::default();
    posted.refund(refund);
    let added = refund.added_to_balance();
    let change = BalanceChange {
        balance: added.get(),
        earned: added.max(Nanos::ZERO).get(),
        ..BalanceChange::default()
    };
    let entry = Entry {
        postings: vec![Postings {
            transaction,
            postings: posted.into_postings().map_err(|_| StoreError::OutOfRange)?,
        }],
        balances: BalanceChanges::from([(refund.payer.get(), change)]),
        ..Entry::default()
    };
    books::write(connection, &entry).await?;
    Ok(transaction)
}
