//! The group commit, and the spool that stands in for it while the database is away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use airouter_billing::budget::BudgetSlot;
use airouter_billing::correction::{Answers, closes};
use airouter_billing::event::Ending;
use airouter_billing::recovery::PendingReason;
use airouter_billing::{RequestId, Timestamp};

use super::{Errand, Input, Output, Replica, Senses};
use crate::agenda::{MILLI, SECOND};
use crate::messages::{Answer, Call, Job, ReplicaNumber, Unanswered};

/// Most jobs of one commit.
const BATCH_SIZE: usize = 64;
/// An end waits so long for its commit before the spool is used.
const SPOOL_AFTER: i64 = 400 * MILLI;
/// A commit that takes longer was sent to a database that was away for a while.
const SLOW_MICROS: u64 = 200_000;
/// Between two attempts while the database is away.
const RETRY_AFTER: i64 = SECOND;

/// What is to be committed.
#[derive(Debug, Default)]
pub(super) struct Settler {
    queue: VecDeque<Job>,
    in_flight: Option<Flight>,
    /// Whose clients wait for the end of their answer.
    waiting: BTreeMap<RequestId, Ending>,
    spooled: BTreeSet<RequestId>,
    database: DatabaseIs,
    /// When a slow commit was answered last.
    slow_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum DatabaseIs {
    #[default]
    There,
    Away,
}

/// A commit that is under way, or is tried again soon.
#[derive(Debug)]
struct Flight {
    call: u64,
    since: Timestamp,
    spender: ReplicaNumber,
    owner: ReplicaNumber,
    jobs: Vec<Job>,
    /// As it was sent.
    answers: Answers,
}

impl Settler {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_none()
    }

    /// What is known of the answer that a job is about; `None` of one that nobody waits for.
    fn answer_of(&self, job: &Job) -> Option<Answers> {
        if !job.is_spooled() {
            None
        } else if self.spooled.contains(&job.request()) {
            Some(Answers::Acknowledged)
        } else {
            Some(Answers::Waiting)
        }
    }

    fn jobs(&self) -> impl Iterator<Item = &Job> {
        let in_flight = self.in_flight.iter().flat_map(|flight| &flight.jobs);
        in_flight.chain(&self.queue)
    }

    /// Whether it is about to commit something about a request.
    pub(super) fn knows(&self, request: RequestId) -> bool {
        self.jobs().any(|job| job.request() == request)
    }

    /// Whether it is about to commit something about a request that settles or opens it, whatever is pending.
    pub(super) fn knows_the_end_of(&self, request: RequestId) -> bool {
        let mut jobs = self.jobs().filter(|job| job.request() == request);
        jobs.any(|job| match job {
            Job::Event(event, _) => closes(event.outcome, PendingReason::UsageUnknown),
            Job::Open(_) | Job::Forget(_) => true,
            Job::Note(_) => false,
        })
    }

    /// Whether a commit waits for its answer, or has waited a moment ago, for so long that the database was away.
    pub(super) fn has_waited(&self, now: Timestamp) -> bool {
        let is_slow = |flight: &Flight| now.micros_since(flight.since) > SLOW_MICROS;
        let was_slow = |at: Timestamp| now.micros_since(at) < 1_000_000;
        self.in_flight.as_ref().is_some_and(is_slow) || self.slow_until.is_some_and(was_slow)
    }

    /// Budgets of which something was spent under this number that is not committed yet.
    pub(super) fn spent_of(&self, number: Option<ReplicaNumber>) -> BTreeSet<BudgetSlot> {
        self.jobs()
            .filter_map(|job| match job {
                Job::Event(event, spender) if Some(*spender) == number => Some(event),
                _ => None,
            })
            .flat_map(|event| event.charges.iter().map(|charge| charge.slot))
            .collect()
    }
}

impl Replica {
    /// What an earlier life has left on the disk is committed first.
    pub(super) fn take_up_spool(&mut self, spool: Vec<Job>, senses: Senses<'_>) {
        for job in spool {
            self.settler.spooled.insert(job.request());
            if let Job::Open(pending) = &job {
                self.find_out(pending.as_ref().clone(), None, senses);
            }
            self.settler.queue.push_back(job);
        }
    }

    pub(super) fn enqueue(&mut self, job: Job, senses: Senses<'_>) {
        self.settler.queue.push_back(job);
        if self.settler.database == DatabaseIs::Away {
            self.spool_all();
        }
        self.commit_next(senses);
    }

    pub(super) fn somebody_waits_for(&mut self, request: RequestId, ending: Ending) {
        self.settler.waiting.insert(request, ending);
    }

