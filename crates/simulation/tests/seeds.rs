//! Two thousand seeds keep every promise, and the same seed goes the same way twice.

use std::collections::{BTreeMap, BTreeSet};

use airouter_simulation::{Course, Failure, History, Report, Sight};

/// Seeds of each test; they run beside each other.
const HALF: u64 = 1_000;

type Seen = BTreeMap<Sight, u64>;

fn run(course: Course) -> Result<Report, Box<Failure>> {
    airouter_simulation::run(course, History::LastSteps)
}

fn all_keep(first: u64) -> Result<Seen, Box<Failure>> {
    let mut sum = Seen::new();
    for seed in first..first + HALF {
        let report = run(Course::of_seed(seed))?;
        for (sight, times) in report.seen {
            *sum.entry(sight).or_default() += times;
        }
    }
    Ok(sum)
}

/// Runs in which nothing happens would keep every promise too.
fn assert_eventful(seen: &Seen) {
    for sight in Sight::ALL {
        assert!(
            seen.get(&sight).is_some_and(|times| *times > 0),
            "never {sight:?}: {seen:?}"
        );
    }
    assert!(seen[&Sight::Charged] > 20_000, "{seen:?}");
    let cut = seen[&Sight::CutYoung] + seen[&Sight::CutWhileAway];
    assert!(cut < seen[&Sight::Charged] / 20, "{seen:?}");
}

#[test]
fn the_first_thousand_seeds_keep_every_promise() -> Result<(), Box<Failure>> {
    assert_eventful(&all_keep(0)?);
    Ok(())
}

#[test]
fn the_second_thousand_seeds_keep_every_promise() -> Result<(), Box<Failure>> {
    assert_eventful(&all_keep(HALF)?);
    Ok(())
}

#[test]
fn the_same_seed_goes_the_same_way_twice() {
    let traces = |_| {
        (0..40)
            .map(|seed| run(Course::of_seed(seed)).unwrap().trace)
            .collect::<Vec<_>>()
    };
    let (once, again) = (traces(1), traces(2));
    assert_eq!(once, again);
    let distinct: BTreeSet<_> = once.iter().collect();
    assert_eq!(distinct.len(), once.len());
}

/// A run of fewer actions is short: there are some among the seeds that are tried.
const SHORT: u64 = 700;

/// A crash before an action is one after the action before it.
#[test]
fn a_crash_before_and_after_every_action_breaks_no_promise() -> Result<(), Box<Failure>> {
    let mut tried = 0;
    for seed in 0..25 {
        let actions = run(Course::of_seed(seed))?.actions;
        // Of a short run at each; of long ones only at every so many, and at others for each seed.
        let stride = if actions < SHORT { 1 } else { 1 + actions / 40 };
        let mut action = 1 + seed % stride;
        while action <= actions {
            run(Course {
                crash_at: Some(action),
                ..Course::of_seed(seed)
            })?;
            tried += 1;
            action += stride;
        }
    }
    assert!(tried > 2_800, "{tried}");
    Ok(())
}
