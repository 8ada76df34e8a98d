//! Leases at the end of a period.

use std::sync::atomic::AtomicI64;

use airouter_billing::Period;
use airouter_billing::event::Payment;
use airouter_store::clients::NewCap;
use airouter_store::conformance::{START, World, new_person};
use airouter_store::leases::LeaseRequest;
use airouter_store_sqlite::{OpenMode, SqliteStore};

use super::*;

/// A clock that stands until it is set.
struct Standing(AtomicI64);

impl Standing {
    fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// It is asked for in the last second of a day, and answered in the first of the next: it is a lease of the day before,
/// nothing of it is spent on the new day, and it goes back.
#[tokio::test]
async fn what_was_asked_for_before_a_periods_end_is_not_spent_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("airouter.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, OpenMode::Serve).await.unwrap());
    let world = World::new(Arc::clone(&store)).await;
    let mut person = new_person(Payment::Metered);
    person.caps = vec![NewCap {
        quantity: Quantity::Requests,
        period: Period::Day,
        cap: 10,
    }];
    let client = world.client(person, Vec::new()).await;
    let budget = world.snapshot(&client).await.budgets[0];
    // It is noon.
    let midnight = START.plus_seconds(12 * 3_600);
    let (evening, morning) = (midnight.plus_seconds(-1), midnight.plus_seconds(1));
    let clock = Arc::new(Standing(AtomicI64::new(evening.as_micros())));
    let replica = Replica::register(Arc::clone(&store), Arc::clone(&clock) as Arc<dyn Clock>);
    let replica = replica.await.unwrap();
    let keeper = LeaseKeeper::new(
        Arc::clone(&store),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::clone(&replica),
        TaskTracker::new(),
    );
    // The one who asks comes to its turn first; the database is asked only after the other has set the clock.
    let (asked, ()) = tokio::join!(keeper.ask(budget, 1, 1), async { clock.set(morning) });
    asked.unwrap();
    let yesterday = LeaseRequest {
        slot: budget.slot(evening),
        at_least: 0,
        wish: 0,
    };
    assert_ne!(yesterday.slot, budget.slot(morning));
    let free = async || {
        let leased = store.lease(replica.id(), yesterday, morning).await;
        leased.unwrap().grant.free
    };
    assert!(free().await < 10, "it was leased for the day of the asking");
    let short = keeper.take(&[budget], Nanos::ZERO).map(drop);
    assert!(
        matches!(short, Err(NoHold::Dry { shortfall: 1, .. })),
        "{short:?}"
    );
    keeper.ask(budget, 1, 1).await.unwrap();
    let holds = keeper.take(&[budget], Nanos::ZERO).unwrap();
    let slots: Vec<_> = holds.as_charges().iter().map(|held| held.slot).collect();
    assert_eq!(slots, [budget.slot(morning)]);
    drop(holds);
    keeper.give_back_all().await;
    assert_eq!(free().await, 10);
    world.assert_adds_up(0).await;
}
