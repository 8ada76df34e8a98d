//! A seeded, deterministic simulation of the money core.
//!
//! A few replicas, built of the state machines of `billing`, serve clients over a model of the database and an upstream
//! with books of its own, in virtual time. Messages get lost or come twice, replicas crash before and after everything
//! that they do, pause, and are cut off; clocks jump; periods end; prices, plans and caps change. After every step an
//! auditor with arithmetic of its own checks the promises. The same seed always goes the same way.

mod agenda;
mod auditor;
mod database;
mod dice;
mod exact;
mod messages;
mod population;
mod promise;
mod replica;
mod scenario;
mod sight;
mod upstream;
mod world;

use std::fmt;

use airouter_billing::fault::{self, Fault};

pub use promise::{Broken, Promise};
pub use sight::Sight;
pub use world::Report;
use world::World;

/// What is simulated: everything else follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Decides all that is left to chance.
    pub seed: u64,
    /// The fault that is planted.
    pub fault: Option<Fault>,
    /// Before which of all actions of replicas the acting one crashes, beside what the seed holds.
    pub crash_at: Option<u64>,
}

impl Course {
    /// A seed, and nothing else.
    pub const fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            fault: None,
            crash_at: None,
        }
    }
}

/// A course under which a promise breaks. It is written the same way for people and for tests that fail.
#[derive(Clone)]
pub struct Failure {
    /// The course.
    pub course: Course,
    /// What broke.
    pub broken: Broken,
    /// The steps before that, the last one last.
    pub steps: Vec<String>,
}

/// How much of a failing run is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// Its last steps.
    LastSteps,
    /// Every step.
    Whole,
}

/// Runs one course. A failure is told with the steps that led to it.
pub fn run(course: Course, history: History) -> Result<Report, Box<Failure>> {
    let _planted = fault::plant(course.fault);
    let broken = match World::new(course).run() {
        Ok(report) => return Ok(report),
        Err(broken) => broken,
    };
    let mut replay = World::new(course);
    replay.remember_steps(history);
    let broken = replay.run().err().unwrap_or(broken);
    let steps = replay.last_steps();
    Err(Box::new(Failure {
        course,
        broken,
        steps,
    }))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        let Course {
            seed,
            fault,
            crash_at,
        } = self.course;
        writeln!(f, "seed {seed} breaks a promise. {}", self.broken)?;
        write!(
            f,
            "again: cargo run -p airouter-simulation -- --seed {seed}"
        )?;
        if let Some(fault) = fault {
            write!(f, " --fault {}", fault.name())?;
        }
        if let Some(crash_at) = crash_at {
            write!(f, " --crash-at {crash_at}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}
