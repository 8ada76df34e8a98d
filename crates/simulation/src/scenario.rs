//! How rough a run is, by its seed.

use crate::agenda::{MILLI, Moment, SECOND};
use crate::dice::Dice;
use crate::upstream::Manners;

/// What happens how often. Chances are in 10,000ths.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) replicas: usize,
    pub(crate) accounts: usize,
    pub(crate) requests: u32,
    /// The mean time between two requests.
    pub(crate) pace: Moment,
    /// The mean time between two blows of fate; `None`: there are none.
    pub(crate) fate: Option<Moment>,
    /// The mean time between two acts of the operator.
    pub(crate) operator: Option<Moment>,
    /// Of each output of a replica: that it crashes before it.
    pub(crate) crashes: i64,
    /// Of each message to the database: that it, or its answer, is lost.
    pub(crate) losses: i64,
    /// Of each message to the database that may be repeated: that it arrives twice.
    pub(crate) doubles: i64,
    /// Of each message on the bus: that it is lost.
    pub(crate) bus_losses: i64,
    pub(crate) leaves: i64,
    /// Seconds before midnight of the last day of a month, at which it begins.
    pub(crate) before_midnight: i64,
    pub(crate) manners: Manners,
}

impl Scenario {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let accounts = dice.one_of(&[1, 1, 3, 10, 40]);
        let is_large = dice.happens(50);
        let manners = Manners {
            fails_first: dice.one_of(&[0, 500, 2_000]),
            breaks_off: dice.one_of(&[0, 300, 1_500]),
            hides_usage: dice.one_of(&[0, 500, 2_000]),
            bills_more: dice.one_of(&[0, 0, 300, 1_500]),
            forgets: dice.one_of(&[0, 0, 0, 0, 0, 1_000]),
        };
        Self {
            replicas: dice.one_of(&[1, 2, 2, 3, 4]),
            accounts: if is_large { 2_000 } else { accounts },
            requests: if is_large {
                3_000
            } else {
                dice.one_of(&[40, 120, 300])
            },
            pace: dice.one_of(&[5 * MILLI, 100 * MILLI, SECOND, 4 * SECOND]),
            fate: dice.one_of(&[None, Some(5 * SECOND), Some(20 * SECOND), Some(60 * SECOND)]),
            operator: dice.one_of(&[None, Some(SECOND), Some(10 * SECOND)]),
            crashes: dice.one_of(&[0, 0, 2, 10, 60]),
            losses: dice.one_of(&[0, 0, 100, 1_000]),
            doubles: dice.one_of(&[0, 500, 3_000]),
            bus_losses: dice.one_of(&[0, 1_000, 10_000]),
            leaves: dice.one_of(&[0, 500, 3_000]),
            before_midnight: dice.one_of(&[2, 20, 60, 300]),
            manners,
        }
    }
}
