use std::collections::HashSet;

use proptest::prelude::*;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::*;
use crate::Nanos;
use crate::ids::MasterAccountId;
use crate::utc_day::UtcDay;

const MASTER: MasterAccountId = MasterAccountId::new(Uuid::from_u128(7));

fn day() -> UtcDay {
    "2026-11-20".parse().unwrap()
}

fn usd(nanos: i64) -> Decimal {
    Decimal::new(nanos, 9)
}

fn spend(nanos: i64) -> Spend {
    Spend {
        credits: usd(nanos),
        at_provider: Decimal::ZERO,
    }
}

/// A request that began so many seconds after the day did, and took so many.
fn request(id: u128, nanos: i64, began: i64, took: i64) -> BookedRequest {
    let admitted_at = day().begins().plus_seconds(began);
    BookedRequest {
        request: RequestId::new(Uuid::from_u128(id)),
        generation_id: Some(format!("gen-{id:09}")),
        spend: spend(nanos),
        admitted_at,
        finished_at: admitted_at.plus_seconds(took),
    }
}

fn books(requests: impl IntoIterator<Item = BookedRequest>, of: UtcDay) -> Books {
    let mut books = Books::new(
        Span::day(of),
        Counting::ByAdmission,
        Sampling::Some,
        HashSet::new(),
    );
    for request in requests {
        books.add(request).unwrap();
    }
    books
}

fn sides(books: &Books, theirs: i64) -> Sides<'_> {
    Sides {
        books,
        theirs: spend(theirs),
        explained: Spend::default(),
        carried_in: Spend::default(),
        pending: Decimal::ZERO,
    }
}

const NOON: i64 = 43_200;
const MIDNIGHT: i64 = 86_400;

#[test]
fn a_quiet_day_differs_to_the_nano_dollar() {
    let books = books([request(1, 500, NOON, 5), request(2, 70, NOON, 5)], day());
    for (theirs, found) in [(570, 0), (571, 1), (569, -1), (0, -570)] {
        let judged = judge(&sides(&books, theirs)).unwrap();
        assert_eq!(judged.found, spend(found), "{theirs}");
        assert_eq!((judged.carried, judged.waiting), (spend(0), spend(0)));
    }
}

#[test]
fn what_single_requests_explain_is_not_found_again() {
    let books = books([request(1, 500, NOON, 5)], day());
    let explained = Sides {
        explained: spend(-1),
        ..sides(&books, 499)
    };
    assert_eq!(judge(&explained).unwrap().found, spend(0));
}

#[test]
fn a_request_over_midnight_may_be_of_either_day() {
    let over = [request(1, 500, NOON, 5), request(2, 70, MIDNIGHT - 1, 5)];
    let (first, next) = (books(over.clone(), day()), books(over, day().plus(1)));
    let judged = judge(&sides(&first, 500)).unwrap();
    assert_eq!((judged.found, judged.carried), (spend(0), spend(70)));
    // It must turn up in the next day.
    for (theirs, found) in [(70, 0), (0, -70)] {
        let later = Sides {
            carried_in: judged.carried,
            ..sides(&next, theirs)
        };
        assert_eq!(judge(&later).unwrap().found, spend(found));
    }
    // More than it can explain is found at once.
    assert_eq!(judge(&sides(&first, 499)).unwrap().found, spend(-1));
    assert_eq!(judge(&sides(&first, 571)).unwrap().found, spend(1));
}

#[test]
fn what_began_just_after_midnight_may_be_of_the_day_before() {
    let early = [request(1, 70, MIDNIGHT + 10, 5)];
    let first = books(early, day());
    assert_eq!((first.booked, first.requests), (spend(0), 0));
    let judged = judge(&sides(&first, 70)).unwrap();
    assert_eq!((judged.found, judged.carried), (spend(0), spend(-70)));
}

#[test]
fn pending_requests_explain_no_more_than_they_may_cost() {
    let books = books([request(1, 500, NOON, 5)], day());
    let pending = |theirs| {
        let sides = Sides {
            pending: usd(30),
            ..sides(&books, theirs)
        };
        let judged = judge(&sides).unwrap();
        (judged.found, judged.waiting)
    };
    assert_eq!(pending(520), (spend(0), spend(20)));
    assert_eq!(pending(531), (spend(1), spend(30)));
    assert_eq!(pending(499), (spend(-1), spend(0)));
}

#[test]
fn between_two_readings_what_was_in_flight_may_be_in_it_or_not() {
    let span = Span {
        from: day().begins().plus_seconds(NOON),
        to: day().ends(),
    };
    let mut books = Books::new(span, Counting::ByEnd, Sampling::Some, HashSet::new());
    for request in [
        request(1, 500, NOON + 600, 5),
        request(2, 70, NOON - 10, 20),
        request(3, 8, NOON - 30, 1),
        request(4, 3, MIDNIGHT - 5, 2),
        request(5, 20, MIDNIGHT - 5, 90),
        request(6, 1_000, NOON - 600, 5),
    ] {
        books.add(request).unwrap();
    }
    let found = |theirs, explained: &[Spend]| {
        let readings = Readings {
            books: &books,
            theirs: spend(theirs),
            explained,
            pending: Decimal::ZERO,
        };
        judge_readings(&readings).unwrap()
    };
    // Booked are 573: of these 70 may be of before and 3 of after; 8 of before and 20 of after may be in it.
    assert_eq!(books.booked, spend(573));
    for (theirs, expected) in [(573, 0), (500, 0), (499, -1), (601, 0), (602, 1)] {
        assert_eq!(found(theirs, &[]), spend(expected), "{theirs}");
    }
    assert_eq!(found(499, &[spend(-1), spend(4)]), spend(0));
    assert_eq!(found(606, &[spend(-1), spend(4)]), spend(1));
}

