//! Credits and debits by the operator.

use std::collections::BTreeSet;

use airouter_billing::batch::{BalanceChange, BalanceChanges};
use airouter_billing::posting::{self, LedgerAccount, Standing};
use airouter_billing::{AccountId, BudgetId, Nanos};
use airouter_store::StoreError;
use airouter_store::clients::Balance;
use airouter_store::ledger::{Adjustment, Ledger, LedgerPosition, Verification};
use async_trait::async_trait;
use sqlx::SqliteConnection;

use crate::books::{self, Entry, NewTransaction, TransactionKind};
use crate::connection::{begin, failed};
use crate::convert::Column;
use crate::open::SqliteStore;
use crate::{changes, people, verify};

#[async_trait]
impl Ledger for SqliteStore {
    async fn adjust(&self, adjustment: &Adjustment) -> Result<Balance, StoreError> {
        let account = adjustment.account;
        let mut writer = self.writer().await?;
        let mut transaction = begin(&mut writer).await?;
        let before = people::balance(&mut transaction, account).await?;
        let free = before
            .balance
            .saturating_add(before.credit_line)
            .saturating_sub(before.reserved);
        let owed = owed(&mut transaction, account).await?;
        let standing = Standing { free, owed };
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
        let books =
            books::read(&mut transaction, None, &BTreeSet::new(), std::iter::empty()).await?;
        let entry = Entry {
            transaction: Some(NewTransaction {
                number: books.next_transaction,
                kind: TransactionKind::Adjustment {
                    reason: &adjustment.reason,
                    actor: &adjustment.actor,
                },
                at: adjustment.at,
                postings: &postings,
            }),
            balances: BalanceChanges::from([(account.get(), change)]),
            ..Entry::default()
        };
        books::write(&mut transaction, &entry).await?;
        let after = people::balance(&mut transaction, account).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(after)
    }

    async fn recall(&self, budget: BudgetId) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        changes::insert_recall(&mut writer, budget).await
    }

    async fn position(&self) -> Result<LedgerPosition, StoreError> {
        let row = sqlx::query!(
            r#"SELECT id, (SELECT coalesce(max(id), 0) FROM ledger_transactions) AS "last!: i64"
            FROM database_identity"#
        )
        .fetch_one(&self.readers)
        .await
        .map_err(failed)?;
        Ok(LedgerPosition {
            database: Column::new("database_identity", "id").uuid(&row.id)?,
            last_transaction: row.last,
        })
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        verify::verify(self).await
    }
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
