//! Credits and debits by the operator.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use airouter_billing::batch::{BalanceChange, BalanceChanges};
use airouter_billing::posting::{self, LedgerAccount, Standing};
use airouter_billing::{AccountId, BudgetId, Nanos};
use airouter_store::StoreError;
use airouter_store::clients::Balance;
use airouter_store::ledger::{
    Adjustment, Durable, Ledger, LedgerLook, LedgerPosition, TransactionMark, Verification,
};
use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::books::{self, Entry, Postings};
use crate::changes;
use crate::connection::failed;
use crate::convert::timestamptz;
use crate::dedicated::{begin, bounded, finish};
use crate::open::PostgresStore;
use crate::people;
use crate::verify;

#[async_trait]
impl Ledger for PostgresStore {
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Balance, StoreError> {
        self.on_pool(async |connection| {
            let mut transaction = begin(connection).await?;
            let adjusted = adjust(&mut transaction, adjustment).await;
            finish(transaction, adjusted.map(|(_, _, after)| after)).await
        })
        .await
    }

    async fn recall(&self, budget: BudgetId) -> Result<(), StoreError> {
        let mut lent = self.upkeep.lend().await?;
        let outcome = bounded(changes::insert_recall(&mut lent, budget)).await;
        lent.give_back_after(&outcome);
        outcome
    }

    async fn look(&self, durable: &Durable) -> Result<LedgerLook, StoreError> {
        self.on_pool(async |connection| look(connection, durable).await)
            .await
    }

    fn forget_what_was_read(&self) {
        self.shared_rows.clear();
        self.plans_are_stale.store(true, Ordering::Release);
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        verify::verify(self).await
    }
}

/// One statement: all of it is of the same moment.
async fn look(connection: &mut PgConnection, durable: &Durable) -> Result<LedgerLook, StoreError> {
    let requests: Vec<Uuid> = durable.requests.iter().map(|id| id.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT d.id AS database, t.id AS "number?", t.created_at AS "created_at?",
            (SELECT coalesce(sum(p.amount_nanos), 0)::bigint FROM ledger_postings p
                WHERE p.transaction_id = t.id AND p.amount_nanos > 0) AS "debits!",
            (SELECT count(*) FROM request_logs r WHERE r.id = ANY ($2)) AS "requests!"
        FROM database_identity d
        LEFT JOIN ledger_transactions t ON t.id = ANY (ARRAY[$1, (SELECT max(id) FROM ledger_transactions)])"#,
        durable.transaction,
        &requests
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let identity = rows.first().ok_or(StoreError::NotFound {
        what: "the database's identity",
    })?;
    let marks = rows.iter().filter_map(|row| {
        Some(TransactionMark {
            number: row.number?,
            created_at: row.created_at?.into(),
            debits: Nanos::new(row.debits),
        })
    });
    let asked: BTreeSet<Uuid> = requests.iter().copied().collect();
    let found = u64::try_from(identity.requests).unwrap_or(0);
    Ok(LedgerLook {
        position: LedgerPosition {
            database: identity.database,
            newest: marks.clone().max_by_key(|mark| mark.number),
        },
        transaction: marks
            .clone()
            .find(|mark| Some(mark.number) == durable.transaction),
        missing_requests: (asked.len() as u64).saturating_sub(found),
    })
}

/// Books an adjustment in a transaction that the caller has begun: its number, the balance before it and after it.
pub(crate) async fn adjust(
    connection: &mut PgConnection,
    adjustment: &Adjustment,
) -> Result<(i64, Balance, Balance), StoreError> {
    let account = adjustment.account;
    books::lock(connection, &BTreeSet::new(), std::iter::once(account.get())).await?;
    let (before, standing) = standing(connection, account).await?;
    let postings = posting::adjustment(account, adjustment.amount, standing)
        .into_postings()
        .map_err(|_| StoreError::OutOfRange)?;
    // A client's balance is a liability: a credit to it is a negative posting.
    let added: Nanos = postings
        .iter()
        .filter(|posting| posting.account == LedgerAccount::ClientBalance(account))
        .map(|posting| -posting.amount)
        .sum();
    let change = BalanceChange {
        balance: added.get(),
        earned: added.max(Nanos::ZERO).get(),
        ..BalanceChange::default()
    };
    let transaction = open_transaction(connection, adjustment, None).await?;
    let entry = Entry {
        postings: vec![Postings {
            transaction,
            postings,
        }],
        balances: BalanceChanges::from([(account.get(), change)]),
        ..Entry::default()
    };
    books::write(connection, &entry).await?;
    let after = people::balance(connection, account).await?;
    Ok((transaction, before, after))
}

/// The transaction of the ledger that an adjustment is, with what it corrects.
pub(crate) async fn open_transaction(
    connection: &mut PgConnection,
    adjustment: &Adjustment,
    corrects: Option<i64>,
) -> Result<i64, StoreError> {
    sqlx::query_scalar!(
        "INSERT INTO ledger_transactions (kind, reason, actor, corrects, created_at)
        VALUES ('adjustment', $1, $2, $3, $4) RETURNING id",
        adjustment.reason,
        adjustment.actor,
        corrects,
        timestamptz(adjustment.at)
    )
    .fetch_one(connection)
    .await
    .map_err(failed)
}

/// What an account that is locked has, and how it stands.
pub(crate) async fn standing(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<(Balance, Standing), StoreError> {
    let balance = people::balance(connection, account).await?;
    let free = balance
        .balance
        .saturating_add(balance.credit_line)
        .saturating_sub(balance.reserved);
    let owed = owed(connection, account).await?;
    Ok((balance, Standing { free, owed }))
}

/// What a claw-back took beyond the balance.
async fn owed(connection: &mut PgConnection, account: AccountId) -> Result<Nanos, StoreError> {
    let owed = sqlx::query_scalar!(
        "SELECT balance_nanos FROM ledger_accounts WHERE kind = 'receivable' AND owner_id = $1",
        account.get()
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    Ok(Nanos::new(owed.unwrap_or(0)))
}
