//! A replica: the state machines of `billing`, driven as the data plane drives them. An input goes in, outputs come out;
//! a crash may fall between any two of them.

mod admitting;
mod leasing;
mod resolving;
mod serving;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use airouter_billing::budget::BudgetSlot;
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::tenure::{RENEW_EVERY_SECONDS, Tenure};
use airouter_billing::{BudgetId, Nanos, RequestId, Timestamp};

use crate::agenda::{MILLI, Moment, SECOND};
use crate::messages::{Answer, Call, Fenced, Job, OwnPending, ReplicaNumber, Unanswered};
use crate::population::{Catalog, Key, Terms};
use crate::upstream::{Piece, Question, Reported};

use leasing::Cell;
use resolving::Unsettled;
use serving::Running;
pub(crate) use serving::failed_attempt_id;
use settling::Settler;

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) request: RequestId,
    pub(crate) key: Key,
    pub(crate) terms: Terms,
    pub(crate) model: usize,
    pub(crate) prompt_bytes: u64,
    pub(crate) output_limit: Option<u64>,
    pub(crate) purpose: Purpose,
}

/// Why a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For an answer.
    Answer,
    /// To see whether this much can be held.
    Probe(Nanos),
}

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Start {
        spool: Vec<Job>,
    },
    Arrive(Box<Wanted>),
    Piece {
        request: RequestId,
        attempt: u32,
        piece: Piece,
    },
    ClientGone {
        request: RequestId,
        hangs_up: HangsUp,
    },
    Answered {
        call: u64,
        answer: Result<Answer, Unanswered>,
    },
    Record {
        request: RequestId,
        found: Option<Reported>,
    },
    Recall(BudgetId),
    BudgetChanged(BudgetId),
    Maintain,
    WriteDown,
    Renew,
    Tick,
    RetryCommit,
    CommitIsSlow(u64),
    AskAgain(RequestId),
    AskRecord(RequestId),
}

/// Whether hanging up stops the billing of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangsUp {
    /// It does: the request ends now.
    Now,
    /// It does not: the answer is read to its end.
    AtTheEnd,
}

#[derive(Clone, Debug)]
pub(crate) enum Output {
    Call(u64, Call),
    Timer(Moment, Input),
    Forward(Question),
    Cancel {
        request: RequestId,
        attempt: u32,
    },
    ReadRecord {
        request: RequestId,
        generation: String,
    },
    Publish(BudgetId),
    Spool(Job),
    Unspool(RequestId),
    /// The end of an answer goes to its client.
    End(RequestId),
    /// The client is told that its answer is not whole, or not recorded.
    CutOff(RequestId),
    Refuse(RequestId, Refusal),
    /// For the auditor: what a request holds from now on.
    Holds {
        request: RequestId,
        number: ReplicaNumber,
        hold: Nanos,
        charges: Vec<BudgetCharge>,
    },
    /// For the auditor: a request goes to a master account, at this discount.
    Attempt {
        request: RequestId,
        attempt: u32,
        discount: airouter_billing::Discount,
        failed_as: RequestId,
    },
    /// For the auditor: what a request takes instead of its holds.
    Spent {
        request: RequestId,
        charges: Vec<BudgetCharge>,
    },
    /// For the auditor: a request holds nothing any more.
    Dropped(RequestId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its budgets don't have as much.
    NoMoney,
    /// The database can't be asked, or the replica's leases are about to end.
    Away,
    /// Every attempt has failed.
    Upstream,
}

/// What a replica sees of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Senses<'a> {
    /// A clock that does not jump.
    pub(crate) steady: Timestamp,
    /// One that may.
    pub(crate) wall: Timestamp,
    pub(crate) catalog: &'a Catalog,
}

/// What a call was made for.
#[derive(Debug)]
enum Errand {
    Register {
        asked: Timestamp,
    },
    Renew {
        asked: Timestamp,
        number: ReplicaNumber,
    },
    Tick,
    Ask {
        slot: BudgetSlot,
        number: ReplicaNumber,
        amount: i64,
        at_least: i64,
    },
    GiveBack {
        number: ReplicaNumber,
        amounts: Vec<(BudgetSlot, i64)>,
        then: Option<(i64, i64)>,
    },
    Commit,
    TakeOver {
        number: ReplicaNumber,
    },
}

