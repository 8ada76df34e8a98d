use airouter_store::free_quota::FreeQuotaUse;

use super::*;

use std::ops::Range;

use proptest::prelude::*;
use uuid::Uuid;

/// The beginning of a day.
const START: Timestamp = Timestamp::from_micros(1_700_006_400_000_000);

fn at(seconds: i64) -> Timestamp {
    START.plus_seconds(seconds)
}

fn tenant(number: u128) -> AccountId {
    AccountId::new(Uuid::from_u128(number))
}

fn account(number: u128) -> (MasterAccountId, u32) {
    (MasterAccountId::new(Uuid::from_u128(number)), PER_DAY)
}

/// One request: asks, and takes it from an account.
fn ask(
    quota: &FreeQuota,
    tenant: AccountId,
    accounts: &[(MasterAccountId, u32)],
    now: Timestamp,
) -> Result<(), Duration> {
    quota.admit(tenant, accounts, now)?;
    let taken = accounts
        .iter()
        .any(|(account, per_day)| quota.take(*account, *per_day, now));
    assert!(taken, "what was admitted is there");
    Ok(())
}

#[test]
fn one_alone_may_use_all_of_it() {
    let (quota, accounts) = (FreeQuota::default(), [account(1), account(2)]);
    for _ in 0..40 {
        ask(&quota, tenant(1), &accounts, at(0)).unwrap();
    }
    assert_eq!(
        ask(&quota, tenant(1), &accounts, at(10)),
        Err(Duration::from_secs(50))
    );
    assert_eq!(ask(&quota, tenant(1), &accounts, at(60)), Ok(()));
}

#[test]
fn what_becomes_free_is_for_who_has_not_had_its_part() {
    let (quota, accounts) = (FreeQuota::default(), [account(1)]);
    for second in 0..20 {
        ask(&quota, tenant(1), &accounts, at(second)).unwrap();
    }
    assert!(ask(&quota, tenant(2), &accounts, at(30)).is_err());
    // Both ask as fast as they can, the greedy one first.
    let mut served = [0, 0];
    for second in 60..120 {
        for (index, asking) in [tenant(1), tenant(2)].into_iter().enumerate() {
            while ask(&quota, asking, &accounts, at(second)).is_ok() {
                served[index] += 1;
            }
        }
    }
    assert_eq!(served, [10, 10]);
}

/// What tenants get who all ask three times a minute, from one of the day's on to another, as often as they can.
fn serve(quota: &FreeQuota, tenants: &[AccountId], per_day: u32, minutes: Range<i64>) -> Vec<u32> {
    let accounts = [(account(1).0, per_day)];
    let mut served = vec![0; tenants.len()];
    for third in minutes.start * 3..minutes.end * 3 {
        for (tenant, served) in tenants.iter().zip(&mut served) {
            while ask(quota, *tenant, &accounts, at(third * 20)).is_ok() {
                *served += 1;
            }
        }
    }
    served
}

#[test]
fn of_a_day_one_alone_may_use_half_at_once_and_all_by_its_end() {
    let quota = FreeQuota::default();
    let accounts = [(account(1).0, PER_DAY_OF_POOR)];
    assert_eq!(serve(&quota, &[tenant(1)], PER_DAY_OF_POOR, 0..5), [25]);
    // One of the 25 that are kept is let go each 25th of the day.
    let wait = ask(&quota, tenant(1), &accounts, at(240)).unwrap_err();
    assert!(wait <= Duration::from_secs(86_400 / 25), "{wait:?}");
    let later = at(240 + i64::try_from(wait.as_secs()).unwrap() + 1);
    assert_eq!(ask(&quota, tenant(1), &accounts, later), Ok(()));

    assert_eq!(
        serve(&quota, &[tenant(1)], PER_DAY_OF_POOR, 60..1_440),
        [24]
    );
    let wait = ask(&quota, tenant(1), &accounts, at(86_400 - 60)).unwrap_err();
    assert_eq!(wait, Duration::from_secs(60));
    assert_eq!(ask(&quota, tenant(1), &accounts, at(86_400)), Ok(()));
}

