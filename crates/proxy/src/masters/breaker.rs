//! A circuit breaker: closed while all is well, open for a while after faults, half-open for one request that finds out
//! whether they are over. A pure state machine: whoever drives it tells the time.

use std::time::Duration;

use airouter_billing::Timestamp;

/// So many doubtful faults in a row open it.
const FAULTS_IN_A_ROW: u32 = 5;
/// Or half of at least so many outcomes since the first fault, within [`LOOK_BACK`].
const FEWEST_OUTCOMES: u32 = 20;
/// Outcomes are counted for so long after the first fault.
const LOOK_BACK: Duration = Duration::from_secs(10);
/// How long it is open after doubtful faults: at first, and at most.
const DOUBTFUL_WAIT: Wait = Wait::of_seconds(1, 60);

/// How long a breaker stays open: at first, and at most; each time that a probe fails it is twice as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    first: Duration,
    longest: Duration,
}

impl Wait {
    /// From so many seconds to so many.
    pub(crate) const fn of_seconds(first: u64, longest: u64) -> Self {
        Self {
            first: Duration::from_secs(first),
            longest: Duration::from_secs(longest),
        }
    }

    fn after(self, openings: u32) -> Duration {
        let factor = 2_u32.saturating_pow(openings);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It may pass: several of them open the breaker.
    Doubtful,
    /// It is certain to come again: the breaker opens.
    Certain(Wait),
    /// The other side says when to come again: the breaker opens until then, and nobody asks before.
    Told(Duration),
}

/// What a breaker looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Requests pass.
    Closed,
    /// One request may find out.
    Due,
    /// One request is finding out.
    Probing,
    /// Nobody should pass before the end.
    Open {
        /// Until when.
        until: Timestamp,
        /// Whether the other side asked for it.
        told: bool,
    },
}

/// How a request passes; its outcome goes back with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a probe without an outcome must be abandoned"]
pub(crate) enum Pass {
    /// With all the others.
    Usual {
        /// When.
        began: Timestamp,
    },
    /// As the one that finds out: the so-manieth probe.
    Probe(u64),
    /// Because nothing else is left.
    LastResort,
}

/// The breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breaker {
    state: State,
    /// How often it opened since it was last closed.
    openings: u32,
    /// Probes until now.
    probes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed(Option<Trouble>),
    Open {
        since: Timestamp,
        until: Timestamp,
        told: bool,
    },
    /// The last probe is on its way.
    HalfOpen {
        since: Timestamp,
    },
}

/// Outcomes since the first fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trouble {
    since: Timestamp,
    in_a_row: u32,
    faults: u32,
    outcomes: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed(None),
            openings: 0,
            probes: 0,
        }
    }
}

impl Breaker {
    /// What it looks like.
    pub(crate) fn look(&self, now: Timestamp) -> Look {
        match self.state {
            State::Closed(_) => Look::Closed,
            State::HalfOpen { .. } => Look::Probing,
            State::Open { until, .. } if until <= now => Look::Due,
            State::Open { until, told, .. } => Look::Open { until, told },
        }
    }

    /// Whether a success would change nothing, so that it needs not be told.
    pub(crate) const fn is_calm(&self) -> bool {
        matches!(self.state, State::Closed(None))
    }