#[test]
fn a_generation_that_is_booked_twice_is_told() {
    let twin = BookedRequest {
        request: RequestId::new(Uuid::from_u128(99)),
        ..request(2, 70, NOON, 5)
    };
    let requests = [
        request(1, 500, NOON, 5),
        request(2, 70, NOON, 5),
        twin,
        request(3, 1, NOON, 5),
    ];
    let mut books = books(requests, day());
    let (chosen, repeated) = books.take_single();
    assert_eq!((books.requests, chosen.len()), (4, 2));
    let [repeated] = repeated.as_slice() else {
        panic!("{repeated:?}");
    };
    assert_eq!((repeated.times, repeated.spend), (2, spend(140)));
    let [credits, provider] = compare_repeated(repeated, None).unwrap()[..] else {
        panic!("two purses");
    };
    assert_eq!(credits, (Purse::Credits, Nanos::new(-70)));
    assert_eq!(provider, (Purse::Provider, Nanos::ZERO));
}

#[test]
fn a_sample_has_at_least_twenty_and_one_in_a_hundred() {
    let sampled = |count: u128| {
        let requests = (0..count).map(|id| request(id, 1, NOON, 5));
        books(requests, day()).take_single().0
    };
    assert_eq!((sampled(7).len(), sampled(500).len()), (7, 20));
    let many = sampled(20_000).len();
    assert!((150..250).contains(&many), "{many}");
    let again = sampled(500);
    assert_eq!(again, sampled(500));
}

fn observed(difference: i64, about: About) -> Observed {
    Observed {
        key: FindingKey {
            master_account: MASTER,
            day: day(),
            about,
            purse: Purse::Credits,
        },
        ours: Decimal::ZERO,
        theirs: Some(usd(difference)),
        difference: Nanos::new(difference),
        cost_share: Decimal::new(3, 1),
    }
}

#[test]
fn what_only_the_credit_shows_is_not_posted() {
    let entry = next_entry(&observed(100, About::Credits), Posted::default());
    let entry = entry.unwrap().unwrap();
    assert_eq!(
        (entry.difference, entry.cost),
        (Nanos::new(100), Nanos::ZERO)
    );
    assert_eq!(entry.postings, []);
}

#[test]
fn a_finding_says_what_is_wrong() {
    let unknown = Observed {
        theirs: None,
        ..observed(-5, About::Request(RequestId::new(Uuid::from_u128(1))))
    };
    assert_eq!(unknown.what(), What::UnknownGeneration);
    assert_eq!(observed(5, About::Day).what(), What::MissingHere);
    assert_eq!(observed(-5, About::Day).what(), What::MissingThere);
}

proptest! {
    /// Whatever is observed one after the other, what was posted is what was observed last; the same again posts nothing.
    #[test]
    fn entries_sum_to_what_is_observed(seen in prop::collection::vec(-1_000_i64..1_000, 1..20)) {
        let mut posted = Posted::default();
        for difference in seen {
            let observed = observed(difference, About::Day);
            if let Some(entry) = next_entry(&observed, posted).unwrap() {
                prop_assert_eq!(entry.number, posted.entries + 1);
                prop_assert_eq!(entry.postings.iter().map(|posting| posting.amount.get()).sum::<i64>(), 0);
                posted = Posted {
                    entries: entry.number,
                    difference: posted.difference.checked_add(entry.difference).unwrap(),
                    cost: posted.cost.checked_add(entry.cost).unwrap(),
                };
            }
            prop_assert_eq!(posted.difference, Nanos::new(difference));
            prop_assert_eq!(posted.cost, Nanos::round_half_even(usd(difference) * Decimal::new(3, 1)).unwrap());
            prop_assert_eq!(next_entry(&observed, posted).unwrap(), None);
        }
    }

    /// An upstream that bills every request, each to the day in which it began, in which it ended, or in between, differs
    /// in no day; what is planted is found to the nano-dollar as soon as a midnight is quiet.
    #[test]
    fn over_days_only_what_is_planted_is_found(
        requests in prop::collection::vec((1_i64..1_000, 0_i64..3 * MIDNIGHT - 4_000, 0_i64..3_000, any::<bool>()), 0..60),
        planted in -50_i64..50, in_day in 0_i64..3,
    ) {
        let all: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(id, (nanos, began, took, _))| request(id as u128, *nanos, *began, *took))
            .collect();
        let counted_to = |at: crate::Timestamp| (UtcDay::of(at).date() - day().date()).whole_days();
        let mut theirs = [0_i64; 4];
        for (request, (nanos, _, _, by_end)) in all.iter().zip(&requests) {
            let at = if *by_end { request.finished_at } else { request.admitted_at };
            theirs[usize::try_from(counted_to(at)).unwrap()] += nanos;
        }
        theirs[usize::try_from(in_day).unwrap()] += planted;
        let (mut carried, mut found) = (Spend::default(), Decimal::ZERO);
        for (offset, theirs) in (0_i64..).zip(theirs) {
            let books = books(all.clone(), day().plus(offset));
            let judged = judge(&Sides { carried_in: carried, ..sides(&books, theirs) }).unwrap();
            carried = judged.carried;
            found += judged.found.credits;
            if planted == 0 {
                prop_assert_eq!(judged.found, Spend::default());
            }
        }
        prop_assert_eq!(carried, Spend::default());
        prop_assert_eq!(found, usd(planted));
    }
}