#[test]
fn who_comes_later_in_the_day_finds_something_left() {
    for hour in [1, 6, 12, 18] {
        let quota = FreeQuota::default();
        let minute = hour * 60;
        let first = serve(&quota, &[tenant(1)], PER_DAY, 0..minute)[0];
        let kept = PER_DAY / 2 * u32::try_from(24 - hour).unwrap() / 24;
        let second = serve(&quota, &[tenant(2)], PER_DAY, minute..1_440)[0];
        assert!(
            second >= kept,
            "from {hour}:00 on {second} of {kept}, {first} before"
        );
    }
}

#[test]
fn a_day_is_shared_by_all_who_ask_all_the_time() {
    let quota = FreeQuota::default();
    let tenants = [tenant(1), tenant(2), tenant(3)];
    let served = serve(&quota, &tenants, PER_DAY, 0..1_440);
    assert_eq!(served.iter().sum::<u32>(), PER_DAY);
    let fair = PER_DAY / 3;
    assert!(
        served
            .iter()
            .all(|served| served.abs_diff(fair) <= fair / 20),
        "{served:?}"
    );
}

#[test]
fn what_other_replicas_used_counts_as_if_it_were_used_here() {
    let (one, two) = (FreeQuota::default(), FreeQuota::default());
    let accounts = [(account(1).0, PER_DAY_OF_POOR)];
    let (day, _) = two.to_share(at(0)).unwrap();
    assert_eq!(serve(&one, &[tenant(1)], PER_DAY_OF_POOR, 0..5), [25]);
    let (_, used) = one.to_share(at(240)).unwrap();
    two.shared::<()>(day, Ok(used)).unwrap();
    assert!(ask(&two, tenant(1), &accounts, at(240)).is_err());
    assert_eq!(serve(&two, &[tenant(2)], PER_DAY_OF_POOR, 4..8), [17]);

    // What could not be written down is told again; what was is not.
    let (_, used) = two.to_share(at(480)).unwrap();
    two.shared(day, Err(())).unwrap_err();
    assert_eq!(
        two.to_share(at(481)).map(|(_, again)| again.tenants),
        Some(used.tenants)
    );
    let nothing = FreeQuotaUse::default();
    assert_eq!(two.to_share(at(482)), Some((day, nothing)));
    assert_eq!(two.to_share(at(600)).map(|(day, _)| day), Some(day));
    assert_eq!(two.to_share(at(630)), None, "nobody asks");
}

#[test]
fn what_others_used_up_is_left_alone() {
    let (quota, accounts) = (FreeQuota::default(), [account(1)]);
    quota.used_up(accounts[0].0, Some(Duration::from_secs(7)), at(0));
    let wait = ask(&quota, tenant(1), &accounts, at(1)).unwrap_err();
    assert_eq!(wait, Duration::from_secs(6));
    assert_eq!(ask(&quota, tenant(1), &accounts, at(7)), Ok(()));
}

#[test]
fn the_quota_of_a_day_follows_what_was_bought() {
    let bought = |usd| CreditReading {
        bought: Nanos::from_usd(usd).unwrap(),
        used: Nanos::ZERO,
        pace: None,
        seen_at: START,
    };
    assert_eq!(per_day(None), 1_000);
    assert_eq!(per_day(Some(&bought(9))), 50);
    assert_eq!(per_day(Some(&bought(10))), 1_000);
}

proptest! {
    /// However tenants ask: an account is never asked more often than it may be, nothing is refused to one who has less
    /// than its part while anything is free, and who always asks comes to its part within a minute and a bit.
    #[test]
    fn nobody_is_left_without_a_part(tenants in 1..8_u128, greed in prop::collection::vec(1..30_usize, 8)) {
        let (quota, accounts) = (FreeQuota::default(), [account(1), account(2)]);
        let mut served: Vec<VecDeque<i64>> = vec![VecDeque::new(); 8];
        for second in 0..240 {
            for number in 0..tenants {
                let index = usize::try_from(number).unwrap();
                // The later ones come later.
                if second < index as i64 * 10 {
                    continue;
                }
                for _ in 0..greed[index] {
                    if ask(&quota, tenant(number), &accounts, at(second)).is_ok() {
                        served[index].push_back(second);
                    }
                }
            }
            let recent = served.iter().flatten().filter(|served| **served > second - 60).count();
            prop_assert!(recent <= 40);
        }
        let part = 40 / usize::try_from(tenants).unwrap();
        for served in &served[..usize::try_from(tenants).unwrap()] {
            let last_minute = served.iter().filter(|served| **served >= 180).count();
            prop_assert!(last_minute >= part, "{last_minute} of {part}");
        }
    }
}