    /// Lets a request pass, if one may: any while it is closed, one when its time has come.
    pub(crate) fn enter(&mut self, now: Timestamp) -> Option<Pass> {
        match self.state {
            State::Closed(_) => Some(Pass::Usual { began: now }),
            State::Open { since, until, .. } if until <= now => {
                self.state = State::HalfOpen { since };
                self.probes += 1;
                Some(Pass::Probe(self.probes))
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Lets a request pass for want of anything else, but not before the time that the other side told.
    pub(crate) fn enter_last(&mut self, now: Timestamp) -> Option<Pass> {
        match self.look(now) {
            Look::Closed | Look::Due => self.enter(now),
            Look::Open { told: true, .. } => None,
            Look::Probing | Look::Open { told: false, .. } => Some(Pass::LastResort),
        }
    }

    /// A request that passed found all well. One that passed before the breaker opened says nothing of now.
    pub(crate) fn succeeded(&mut self, pass: Pass, now: Timestamp) {
        match (&mut self.state, pass) {
            (State::Closed(trouble), _) => {
                if let Some(counted) = trouble {
                    counted.in_a_row = 0;
                    counted.outcomes = counted.outcomes.saturating_add(1);
                    if counted.is_over(now) {
                        *trouble = None;
                    }
                }
            }
            (State::Open { since, .. } | State::HalfOpen { since }, Pass::Usual { began })
                if began <= *since => {}
            (State::Open { .. } | State::HalfOpen { .. }, _) => self.reset(),
        }
    }

    /// A request that passed met a fault. Says whether this opened the breaker.
    pub(crate) fn failed(&mut self, pass: Pass, blow: Blow, now: Timestamp) -> bool {
        let was_closed = matches!(self.state, State::Closed(_));
        match (self.state, pass) {
            (State::Closed(trouble), _) => {
                let trouble = Trouble::with_a_fault(trouble, now);
                match blow {
                    Blow::Doubtful if !trouble.is_too_much() => {
                        self.state = State::Closed(Some(trouble));
                    }
                    blow => self.open(blow, now),
                }
            }
            (State::HalfOpen { .. }, Pass::Probe(number)) if number == self.probes => {
                self.open(blow, now);
            }
            // What passed before is no news, unless it says how long to wait.
            (State::Open { until, .. }, _) => {
                if let Blow::Told(wait) = blow {
                    let told = after(now, wait);
                    self.state = State::Open {
                        since: now,
                        until: until.max(told),
                        told: true,
                    };
                } else if pass == Pass::LastResort {
                    let again = after(now, wait_of(blow).first).max(until);
                    if let State::Open { until, .. } = &mut self.state {
                        *until = again;
                    }
                }
            }
            (State::HalfOpen { .. }, _) => {}
        }
        was_closed && !matches!(self.state, State::Closed(_))
    }

    /// A request that passed ended without saying anything about the other side: another one may find out.
    pub(crate) fn abandoned(&mut self, pass: Pass, now: Timestamp) {
        if let (State::HalfOpen { since }, Pass::Probe(number)) = (self.state, pass)
            && number == self.probes
        {
            self.state = State::Open {
                since,
                until: now,
                told: false,
            };
        }
    }

    /// Whatever was the matter is known to be over.
    pub(crate) fn reset(&mut self) {
        self.state = State::Closed(None);
        self.openings = 0;
    }

    fn open(&mut self, blow: Blow, now: Timestamp) {
        let (wait, told) = match blow {
            Blow::Told(wait) => (wait, true),
            blow => (wait_of(blow).after(self.openings), false),
        };
        self.openings = self.openings.saturating_add(1);
        self.state = State::Open {
            since: now,
            until: after(now, wait),
            told,
        };
    }
}

const fn wait_of(blow: Blow) -> Wait {
    match blow {
        Blow::Certain(wait) => wait,
        Blow::Doubtful | Blow::Told(_) => DOUBTFUL_WAIT,
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_add(micros))
}

impl Trouble {
    fn with_a_fault(before: Option<Self>, now: Timestamp) -> Self {
        let before = before.filter(|trouble| !trouble.is_over(now));
        let mut trouble = before.unwrap_or(Self {
            since: now,
            in_a_row: 0,
            faults: 0,
            outcomes: 0,
        });
        trouble.in_a_row = trouble.in_a_row.saturating_add(1);
        trouble.faults = trouble.faults.saturating_add(1);
        trouble.outcomes = trouble.outcomes.saturating_add(1);
        trouble
    }

    /// Old faults are forgotten, unless nothing but faults came since.
    fn is_over(&self, now: Timestamp) -> bool {
        self.in_a_row == 0 && u128::from(now.micros_since(self.since)) > LOOK_BACK.as_micros()
    }

    const fn is_too_much(&self) -> bool {
        let half = self.faults.saturating_mul(2) >= self.outcomes;
        self.in_a_row >= FAULTS_IN_A_ROW || (self.outcomes >= FEWEST_OUTCOMES && half)
    }
}

#[cfg(test)]
mod tests;