    pub(super) fn nobody_waits_for(&mut self, request: RequestId) {
        self.settler.waiting.remove(&request);
    }

    /// Commits what waits and was spent under one number, unless a commit is under way.
    pub(super) fn commit_next(&mut self, senses: Senses<'_>) {
        let (Some(owner), None) = (self.number, &self.settler.in_flight) else {
            return;
        };
        let mut spender = None;
        let mut answers = None;
        let mut jobs = Vec::new();
        while let Some(job) = self.settler.queue.front() {
            let answer = self.settler.answer_of(job);
            if answers.is_some() && answer.is_some() && answers != answer {
                break;
            }
            if let Job::Event(_, of) = job {
                if spender.is_some_and(|spender| spender != *of) {
                    break;
                }
                spender = Some(*of);
            }
            if jobs.len() == BATCH_SIZE {
                break;
            }
            answers = answers.or(answer);
            jobs.extend(self.settler.queue.pop_front());
        }
        if !jobs.is_empty() {
            let spender = spender.unwrap_or(owner);
            self.settler.in_flight = Some(Flight {
                call: 0,
                since: senses.steady,
                spender,
                owner,
                jobs,
                answers: answers.unwrap_or_default(),
            });
            self.retry_commit();
        }
    }

    pub(super) fn retry_commit(&mut self) {
        let in_flight = self.settler.in_flight.as_ref();
        let known = in_flight.and_then(|flight| {
            let mut jobs = flight.jobs.iter();
            jobs.find_map(|job| self.settler.answer_of(job))
        });
        let Some(flight) = &mut self.settler.in_flight else {
            return;
        };
        flight.owner = self.number.unwrap_or(flight.owner);
        flight.answers = known.unwrap_or(flight.answers);
        let call = Call::Commit {
            spender: flight.spender,
            owner: flight.owner,
            jobs: flight.jobs.clone(),
            answers: flight.answers,
        };
        let number = self.call(call, Errand::Commit);
        if let Some(flight) = &mut self.settler.in_flight {
            flight.call = number;
        }
        self.outputs
            .push(Output::Timer(SPOOL_AFTER, Input::CommitIsSlow(number)));
    }

    pub(super) fn commit_is_slow(&mut self, call: u64) {
        if self
            .settler
            .in_flight
            .as_ref()
            .is_some_and(|flight| flight.call == call)
        {
            self.settler.database = DatabaseIs::Away;
            self.spool_all();
        }
    }

    /// Everything that has to survive goes to the disk; then the ends of its answers may be sent.
    fn spool_all(&mut self) {
        let jobs: Vec<Job> = self
            .settler
            .jobs()
            .filter(|job| job.is_spooled() && !self.settler.spooled.contains(&job.request()))
            .cloned()
            .collect();
        for job in jobs {
            let request = job.request();
            self.settler.spooled.insert(request);
            self.outputs.push(Output::Spool(job));
            self.end(request);
        }
    }

    fn end(&mut self, request: RequestId) {
        match self.settler.waiting.remove(&request) {
            Some(Ending::Complete) => self.outputs.push(Output::End(request)),
            Some(_) => self.outputs.push(Output::CutOff(request)),
            None => {}
        }
    }

    pub(super) fn committed(&mut self, answer: Result<Answer, Unanswered>, senses: Senses<'_>) {
        let Ok(Answer::Committed { superseded, .. }) = answer else {
            self.settler.database = DatabaseIs::Away;
            self.spool_all();
            self.outputs
                .push(Output::Timer(RETRY_AFTER, Input::RetryCommit));
            return;
        };
        self.settler.database = DatabaseIs::There;
        let Some(flight) = self.settler.in_flight.take() else {
            return;
        };
        if senses.steady.micros_since(flight.since) > SLOW_MICROS {
            self.settler.slow_until = Some(senses.steady);
        }
        let mut again = Vec::new();
        for job in flight.jobs {
            let request = job.request();
            // Its end was sent after this was on its way: it is committed once more, as what it is by now.
            let is_late = flight.answers == Answers::Waiting && superseded.contains(&request);
            if is_late && self.settler.spooled.contains(&request) {
                again.push(job);
                continue;
            }
            if job.is_spooled() && self.settler.spooled.remove(&request) {
                self.outputs.push(Output::Unspool(request));
            }
            if superseded.contains(&request) {
                if self.settler.waiting.remove(&request).is_some() {
                    self.outputs.push(Output::CutOff(request));
                }
            } else if job.is_spooled() {
                self.end(request);
            }
        }
        for job in again.into_iter().rev() {
            self.settler.queue.push_front(job);
        }
        self.commit_next(senses);
    }
}
