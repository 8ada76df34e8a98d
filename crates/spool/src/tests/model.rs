//! A spool against a list: whatever is appended and landed, and however processes and machines die in between.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::memory_disk::{MemoryDisk, Unsynced};
use super::*;
use crate::SpoolError;
use crate::format::DAMAGED;

/// What must hold of a spool whatever happens to its disk, but for damage.
pub(super) struct Model {
    pub(super) disk: MemoryDisk,
    spool: Spool,
    next_id: u64,
    /// Acknowledged and not landed.
    owed: BTreeSet<u64>,
    /// Landed in this process: must not come again before a restart.
    landed: BTreeSet<u64>,
    /// Something happened after which damage may be reported, though nothing acknowledged is lost: after a failed
    /// operation a number can be missing that was never acknowledged, and an append that a crash has filled up with zeros
    /// looks damaged.
    may_look_damaged: bool,
}

impl Model {
    pub(super) fn new() -> Self {
        let disk = MemoryDisk::default();
        let (spool, opened) = open(&disk);
        assert_eq!(opened, Opened::default());
        Self {
            disk,
            spool,
            next_id: 0,
            owed: BTreeSet::new(),
            landed: BTreeSet::new(),
            may_look_damaged: false,
        }
    }

    pub(super) fn append(&mut self, lengths: &[usize]) {
        let ids: Vec<u64> = (self.next_id..).take(lengths.len()).collect();
        self.next_id += lengths.len() as u64;
        let records: Vec<Vec<u8>> = ids
            .iter()
            .zip(lengths)
            .map(|(id, length)| record(*id, *length))
            .collect();
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        match self.spool.append(&slices) {
            Ok(()) => self.owed.extend(ids),
            Err(error) => assert!(matches!(error, SpoolError::Disk { .. }), "{error}"),
        }
    }

    pub(super) fn land(&mut self, count: usize) {
        let batch = self.spool.oldest(count, usize::MAX).unwrap();
        let Some(last) = batch.last() else {
            return;
        };
        // Records have landed whatever it says.
        let _ = self.spool.landed(last.position);
        for id in ids(&batch) {
            self.owed.remove(&id);
            self.landed.insert(id);
        }
    }

    /// The process dies, and another one goes on.
    pub(super) fn restart(&mut self) {
        self.disk.restart();
        let (spool, opened) = open(&self.disk);
        assert_eq!(opened.records, spool.len());
        assert_eq!(opened.bytes, spool.bytes());
        assert!(
            self.may_look_damaged || opened.damaged.is_empty(),
            "{opened:?}"
        );
        self.spool = spool;
        self.landed.clear();
    }

    pub(super) fn lose_power(&mut self, unsynced: Unsynced) {
        self.disk.lose_power(unsynced);
        self.may_look_damaged |= matches!(unsynced, Unsynced::Zeros(_));
        self.restart();
    }

    pub(super) fn fail(&mut self, after: u64, count: u64) {
        self.may_look_damaged = true;
        self.disk.fail(after, count);
    }

    pub(super) fn kill(&self, after: u64) {
        self.disk.kill(after);
    }

    pub(super) fn check(&self) {
        let waiting = ids(&all(&self.spool));
        assert_eq!(waiting.len() as u64, self.spool.len());
        assert!(waiting.is_sorted_by(|a, b| a < b), "{waiting:?}");
        assert!(waiting.iter().all(|id| *id < self.next_id));
        let waiting = BTreeSet::from_iter(waiting);
        assert!(
            waiting.is_superset(&self.owed),
            "lost: {waiting:?}, owed {:?}",
            self.owed
        );
        assert!(waiting.is_disjoint(&self.landed), "{waiting:?}");
    }

    /// What is left when everything has landed.
    pub(super) fn check_end(&mut self) {
        self.restart();
        let could_look_damaged = self.may_look_damaged;
        // What could not be removed goes with the next that lands.
        self.append(&[1]);
        self.land(usize::MAX);
        self.check();
        assert!(self.spool.is_empty());
        assert_eq!(self.spool.bytes(), 0);
        let is_set_aside = |name: &String| could_look_damaged && name.ends_with(DAMAGED);
        assert!(self.disk.names().iter().all(is_set_aside));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Land(usize),
    Restart,
    LosePower(Unsynced),
    Fail { after: u64, count: u64 },
    Kill { after: u64 },
}

fn unsynced() -> impl Strategy<Value = Unsynced> {
    prop_oneof![
        Just(Unsynced::Lost),
        Just(Unsynced::Kept),
        any::<u8>().prop_map(Unsynced::Part),
        any::<u8>().prop_map(Unsynced::Scattered),
        any::<u8>().prop_map(Unsynced::Zeros),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(0..120_usize, 1..4).prop_map(Step::Append),
        3 => (1..8_usize).prop_map(Step::Land),
        1 => Just(Step::Restart),
        2 => unsynced().prop_map(Step::LosePower),
        2 => (0..8_u64).prop_map(|after| Step::Kill { after }),
        1 => (0..6_u64, 1..5_u64).prop_map(|(after, count)| Step::Fail { after, count }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_acknowledged_is_read_until_it_has_landed(steps in vec(step(), 1..40)) {
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Append(lengths) => model.append(&lengths),
                Step::Land(count) => model.land(count),
                Step::Restart => model.restart(),
                Step::LosePower(unsynced) => model.lose_power(unsynced),
                Step::Fail { after, count } => model.fail(after, count),
                Step::Kill { after } => model.kill(after),
            }
            model.check();
        }
        model.check_end();
    }
}
