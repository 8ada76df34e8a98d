//! The world: replicas, the database, the upstream and their clients in virtual time, and what befalls them.

mod fate;
mod machines;
mod network;
mod report;
mod traffic;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use airouter_billing::{RequestId, Timestamp};

use crate::agenda::{Agenda, Moment, SECOND};
use crate::auditor::Auditor;
use crate::database::Database;
use crate::dice::Dice;
use crate::messages::{Answer, Call, Unanswered};
use crate::population::{Catalog, Key, Population};
use crate::promise::{Broken, Promise};
use crate::replica::{Input, Output, Refusal, Wanted};
use crate::scenario::Scenario;
use crate::sight::Sight;
use crate::upstream::Upstream;
use crate::{Course, History};

use machines::Machine;
pub use report::Report;

/// 2026-12-01T00:00:00Z: a day and a month begin.
const MIDNIGHT: i64 = 1_796_083_200;
/// Steps that are told of when a promise breaks.
const LAST_STEPS: usize = 50;
/// Nobody waits longer than this for everything to come to rest: a day for generation records, a day by which a clock
/// was ahead when they were asked for first, and two hours.
const REST_WITHIN: Moment = 50 * 3_600 * SECOND;
/// After so long without traffic and trouble, replicas look around less often.
const CALM_AFTER: Moment = 400 * SECOND;

#[derive(Debug)]
enum Event {
    /// Something reaches a replica, if it still lives that life.
    Input {
        replica: usize,
        life: u64,
        input: Input,
    },
    /// Something reaches whatever runs there.
    Bus {
        replica: usize,
        input: Input,
    },
    Execute {
        replica: usize,
        life: u64,
        number: u64,
        call: Call,
        fate: Fate,
    },
    Request,
    Fate,
    Operator,
    Debit {
        account: usize,
        amount: i64,
    },
    Start(usize),
    Resume(usize),
    LinkBack(usize),
    DatabaseBack,
    BusBack,
    Calm,
    Look,
    SpendAll(Key),
}

/// What becomes of a call that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It arrives, the answer does not.
    AnswerLost,
    /// It arrives once more than it was sent.
    Extra,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There are requests and trouble.
    Busy,
    /// Everything is repaired and comes to rest.
    Resting {
        since: Moment,
    },
    /// Clients try to spend what is free.
    Probing {
        left: u32,
    },
    Over,
}

/// A probe that is under way: the whole of what is free.
#[derive(Clone, Copy, Debug)]
struct Probe {
    request: RequestId,
    is_held: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    dice: Dice,
    scenario: Scenario,
    agenda: Agenda<Event>,
    database: Database,
    upstream: Upstream,
    catalog: Catalog,
    population: Population,
    machines: Vec<Machine>,
    auditor: Auditor,
    asked: BTreeMap<RequestId, Rc<Wanted>>,
    database_is_up: bool,
    bus_is_up: bool,
    database_offset: Moment,
    database_jumps: u32,
    requests: u32,
    phase: Phase,
    probe: Option<Probe>,
    report: Report,
    steps: Option<VecDeque<String>>,
    told_steps: usize,
    crash_at: Option<u64>,
}

impl World {
    pub(crate) fn new(course: Course) -> Self {
        let mut dice = Dice::new(course.seed);
        let scenario = Scenario::new(&mut dice);
        let catalog = Catalog::new(&mut dice, scenario.accounts);
        let mut database = Database::default();
        let population = Population::new(&mut dice, scenario.accounts, &mut database);
        let mut world = Self {
            upstream: Upstream::new(scenario.manners),
            machines: (0..scenario.replicas).map(|_| Machine::new()).collect(),
            agenda: Agenda::new(),
            auditor: Auditor::default(),
            asked: BTreeMap::new(),
            database_is_up: true,
            bus_is_up: true,
            database_offset: 0,
            database_jumps: 0,
            requests: 0,
            phase: Phase::Busy,
            probe: None,
            report: Report::default(),
            steps: None,
            told_steps: LAST_STEPS,
            crash_at: course.crash_at,
            dice,
            scenario,
            database,
            catalog,
            population,
        };
        world.database.lease_clock.ticked_at = world.database_time();
        world.tell_auditor_of_credits();
        for machine in 0..world.machines.len() {
            world.agenda.plan(0, Event::Start(machine));
        }
        world.agenda.plan(SECOND, Event::Request);
        world.plan_trouble();
        world
    }

    /// Remembers steps, so that they can be told.
    pub(crate) fn remember_steps(&mut self, history: History) {
        self.told_steps = match history {
            History::LastSteps => LAST_STEPS,
            History::Whole => usize::MAX,
        };
        self.steps = Some(VecDeque::new());
    }

    /// The last steps.
    pub(crate) fn last_steps(self) -> Vec<String> {
        self.steps.unwrap_or_default().into()
    }

    /// Runs to the end, or to the first broken promise.
    pub(crate) fn run(&mut self) -> Result<Report, Broken> {
        while self.phase != Phase::Over {
            let Some(event) = self.agenda.next() else {
                break;
            };
            self.step(event)?;
        }
        self.auditor.check_end(&self.database, &self.upstream)?;
        self.sum_up();
        Ok(self.report.clone())
    }