#[derive(Debug)]
pub(crate) struct Replica {
    number: Option<ReplicaNumber>,
    tenure: Option<Tenure>,
    /// When the last registration or renewal that succeeded was asked for.
    renewed_at: Timestamp,
    cells: BTreeMap<BudgetSlot, Rc<Cell>>,
    running: BTreeMap<RequestId, Running>,
    settler: Settler,
    unsettled: BTreeMap<RequestId, Unsettled>,
    errands: BTreeMap<u64, Errand>,
    calls: u64,
    ticks: u64,
    own_pending: OwnPending,
    /// Pending requests that are its own and that it knew nothing of when it looked.
    strays: BTreeSet<RequestId>,
    outputs: Vec<Output>,
}

impl Replica {
    /// A replica that has just been started; `life` keeps its calls apart from those of its earlier lives.
    pub(crate) fn new(life: u64) -> Self {
        Self {
            number: None,
            tenure: None,
            renewed_at: Timestamp::default(),
            cells: BTreeMap::new(),
            running: BTreeMap::new(),
            settler: Settler::default(),
            unsettled: BTreeMap::new(),
            errands: BTreeMap::new(),
            calls: life << 32,
            ticks: 0,
            own_pending: OwnPending::Not,
            strays: BTreeSet::new(),
            outputs: Vec::new(),
        }
    }

    /// Handles one input. What comes of it happens in this order.
    pub(crate) fn handle(&mut self, input: Input, senses: Senses<'_>) -> Vec<Output> {
        match input {
            Input::Start { spool } => self.start(spool, senses),
            Input::Arrive(wanted) => self.arrive(*wanted, senses),
            Input::Piece {
                request,
                attempt,
                piece,
            } => {
                self.hear(request, attempt, piece, senses);
            }
            Input::ClientGone { request, hangs_up } => self.client_gone(request, hangs_up, senses),
            Input::Answered { call, answer } => self.answered(call, answer, senses),
            Input::Record { request, found } => self.record_came(request, found, senses),
            Input::Recall(budget) => self.recall(budget),
            Input::BudgetChanged(budget) => self.budget_changed(budget),
            Input::Maintain => self.maintain(senses),
            Input::WriteDown => self.write_down(senses),
            Input::Renew => self.renew(senses),
            Input::Tick => self.tick(senses),
            Input::RetryCommit => self.retry_commit(),
            Input::CommitIsSlow(call) => self.commit_is_slow(call),
            Input::AskAgain(request) => self.ask_again(request, senses),
            Input::AskRecord(request) => self.ask_record(request),
        }
        std::mem::take(&mut self.outputs)
    }

    fn start(&mut self, spool: Vec<Job>, senses: Senses<'_>) {
        self.take_up_spool(spool, senses);
        self.call(
            Call::Register,
            Errand::Register {
                asked: senses.steady,
            },
        );
        for (after, input) in [
            (500 * MILLI, Input::Maintain),
            (RENEW_EVERY_SECONDS * SECOND, Input::Renew),
            (SECOND, Input::Tick),
        ] {
            self.outputs.push(Output::Timer(after, input));
        }
    }

    fn call(&mut self, call: Call, errand: Errand) -> u64 {
        self.calls += 1;
        self.errands.insert(self.calls, errand);
        self.outputs.push(Output::Call(self.calls, call));
        self.calls
    }

