//! What was used of a day's quota of free models.

use std::sync::Arc;

use airouter_billing::{AccountId, MasterAccountId};
use uuid::Uuid;

use super::world::START;
use crate::Store;
use crate::free_quota::FreeQuotaUse;

fn of(account: (u128, u32), tenants: &[(u128, u32)]) -> FreeQuotaUse {
    let tenants = tenants.iter();
    FreeQuotaUse {
        accounts: vec![(MasterAccountId::new(Uuid::from_u128(account.0)), account.1)],
        tenants: tenants
            .map(|(id, used)| (AccountId::new(Uuid::from_u128(*id)), *used))
            .collect(),
    }
}

fn sorted(mut uses: FreeQuotaUse) -> FreeQuotaUse {
    uses.accounts.sort();
    uses.tenants.sort();
    uses
}

/// Each counter is told what the others have counted of the day, and none its own.
pub async fn counters_share_a_days_free_quota(store: Arc<dyn Store>) {
    let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
    let nothing = FreeQuotaUse::default();
    let share = async |counter, day, own: &FreeQuotaUse| {
        sorted(store.share_free_quota(counter, day, own).await.unwrap())
    };
    assert_eq!(
        share(one, START, &of((7, 3), &[(1, 2), (2, 1)])).await,
        nothing
    );
    assert_eq!(
        share(two, START, &of((7, 4), &[(2, 4)])).await,
        of((7, 3), &[(1, 2), (2, 1)])
    );
    assert_eq!(share(one, START, &nothing).await, of((7, 4), &[(2, 4)]));
    assert_eq!(
        share(three, START, &nothing).await,
        of((7, 7), &[(1, 2), (2, 5)])
    );

    // What grew replaces what was; what comes late does not.
    share(one, START, &of((7, 5), &[(1, 4)])).await;
    share(one, START, &of((7, 3), &[(1, 2)])).await;
    assert_eq!(
        share(three, START, &nothing).await,
        of((7, 9), &[(1, 4), (2, 5)])
    );

    // Each day by itself; after two it is forgotten.
    let day = |number: i64| START.plus_seconds(number * 86_400);
    assert_eq!(share(two, day(1), &of((7, 1), &[(1, 1)])).await, nothing);
    assert_eq!(
        share(three, START, &nothing).await,
        of((7, 9), &[(1, 4), (2, 5)])
    );
    share(two, day(2), &of((7, 1), &[(1, 1)])).await;
    assert_eq!(share(three, START, &nothing).await, nothing);
    assert_eq!(share(three, day(1), &nothing).await, of((7, 1), &[(1, 1)]));
}