    fn step(&mut self, event: Event) -> Result<(), Broken> {
        self.report.steps += 1;
        let mixed = self.dice.state() ^ self.agenda.now().cast_unsigned();
        self.report.trace = self.report.trace.rotate_left(5).wrapping_mul(31) ^ mixed;
        if self.steps.is_some() {
            self.say(format!("{event:?}"));
        }
        match event {
            Event::Input {
                replica,
                life,
                input,
            } => self.input(replica, life, input)?,
            Event::Bus { replica, input } => {
                let life = self.machines[replica].life;
                self.input(replica, life, input)?;
            }
            Event::Execute {
                replica,
                life,
                number,
                call,
                fate,
            } => {
                self.execute(replica, life, (number, &call), fate);
            }
            Event::Request => self.next_request(),
            Event::Fate => self.strike(),
            Event::Operator => self.operate()?,
            Event::Debit { account, amount } => self.adjust(account, amount),
            Event::Start(machine) => self.start(machine)?,
            Event::Resume(machine) => self.resume(machine),
            Event::LinkBack(machine) => self.machines[machine].is_linked = true,
            Event::DatabaseBack => self.database_is_up = true,
            Event::BusBack => self.bus_is_up = true,
            Event::Calm => self.rest(),
            Event::Look => self.look()?,
            Event::SpendAll(key) => self.spend_all(&key),
        }
        let now = self.agenda.now();
        self.auditor.check(&mut self.database, &self.upstream, now)
    }

    fn say(&mut self, what: String) {
        let now = self.agenda.now();
        if let Some(steps) = &mut self.steps {
            if steps.len() == self.told_steps {
                steps.pop_front();
            }
            steps.push_back(format!("{}.{:06} {what}", now / SECOND, now % SECOND));
        }
    }

    fn true_time(&self) -> Moment {
        (MIDNIGHT - self.scenario.before_midnight) * SECOND + self.agenda.now()
    }

    fn database_time(&self) -> Timestamp {
        Timestamp::from_micros(self.true_time() + self.database_offset)
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_micros(self.agenda.now())
    }

    /// One output of a replica happens.
    fn act(&mut self, at: usize, output: Output) -> Result<(), Broken> {
        match output {
            Output::Call(number, call) => self.send(at, number, call),
            Output::Timer(after, input) => {
                let after = self.calm(after, &input);
                self.plan_input(at, after, input);
            }
            Output::Forward(question) => self.forward(at, &question),
            Output::Cancel { request, attempt } => {
                self.upstream.cancel(&mut self.dice, request, attempt);
            }
            Output::ReadRecord {
                request,
                generation,
            } => {
                self.read_record(at, request, &generation);
            }
            Output::Publish(budget) => {
                self.saw(Sight::Recall);
                self.publish(&Input::Recall(budget));
            }
            Output::Spool(job) => {
                self.saw(Sight::Spooled);
                self.machines[at].spool.push(job);
            }
            Output::Unspool(request) => {
                self.machines[at]
                    .spool
                    .retain(|job| job.request() != request);
            }
            Output::End(request) => {
                let mut spool = self.machines[at].spool.iter();
                let spooled = spool.find(|job| job.request() == request);
                self.auditor.end_sent(request, &self.database, spooled)?;
            }
            Output::CutOff(request) => self.auditor.cut_off(request)?,
            Output::Refuse(request, why) => {
                self.saw(match why {
                    Refusal::NoMoney => Sight::NoMoney,
                    Refusal::Away => Sight::NoLease,
                    Refusal::Upstream => Sight::NoUpstream,
                });
                self.refused(request, why)?;
            }
            Output::Holds {
                request,
                number,
                hold,
                charges,
            } => {
                self.auditor
                    .admitted(request, number, (hold, &charges), &self.database)?;
                self.saw(Sight::Admitted);
                self.probe_is_held(request);
            }
            Output::Attempt {
                request,
                attempt,
                discount,
                failed_as,
                ..
            } => {
                let now = self.agenda.now();
                self.auditor
                    .attempted(request, attempt, (now, discount), failed_as);
            }
            Output::Spent { request, charges } => self.auditor.spent(request, &charges),
            Output::Dropped(request) => self.auditor.dropped(request),
        }
        Ok(())
    }

    fn plan_input(&mut self, at: usize, after: Moment, input: Input) {
        let life = self.machines[at].life;
        self.agenda.plan(
            after,
            Event::Input {
                replica: at,
                life,
                input,
            },
        );
    }

    /// While nothing happens, replicas are woken less often, so that a day passes quickly.
    fn calm(&self, after: Moment, input: &Input) -> Moment {
        let is_periodic = matches!(input, Input::Maintain | Input::Renew | Input::Tick);
        match self.phase {
            Phase::Resting { since } if is_periodic && self.agenda.now() > since + CALM_AFTER => {
                after.max(60 * SECOND)
            }
            _ => after,
        }
    }
}