    fn answered(&mut self, call: u64, answer: Result<Answer, Unanswered>, senses: Senses<'_>) {
        let Some(errand) = self.errands.remove(&call) else {
            return;
        };
        match errand {
            Errand::Register { asked } => match answer {
                Ok(Answer::Registered(number)) => {
                    self.number = Some(number);
                    self.tenure = Some(Tenure::since(asked));
                    self.renewed_at = asked;
                    self.own_pending = OwnPending::Not;
                    self.take_over();
                    self.commit_next(senses);
                }
                _ => {
                    self.call(
                        Call::Register,
                        Errand::Register {
                            asked: senses.steady,
                        },
                    );
                }
            },
            Errand::Renew { asked, number } => match answer {
                Ok(Answer::Renewed(Ok(()))) if self.number == Some(number) => {
                    if let Some(tenure) = &mut self.tenure {
                        tenure.renewed(asked);
                        self.renewed_at = asked;
                    }
                }
                Ok(Answer::Renewed(Err(Fenced))) => self.fenced(number, senses),
                _ => {}
            },
            Errand::Tick => {
                if let Ok(Answer::Ended(ended)) = answer
                    && !ended.is_empty()
                {
                    self.take_over();
                }
            }
            Errand::Ask {
                slot,
                number,
                amount,
                at_least,
            } => {
                self.lease_answered((slot, number), (amount, at_least), answer, senses);
            }
            Errand::GiveBack {
                number,
                amounts,
                then,
            } => {
                self.given_back(number, &amounts, then, answer, senses);
            }
            Errand::Commit => self.committed(answer, senses),
            Errand::TakeOver { number } => match answer {
                Ok(Answer::TakenOver { taken, own }) => {
                    for pending in taken {
                        self.take_up(pending, senses);
                    }
                    self.look_through_own(own, senses);
                }
                _ if self.number == Some(number) => self.own_pending = OwnPending::Too,
                _ => {}
            },
        }
    }

    fn renew(&mut self, senses: Senses<'_>) {
        self.outputs
            .push(Output::Timer(RENEW_EVERY_SECONDS * SECOND, Input::Renew));
        self.ask_for_renewal(senses);
    }

    fn ask_for_renewal(&mut self, senses: Senses<'_>) {
        if let Some(number) = self.number {
            let asked = senses.steady;
            self.call(Call::Renew(number), Errand::Renew { asked, number });
        }
    }

    fn tick(&mut self, senses: Senses<'_>) {
        self.outputs.push(Output::Timer(SECOND, Input::Tick));
        self.ticks += 1;
        // A renewal that failed is tried again every second.
        let since_renewal = senses.steady.micros_since(self.renewed_at);
        if since_renewal > RENEW_EVERY_SECONDS.unsigned_abs() * 1_000_000 + 1_000_000 {
            self.ask_for_renewal(senses);
        }
        self.call(Call::EndSilent, Errand::Tick);
        if self.ticks.is_multiple_of(60) {
            self.own_pending = OwnPending::Too;
        }
        if self.ticks.is_multiple_of(10) {
            self.take_over();
        }
    }

    /// The database has ended this replica: its leases are gone, and it begins anew under another number.
    fn fenced(&mut self, number: ReplicaNumber, senses: Senses<'_>) {
        if self.number != Some(number) {
            return;
        }
        self.number = None;
        self.tenure = None;
        self.lapse_leases();
        self.call(
            Call::Register,
            Errand::Register {
                asked: senses.steady,
            },
        );
    }

    fn take_over(&mut self) {
        if let Some(replica) = self.number {
            let own = std::mem::replace(&mut self.own_pending, OwnPending::Not);
            self.call(
                Call::TakeOver { replica, own },
                Errand::TakeOver { number: replica },
            );
        }
    }

    /// What this replica says of its leases: slot, granted, held. For the auditor.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (BudgetSlot, i64)> {
        self.cells
            .iter()
            .filter_map(|(slot, cell)| cell.held().map(|held| (*slot, held)))
    }

    pub(crate) const fn number(&self) -> Option<ReplicaNumber> {
        self.number
    }

    /// Whether it can't have written down lately what runs: it has no number, or the database does not answer.
    pub(crate) fn is_cut_off(&self, steady: Timestamp) -> bool {
        self.number.is_none() || self.settler.has_waited(steady)
    }

    /// Whether it has nothing to do but to wait for requests.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.is_empty()
            && self.unsettled.is_empty()
            && self.settler.is_empty()
            && self.cells.values().all(|cell| cell.is_quiet())
    }
}
