//! Every planted fault is found, by a promise that it breaks; and a failing seed fails the same way again.

use airouter_billing::fault::Fault;
use airouter_simulation::{Course, Failure, History, Promise, run};

/// So many seeds are enough for each fault.
const SEEDS: u64 = 600;

/// Which promises a fault may be found by.
fn found_by(fault: Fault) -> &'static [Promise] {
    match fault {
        Fault::HoldSettledTwice | Fault::HoldLostOnRefusal | Fault::HoldLostOnDisconnect => {
            &[Promise::NothingForgotten]
        }
        Fault::ExpiredLeaseUsed | Fault::LapsedLeaseReturnedEarly | Fault::ResetForgetsHolds => {
            &[Promise::NeverOverdrawn]
        }
        Fault::SpoolReplayedTwice | Fault::RefundAboveCharge => &[Promise::BilledOnce],
        Fault::LossNotReversed => &[Promise::Conserved],
        Fault::RoundedPerChunk | Fault::PriceChangedInMidRequest => &[Promise::Exact],
    }
}

fn is_found(fault: Fault) -> Result<(), String> {
    let failure_of = |seed| -> Option<Box<Failure>> {
        let course = Course {
            fault: Some(fault),
            ..Course::of_seed(seed)
        };
        run(course, History::LastSteps).err()
    };
    let failure = (0..SEEDS).find_map(failure_of);
    let failure = failure.ok_or(format!("{fault:?} was not found in {SEEDS} seeds"))?;
    let promise = failure.broken.promise;
    assert!(found_by(fault).contains(&promise), "{failure}");
    assert!(!failure.steps.is_empty());
    let told = failure.to_string();
    assert!(told.contains(&format!(
        "--seed {} --fault {}",
        failure.course.seed,
        fault.name()
    )));
    let again = failure_of(failure.course.seed).ok_or("it passes now")?;
    assert_eq!((again.broken, again.steps), (failure.broken, failure.steps));
    Ok(())
}

macro_rules! faults {
    ($($test:ident: $fault:ident,)*) => {
        $(
            #[test]
            fn $test() -> Result<(), String> {
                is_found(Fault::$fault)
            }
        )*

        #[test]
        fn every_fault_has_its_test() {
            let tested = [$(Fault::$fault),*];
            assert_eq!(tested, Fault::ALL);
        }
    };
}

faults! {
    a_hold_settled_twice_is_found: HoldSettledTwice,
    a_hold_lost_on_refusal_is_found: HoldLostOnRefusal,
    a_hold_lost_on_disconnect_is_found: HoldLostOnDisconnect,
    a_lease_used_after_its_expiry_is_found: ExpiredLeaseUsed,
    a_lapsed_lease_returned_too_early_is_found: LapsedLeaseReturnedEarly,
    a_spool_replayed_twice_is_found: SpoolReplayedTwice,
    rounding_per_chunk_is_found: RoundedPerChunk,
    a_price_that_changes_in_mid_request_is_found: PriceChangedInMidRequest,
    a_reset_that_forgets_holds_is_found: ResetForgetsHolds,
    a_refund_above_its_charge_is_found: RefundAboveCharge,
    a_loss_that_is_not_reversed_is_found: LossNotReversed,
}
