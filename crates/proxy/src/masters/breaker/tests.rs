use super::*;

use proptest::prelude::*;

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const KEY: Blow = Blow::Certain(Wait::of_seconds(60, 600));

fn at(seconds: i64) -> Timestamp {
    START.plus_seconds(seconds)
}

fn usual(seconds: i64) -> Pass {
    Pass::Usual { began: at(seconds) }
}

/// A breaker that doubtful faults have just opened.
fn opened() -> Breaker {
    let mut breaker = Breaker::default();
    for index in 1..=FAULTS_IN_A_ROW {
        let opened = breaker.failed(usual(0), Blow::Doubtful, at(0));
        assert_eq!(opened, index == FAULTS_IN_A_ROW);
    }
    breaker
}

#[test]
fn faults_in_a_row_open_it_and_one_probe_closes_it() {
    let mut breaker = opened();
    assert_eq!(breaker.enter(at(0)), None);
    assert_eq!(breaker.look(at(1)), Look::Due);
    assert_eq!(breaker.enter(at(1)), Some(Pass::Probe(1)));
    assert_eq!(breaker.look(at(1)), Look::Probing);
    assert_eq!(breaker.enter(at(2)), None, "one probe at a time");
    breaker.succeeded(Pass::Probe(1), at(2));
    assert!(breaker.is_calm());
}

#[test]
fn a_success_between_faults_keeps_it_closed() {
    let mut breaker = Breaker::default();
    for second in 0..3 {
        for _ in 1..FAULTS_IN_A_ROW {
            breaker.failed(usual(second), Blow::Doubtful, at(second));
        }
        breaker.succeeded(usual(second), at(second));
    }
    assert_eq!(breaker.look(at(3)), Look::Closed);
}

#[test]
fn half_of_many_outcomes_open_it() {
    let mut breaker = Breaker::default();
    let mut outcomes = 0;
    while breaker.look(at(1)) == Look::Closed {
        breaker.failed(usual(1), Blow::Doubtful, at(1));
        breaker.succeeded(usual(1), at(1));
        outcomes += 2;
        assert!(outcomes < 100);
    }
    // The fault that was one too many opened it; the success after it had passed before.
    assert_eq!(outcomes, FEWEST_OUTCOMES + 2);
}

#[test]
fn a_probe_that_fails_doubles_the_wait_up_to_a_bound() {
    let mut breaker = Breaker::default();
    assert!(breaker.failed(usual(0), KEY, at(0)));
    let mut now = at(0);
    for seconds in [60, 120, 240, 480, 600, 600] {
        let end = now.plus_seconds(seconds);
        assert_eq!(
            breaker.look(now),
            Look::Open {
                until: end,
                told: false
            }
        );
        let probe = breaker.enter(end).unwrap();
        assert!(!breaker.failed(probe, KEY, end), "it was open already");
        now = end;
    }
}

#[test]
fn what_the_other_side_told_is_obeyed_even_at_the_last() {
    let mut breaker = Breaker::default();
    breaker.failed(usual(0), Blow::Told(Duration::from_secs(30)), at(0));
    assert_eq!(
        breaker.look(at(1)),
        Look::Open {
            until: at(30),
            told: true
        }
    );
    assert_eq!(breaker.enter_last(at(29)), None);
    assert_eq!(breaker.enter_last(at(30)), Some(Pass::Probe(1)));
}

#[test]
fn as_a_last_resort_an_open_one_is_tried() {
    let mut breaker = opened();
    assert_eq!(breaker.enter_last(at(0)), Some(Pass::LastResort));
    breaker.failed(Pass::LastResort, Blow::Doubtful, at(5));
    assert_eq!(
        breaker.look(at(5)),
        Look::Open {
            until: at(6),
            told: false
        }
    );
    breaker.succeeded(Pass::LastResort, at(5));
    assert_eq!(breaker.look(at(5)), Look::Closed);
}

#[test]
fn a_success_from_before_is_no_news() {
    let mut breaker = Breaker::default();
    breaker.failed(usual(2), KEY, at(3));
    breaker.succeeded(usual(2), at(4));
    assert_ne!(breaker.look(at(4)), Look::Closed);
    assert_eq!(breaker.enter(at(63)), Some(Pass::Probe(1)));
    breaker.succeeded(usual(3), at(64));
    assert_eq!(breaker.look(at(64)), Look::Probing);
}

#[test]
fn a_probe_without_an_outcome_lets_another_one_find_out() {
    let mut breaker = opened();
    let probe = breaker.enter(at(1)).unwrap();
    breaker.abandoned(probe, at(2));
    assert_eq!(breaker.enter(at(2)), Some(Pass::Probe(2)));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    EnterLast,
    /// How the oldest of those that passed ends.
    Succeed,
    Fail(Blow),
    Abandon,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let blow = prop_oneof![
        3 => Just(Blow::Doubtful),
        1 => Just(KEY),
        1 => (1..90_u64).prop_map(|seconds| Blow::Told(Duration::from_secs(seconds))),
    ];
    prop_oneof![
        4 => Just(Step::Enter),
        1 => Just(Step::EnterLast),
        2 => Just(Step::Succeed),
        3 => blow.prop_map(Step::Fail),
        1 => Just(Step::Abandon),
        2 => (0..100_i64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order: never is more than one probe awaited, an open breaker lets nobody pass before its
    /// time, a time that was told is obeyed, and it always opens to a probe again.
    #[test]
    fn its_rules_always_hold(steps in prop::collection::vec(step(), 0..200)) {
        let (mut breaker, mut now) = (Breaker::default(), 0);
        let mut passed: Vec<Pass> = Vec::new();
        for step in steps {
            let before = breaker.look(at(now));
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Enter => {
                    let pass = breaker.enter(at(now));
                    let expected = matches!(before, Look::Closed | Look::Due);
                    prop_assert_eq!(pass.is_some(), expected);
                    passed.extend(pass);
                }
                Step::EnterLast => {
                    let pass = breaker.enter_last(at(now));
                    let told = matches!(before, Look::Open { told: true, .. });
                    prop_assert_eq!(pass.is_none(), told);
                    passed.extend(pass);
                }
                Step::Succeed | Step::Fail(_) | Step::Abandon if passed.is_empty() => {}
                Step::Succeed => breaker.succeeded(passed.remove(0), at(now)),
                Step::Fail(blow) => {
                    breaker.failed(passed.remove(0), blow, at(now));
                    if !matches!(blow, Blow::Doubtful) {
                        prop_assert_ne!(breaker.look(at(now)), Look::Closed);
                    }
                }
                Step::Abandon => breaker.abandoned(passed.remove(0), at(now)),
            }
            if breaker.look(at(now)) == Look::Probing {
                let awaited = Pass::Probe(breaker.probes);
                prop_assert!(passed.contains(&awaited), "nobody would ever end it");
            }
        }
        for pass in passed {
            breaker.abandoned(pass, at(now));
        }
        prop_assert!(breaker.enter(at(now + 600)).is_some());
    }
}
