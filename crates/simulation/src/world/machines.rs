//! The machines that replicas run on: they start, act, are paused and crash.

use airouter_billing::Timestamp;

use super::{Event, MIDNIGHT, Phase, World};
use crate::agenda::{Moment, SECOND};
use crate::auditor::CutOff;
use crate::messages::Job;
use crate::promise::Broken;
use crate::replica::{Input, Output, Replica, Senses};
use crate::sight::Sight;
use crate::upstream::Piece;

/// A machine on which a replica runs, or not.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) replica: Option<Replica>,
    pub(super) life: u64,
    pub(super) spool: Vec<Job>,
    /// Since when it is paused, and what came since.
    pub(super) paused: Option<(Moment, Vec<(u64, Input)>)>,
    /// When it was paused last, and resumed.
    pub(super) slept: (Moment, Moment),
    pub(super) is_linked: bool,
    pub(super) clock_offset: Moment,
}

impl World {
    /// Hands an input to a replica, and does what it says.
    pub(super) fn input(&mut self, at: usize, life: u64, input: Input) -> Result<(), Broken> {
        if let Input::Piece {
            request,
            attempt,
            piece: Piece::First { .. },
        } = &input
        {
            self.upstream.begun(*request, *attempt);
        }
        let machine = &mut self.machines[at];
        if machine.life != life {
            return Ok(());
        }
        if let Some((_, paused)) = &mut machine.paused {
            paused.push((life, input));
            return Ok(());
        }
        let senses = Senses {
            steady: Timestamp::from_micros(self.agenda.now()),
            wall: Timestamp::from_micros(
                (MIDNIGHT - self.scenario.before_midnight) * SECOND
                    + self.agenda.now()
                    + machine.clock_offset,
            ),
            catalog: &self.catalog,
        };
        let Some(replica) = &mut machine.replica else {
            return Ok(());
        };
        let outputs = replica.handle(input, senses);
        for output in outputs {
            if self.steps.is_some() && !matches!(output, Output::Timer(..)) {
                self.say(format!("    {at}: {output:?}"));
            }
            if self.phase == Phase::Busy && self.crashes_now() {
                self.crash(at);
                return Ok(());
            }
            self.act(at, output)?;
        }
        let replica = self.machines[at].replica.as_ref();
        if let Some(replica) = replica
            && let Some(number) = replica.number()
            && !self.database.has_ended(number)
        {
            self.auditor.check_held(number, replica.leases())?;
        }
        Ok(())
    }

    /// Whether a replica crashes before its next action: by chance, or because the course says so.
    fn crashes_now(&mut self) -> bool {
        self.report.actions += 1;
        let is_meant = self.crash_at == Some(self.report.actions);
        self.dice.happens(self.scenario.crashes) || is_meant
    }

    pub(super) fn start(&mut self, at: usize) -> Result<(), Broken> {
        let machine = &mut self.machines[at];
        if machine.replica.is_some() {
            return Ok(());
        }
        machine.life += 1;
        machine.replica = Some(Replica::new(machine.life));
        let (life, spool) = (machine.life, machine.spool.clone());
        if !spool.is_empty() {
            self.saw(Sight::LateSpool);
        }
        self.input(at, life, Input::Start { spool })
    }

    /// All that a replica had in memory is gone; what is on its disk stays.
    pub(super) fn crash(&mut self, at: usize) {
        let now = self.agenda.now();
        let steady = self.steady();
        let machine = &mut self.machines[at];
        let Some(replica) = machine.replica.take() else {
            return;
        };
        machine.life += 1;
        // What it had not done when it was paused, it could not do any more.
        let awake_until = match (machine.paused.take(), machine.slept) {
            (Some((since, _)), _) => since,
            (None, (since, until)) if now - until < SECOND => since + (now - until),
            (None, _) => now,
        };
        let cut_off = if replica.is_cut_off(steady) || !machine.is_linked || !self.database_is_up {
            CutOff::Yes
        } else {
            CutOff::No
        };
        self.auditor.crashed(at, awake_until, cut_off);
        self.saw(Sight::Crash);
        let waits = [SECOND / 10, 3 * SECOND, 10 * SECOND, 400 * SECOND];
        let wait = self.dice.one_of(&waits);
        self.agenda.plan(wait, Event::Start(at));
        if self.steps.is_some() {
            self.say(format!("    {at}: crashes"));
        }
    }
}

impl Machine {
    pub(super) const fn new() -> Self {
        Self {
            replica: None,
            life: 0,
            spool: Vec::new(),
            paused: None,
            slept: (0, 0),
            is_linked: true,
            clock_offset: 0,
        }
    }
}
