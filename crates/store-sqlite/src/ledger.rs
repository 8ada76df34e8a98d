//! Credits and debits by the operator.

use std::collections::BTreeSet;

use airouter_billing::batch::{BalanceChange, BalanceChanges};
use airouter_billing::posting::{self, LedgerAccount, Standing};
use airouter_billing::{AccountId, BudgetId, Nanos, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::Balance;
use airouter_store::ledger::{
    Adjustment, Durable, Ledger, LedgerLook, LedgerPosition, TransactionMark, Verification,
};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::books::{self, Entry, NewTransaction, TransactionKind};
use crate::connection::{begin, failed};
use crate::convert::{Column, hex};
use crate::open::SqliteStore;
use crate::{changes, people, verify};

#[async_trait]
impl Ledger for SqliteStore {
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Balance, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let (_, _, after) = adjust(&mut transaction, adjustment).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(after)
    }

    async fn recall(&self, budget: BudgetId) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        changes::insert_recall(&mut writer, budget).await
    }

    async fn look(&self, durable: &Durable) -> Result<LedgerLook, StoreError> {
        let requests: BTreeSet<String> = durable.requests.iter().map(|id| hex(id.get())).collect();
        let asked = requests.len() as u64;
        let requests = serde_json::json!(requests).to_string();
        let rows = sqlx::query!(
            r#"SELECT d.id AS "database!: Vec<u8>", t.id AS "number?: i64", t.created_at AS "created_at?: i64",
                (SELECT coalesce(sum(p.amount_nanos), 0) FROM ledger_postings p
                    WHERE p.transaction_id = t.id AND p.amount_nanos > 0) AS "debits!: i64",
                (SELECT count(*) FROM request_logs
                    WHERE id IN (SELECT unhex(value) FROM json_each($2))) AS "requests!: i64"
            FROM database_identity d
            LEFT JOIN ledger_transactions t ON t.id IN ($1, (SELECT max(id) FROM ledger_transactions))"#,
            durable.transaction,
            requests
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let identity = rows.first().ok_or(StoreError::NotFound {
            what: "the database's identity",
        })?;
        let marks = rows.iter().filter_map(|row| {
            Some(TransactionMark {
                number: row.number?,
                created_at: Timestamp::from_micros(row.created_at?),
                debits: Nanos::new(row.debits),
            })
        });
        let found = u64::try_from(identity.requests).unwrap_or(0);
        Ok(LedgerLook {
            position: LedgerPosition {
                database: Column::new("database_identity", "id").uuid(&identity.database)?,
                newest: marks.clone().max_by_key(|mark| mark.number),
            },
            transaction: marks
                .clone()
                .find(|mark| Some(mark.number) == durable.transaction),
            missing_requests: asked.saturating_sub(found),
        })
    }

    fn forget_what_was_read(&self) {
        self.shared_rows.clear();
        self.plans.clear();
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        verify::verify(self).await
    }
}

/// Books an adjustment in a transaction that the caller has begun: its number, the balance before it and after it.
pub(crate) async fn adjust(
    connection: &mut SqliteConnection,
    adjustment: &Adjustment,
) -> Result<(i64, Balance, Balance), StoreError> {
    let account = adjustment.account;
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
    let books = books::read(connection, None, &BTreeSet::new(), std::iter::empty()).await?;
    let entry = Entry {
        transactions: vec![NewTransaction {
            number: books.next_transaction,
            kind: TransactionKind::Adjustment {
                reason: &adjustment.reason,
                actor: &adjustment.actor,
            },
            at: adjustment.at,
            postings,
        }],
        balances: BalanceChanges::from([(account.get(), change)]),
        ..Entry::default()
    };
    books::write(connection, &entry).await?;
    let after = people::balance(connection, account).await?;
    Ok((books.next_transaction, before, after))
}

/// What an account has, and how it stands.
pub(crate) async fn standing(
    connection: &mut SqliteConnection,
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
async fn owed(connection: &mut SqliteConnection, account: AccountId) -> Result<Nanos, StoreError> {
    let owner = account.get();
    let owed = sqlx::query_scalar!(
        "SELECT balance_nanos FROM ledger_accounts WHERE kind = 'receivable' AND owner_id = $1",
        owner
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    Ok(Nanos::new(owed.unwrap_or(0)))
}
