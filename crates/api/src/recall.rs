//! Before a debit: what servers have leased of a balance and don't use comes back.

use std::time::Duration;

use airouter_billing::{AccountId, BudgetId, Nanos};
use airouter_store::clients::Balance;
use airouter_store::{Store, StoreError};
use tokio::time::{Instant, sleep};

/// For so long a debit waits for it.
const LONGEST_WAIT: Duration = Duration::from_millis(800);
const POLL: Duration = Duration::from_millis(50);

/// Asks servers for what they have leased and don't use, and waits until as much as the debit needs is free.
pub async fn recall(store: &dyn Store, account: AccountId, debit: Nanos) -> Result<(), StoreError> {
    if is_covered(&store.balance(account).await?, debit) {
        return Ok(());
    }
    store.recall(BudgetId::Balance(account)).await?;
    let deadline = Instant::now() + LONGEST_WAIT;
    while Instant::now() < deadline {
        sleep(POLL).await;
        let balance = store.balance(account).await?;
        if is_covered(&balance, debit) || balance.reserved == Nanos::ZERO {
            break;
        }
    }
    Ok(())
}

/// Whether what is not reserved covers the debit.
fn is_covered(balance: &Balance, debit: Nanos) -> bool {
    balance.balance.saturating_sub(balance.reserved) >= debit
}
