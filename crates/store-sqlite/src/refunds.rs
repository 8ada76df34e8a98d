//! What is given back of single requests.

use std::collections::BTreeSet;

use airouter_billing::batch::{BalanceChange, BalanceChanges};
use airouter_billing::event::Payment;
use airouter_billing::ids::TransactionId;
use airouter_billing::posting::Transaction;
use airouter_billing::refund::{Charge, Refund};
use airouter_billing::{AccountId, Nanos, RequestId, Timestamp};
use airouter_store::StoreError;
use airouter_store::client_admin::Booked;
use airouter_store::refunds::{BookedRefund, RefundOrder, RefundRecord, Refunding, Refunds};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::books::{self, Entry, NewTransaction, TransactionKind};
use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{audit, booking, ledger};

#[async_trait]
impl Refunds for SqliteStore {
    async fn refund(&self, order: &RefundOrder) -> Result<Refunding, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let refunded = book(&mut transaction, order).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(refunded)
    }

    async fn refunds(&self, request: RequestId) -> Result<Vec<RefundRecord>, StoreError> {
        let request = request.get();
        let rows = sqlx::query!(
            r#"SELECT f.transaction_id, f.amount_nanos, t.reason AS "reason!", t.actor AS "actor!", t.created_at
            FROM request_refunds f JOIN ledger_transactions t ON t.id = f.transaction_id
            WHERE f.request_id = $1 ORDER BY f.transaction_id"#,
            request
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let records = rows.into_iter().map(|row| RefundRecord {
            transaction: row.transaction_id,
            amount: Nanos::new(row.amount_nanos),
            reason: row.reason,
            actor: row.actor,
            at: Timestamp::from_micros(row.created_at),
        });
        Ok(records.collect())
    }
}

/// Refunds in a transaction that the caller has begun.
async fn book(
    connection: &mut SqliteConnection,
    order: &RefundOrder,
) -> Result<Refunding, StoreError> {
    if let Some(key) = &order.idempotency
        && let Some(before) = booking::earlier(connection, key, order.at).await?
    {
        return Ok(Refunding::Booked(before));
    }
    let (charged_by, charge) = charge(connection, order.request).await?;
    let (_, standing) = ledger::standing(connection, charge.payer).await?;
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

/// What a request was charged, and by which transaction: by the correction of its loss, if it has one.
async fn charge(
    connection: &mut SqliteConnection,
    request: RequestId,
) -> Result<(TransactionId, Charge), StoreError> {
    let id = request.get();
    let row = sqlx::query!(
        r#"SELECT b.transaction_id AS "transaction_id!: i64", b.payer_id AS "payer_id!: uuid::Uuid",
            b.charged_nanos AS "charged_nanos!: i64", t.terms ->> 'payment' AS "payment!: String",
            (SELECT coalesce(sum(f.amount_nanos), 0) FROM request_refunds f WHERE f.request_id = $1)
                AS "refunded!: i64"
        FROM (
            SELECT transaction_id, payer_id, charged_nanos, price_terms_id FROM request_logs WHERE id = $1
            UNION ALL
            SELECT transaction_id, payer_id, charged_nanos, price_terms_id FROM request_corrections WHERE id = $1
        ) AS b JOIN price_terms t ON t.id = b.price_terms_id
        ORDER BY b.transaction_id DESC LIMIT 1"#,
        id
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the request",
    })?;
    let payment = Payment::from_name(&row.payment)
        .ok_or_else(|| Column::new("price_terms", "terms").corrupt(request))?;
    let charge = Charge {
        payer: AccountId::new(row.payer_id),
        payment,
        charged: Nanos::new(row.charged_nanos),
        refunded: Nanos::new(row.refunded),
    };
    Ok((TransactionId::new(row.transaction_id), charge))
}

/// Writes the transaction of a refund; its number.
async fn write(
    connection: &mut SqliteConnection,
    order: &RefundOrder,
    charged_by: TransactionId,
    refund: &Refund,
) -> Result<i64, StoreError> {
    let books = books::read(connection, None, &BTreeSet::new(), std::iter::empty()).await?;
    let mut posted = Transaction::default();
    posted.refund(refund);
    let added = refund.added_to_balance();
    let change = BalanceChange {
        balance: added.get(),
        earned: added.max(Nanos::ZERO).get(),
        ..BalanceChange::default()
    };
    let number = books.next_transaction;
    let entry = Entry {
        transactions: vec![NewTransaction {
            number,
            kind: TransactionKind::Refund {
                of: charged_by,
                reason: &order.reason,
                actor: &order.actor,
            },
            at: order.at,
            postings: posted.into_postings().map_err(|_| StoreError::OutOfRange)?,
        }],
        balances: BalanceChanges::from([(refund.payer.get(), change)]),
        ..Entry::default()
    };
    books::write(connection, &entry).await?;
    let (request, amount, debt_paid) = (
        order.request.get(),
        refund.amount.get(),
        refund.debt_paid.get(),
    );
    sqlx::query!(
        "INSERT INTO request_refunds (transaction_id, request_id, amount_nanos, debt_paid_nanos) VALUES ($1, $2, $3, $4)",
        number,
        request,
        amount,
        debt_paid
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(number)
}
