//! Counts of attempts.

use std::sync::Arc;
use std::time::Duration;

use airouter_billing::Timestamp;
use futures_util::future::join_all;

use super::world::START;
use crate::Store;
use crate::attempts::{AttemptKey, Count, Counted, FORGOTTEN_AFTER_SECONDS};

fn count(whom: &str, pauses: &[u64]) -> Count {
    Count {
        key: AttemptKey::of("test", whom),
        pauses: pauses.iter().copied().map(Duration::from_secs).collect(),
    }
}

/// An attempt; for how many seconds there is a pause instead.
async fn attempt(store: &Arc<dyn Store>, counts: &[Count], at: Timestamp) -> u64 {
    match store.count_attempt(counts, at).await.unwrap() {
        Counted::Yes => 0,
        Counted::Paused(left) => {
            assert_eq!(left.subsec_nanos(), 0);
            left.as_secs()
        }
    }
}

/// After the free ones there is a pause after each attempt, the last one for all beyond, until all is forgotten.
pub async fn attempts_are_counted_until_a_pause(store: Arc<dyn Store>) {
    let ann = [count("ann", &[0, 0, 1, 2, 60])];
    let at = |seconds| START.plus_seconds(seconds);
    for _ in 0..2 {
        assert_eq!(attempt(&store, &ann, START).await, 0);
    }
    let mut now = 0;
    for pause in [1, 2, 60, 60] {
        assert_eq!(attempt(&store, &ann, at(now)).await, pause);
        // What was refused was not counted, and others are not concerned.
        assert_eq!(attempt(&store, &ann, at(now)).await, pause);
        let other = [count(&format!("bob {now}"), &[0, 60])];
        assert_eq!(attempt(&store, &other, at(now)).await, 0);
        now += i64::try_from(pause).unwrap();
        assert_eq!(attempt(&store, &ann, at(now - 1)).await, 1);
        assert_eq!(attempt(&store, &ann, at(now)).await, 0);
    }
    let later = now + FORGOTTEN_AFTER_SECONDS;
    for _ in 0..2 {
        assert_eq!(attempt(&store, &ann, at(later)).await, 0);
    }
    assert_eq!(attempt(&store, &ann, at(later)).await, 1);
}

/// Where one of several has a pause, none is counted; the longest pause is told.
pub async fn an_attempt_counts_for_all_or_none(store: Arc<dyn Store>) {
    let (short, long) = (count("short", &[0, 5]), count("long", &[0, 60]));
    for alone in [&short, &long] {
        let alone = [alone.clone()];
        assert_eq!(attempt(&store, &alone, START).await, 0);
    }
    let third = count("third", &[0, 7]);
    for counts in [
        [third.clone(), short.clone(), long.clone()],
        [long.clone(), short.clone(), third.clone()],
    ] {
        assert_eq!(attempt(&store, &counts, START).await, 60);
    }
    let third = [third];
    assert_eq!(attempt(&store, &third, START).await, 0);
    assert_eq!(attempt(&store, &third, START).await, 7);
}

/// Of many at the same time only as many are let in as are free, in whichever order they name what they count for.
pub async fn attempts_at_once_are_all_counted(store: Arc<dyn Store>) {
    let (ann, here) = (
        count("ann", &[0, 0, 0, 0, 0, 60]),
        count("here", &[0, 0, 0, 0, 0, 0, 0, 0, 60]),
    );
    let attempts = (0..16).map(|number| {
        let counts = match number % 2 {
            0 => [ann.clone(), here.clone()],
            _ => [here.clone(), ann.clone()],
        };
        let store = Arc::clone(&store);
        async move { attempt(&store, &counts, START).await }
    });
    let outcomes = join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|pause| **pause == 0).count(), 5);
    // The others count for nobody.
    let here = [here];
    for _ in 0..3 {
        assert_eq!(attempt(&store, &here, START).await, 0);
    }
    assert_eq!(attempt(&store, &here, START).await, 60);
}

/// One attempt is taken back, or all are; of what there is none, nothing is.
pub async fn attempts_are_taken_back(store: Arc<dyn Store>) {
    let ann = count("ann", &[0, 0, 60]);
    let try_once = async || attempt(&store, std::slice::from_ref(&ann), START).await;
    store.take_back_attempt(&ann.key).await.unwrap();
    assert_eq!((try_once().await, try_once().await), (0, 0));
    assert_eq!(try_once().await, 60);
    store.take_back_attempt(&ann.key).await.unwrap();
    assert_eq!(try_once().await, 0);
    assert_eq!(try_once().await, 60);
    store.forget_attempts(&ann.key).await.unwrap();
    for _ in 0..3 {
        store.take_back_attempt(&ann.key).await.unwrap();
    }
    assert_eq!((try_once().await, try_once().await), (0, 0));
    assert_eq!(try_once().await, 60);
}
