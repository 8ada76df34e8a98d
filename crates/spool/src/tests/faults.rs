//! Every operation of the disk fails once, and the power fails at every operation.

use super::memory_disk::Unsynced;
use super::model::Model;

/// Appends and landings over several segments.
fn scenario(model: &mut Model) {
    model.append(&[30]);
    model.append(&[30, 0, 50]);
    model.append(&[190]);
    model.check();
    model.land(2);
    model.append(&[10]);
    model.append(&[10, 10]);
    model.check();
    model.land(5);
    model.append(&[150]);
    model.append(&[60]);
    model.land(1);
    for _ in 0..4 {
        model.append(&[5]);
    }
    model.check();
}

/// How many operations the scenario takes when all goes well.
fn operations() -> u64 {
    let mut model = Model::new();
    scenario(&mut model);
    let operations = model.disk.operations();
    assert!(operations > 25, "{operations}");
    operations
}

/// What comes after the scenario.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    Restart,
    LosePower(Unsynced),
    /// The process is restarted, goes on, and then the power fails.
    LosePowerLater(Unsynced),
}

const ENDS: [After; 9] = [
    After::Nothing,
    After::Restart,
    After::LosePower(Unsynced::Lost),
    After::LosePower(Unsynced::Kept),
    After::LosePower(Unsynced::Part(100)),
    After::LosePower(Unsynced::Part(200)),
    After::LosePower(Unsynced::Scattered(0b1010_1010)),
    After::LosePower(Unsynced::Zeros(128)),
    After::LosePowerLater(Unsynced::Lost),
];

/// The scenario on a disk that `trouble` was arranged for; then `after`, and the scenario again.
fn run(trouble: impl Fn(&mut Model), after: After) {
    let mut model = Model::new();
    trouble(&mut model);
    scenario(&mut model);
    match after {
        After::Nothing => model.disk.restart(),
        After::Restart => model.restart(),
        After::LosePower(unsynced) => model.lose_power(unsynced),
        After::LosePowerLater(unsynced) => {
            model.restart();
            model.append(&[5]);
            model.lose_power(unsynced);
        }
    }
    model.check();
    scenario(&mut model);
    model.check_end();
}

#[test]
fn after_any_failure_it_goes_on_and_nothing_acknowledged_is_lost() {
    for fail_after in 0..operations() {
        for count in 1..5 {
            for after in ENDS {
                run(|model| model.fail(fail_after, count), after);
            }
        }
    }
}

#[test]
fn a_disk_that_stays_broken_or_full_loses_nothing_acknowledged() {
    for fail_after in 0..operations() {
        for after in ENDS {
            run(|model| model.fail(fail_after, u64::MAX), after);
        }
    }
}

#[test]
fn killed_at_any_operation_it_loses_nothing_acknowledged_and_reports_no_damage() {
    for kill_after in 0..operations() {
        for after in ENDS {
            run(|model| model.kill(kill_after), after);
        }
    }
}
