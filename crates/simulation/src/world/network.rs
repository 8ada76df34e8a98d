//! What lies between replicas, the database and the upstream: latency, loss, and what comes twice.

use airouter_billing::RequestId;

use super::{Answer, Call, Event, Fate, Input, Unanswered, World};
use crate::agenda::{MILLI, Moment, SECOND};
use crate::sight::Sight;
use crate::upstream::{Question, generation_name};

impl World {
    fn latency(&mut self) -> Moment {
        let most = if self.is_lossy() && self.dice.happens(200) {
            300 * MILLI
        } else {
            10 * MILLI
        };
        self.dice.between(300, most)
    }

    /// A call sets out for the database.
    pub(super) fn send(&mut self, at: usize, number: u64, call: Call) {
        let life = self.machines[at].life;
        let there = self.latency();
        if !self.machines[at].is_linked {
            // A cut wire is silent; a closed one says so at once.
            let is_silent = self.dice.happens(5_000);
            let (after, why) = if is_silent {
                (3 * SECOND, Unanswered::Unknown)
            } else {
                (there, Unanswered::Refused)
            };
            return self.plan_input(
                at,
                after,
                Input::Answered {
                    call: number,
                    answer: Err(why),
                },
            );
        }
        if self.is_lossy() && self.dice.happens(self.scenario.losses) {
            self.saw(Sight::LostMessage);
            let answer = Err(Unanswered::Unknown);
            let after = self.dice.between(SECOND, 3 * SECOND);
            self.plan_input(
                at,
                after,
                Input::Answered {
                    call: number,
                    answer,
                },
            );
            if self.dice.happens(5_000) {
                let fate = Fate::AnswerLost;
                let event = Event::Execute {
                    replica: at,
                    life,
                    number,
                    call,
                    fate,
                };
                self.agenda.plan(there, event);
            }
            return;
        }
        // What adds to a lease or takes from it is never sent again: whoever does not know what became of it is in doubt.
        let may_repeat = !matches!(call, Call::Lease { .. } | Call::GiveBack { .. });
        if may_repeat && self.is_lossy() && self.dice.happens(self.scenario.doubles) {
            self.saw(Sight::DoubledMessage);
            let (call, fate) = (call.clone(), Fate::Extra);
            let after = there + self.dice.between(1, 2 * SECOND);
            self.agenda.plan(
                after,
                Event::Execute {
                    replica: at,
                    life,
                    number,
                    call,
                    fate,
                },
            );
        }
        let fate = Fate::Answered;
        self.agenda.plan(
            there,
            Event::Execute {
                replica: at,
                life,
                number,
                call,
                fate,
            },
        );
    }

    /// A call has reached the database.
    pub(super) fn execute(
        &mut self,
        at: usize,
        life: u64,
        (number, call): (u64, &Call),
        fate: Fate,
    ) {
        let answer = if self.database_is_up {
            let answer = self.database.execute(call, self.database_time());
            self.note_life_signs(call, &answer);
            Ok(answer)
        } else {
            Err(Unanswered::Refused)
        };
        if fate == Fate::Answered {
            let back = self.latency();
            let input = Input::Answered {
                call: number,
                answer,
            };
            self.agenda.plan(
                back,
                Event::Input {
                    replica: at,
                    life,
                    input,
                },
            );
        }
    }

    /// The auditor keeps its own account of when a replica was heard of.
    fn note_life_signs(&mut self, call: &Call, answer: &Answer) {
        let now = self.agenda.now();
        match answer {
            Answer::Renewed(Err(_)) | Answer::Leased(Err(_)) => self.saw(Sight::Fenced),
            Answer::Ended(ended) if !ended.is_empty() => self.saw(Sight::SilentReplica),
            Answer::TakenOver { taken, .. } if !taken.is_empty() => self.saw(Sight::TakenOver),
            Answer::Committed {
                superseded,
                corrected,
            } => {
                for (sight, count) in [
                    (Sight::Superseded, superseded.len()),
                    (Sight::Corrected, *corrected),
                ] {
                    (0..count).for_each(|_| self.saw(sight));
                }
            }
            _ => {}
        }
        match (call, answer) {
            (Call::Register, Answer::Registered(number)) => self.auditor.heard_of(*number, now),
            (Call::Renew(number), Answer::Renewed(Ok(())))
            | (
                Call::Lease {
                    replica: number, ..
                },
                Answer::Leased(Ok(_)),
            ) => {
                self.auditor.heard_of(*number, now);
            }
            _ => {}
        }
    }

    /// A request sets out for the upstream, and its pieces come back.
    pub(super) fn forward(&mut self, at: usize, question: &Question) {
        let request = question.request;
        let Some(model) = self
            .asked
            .get(&request)
            .map(|wanted| wanted.terms.model.clone())
        else {
            return;
        };
        let now = self.agenda.now();
        let pieces = self.upstream.begin(&mut self.dice, now, question, &model);
        let attempt = question.attempt;
        for (after, piece) in pieces {
            self.plan_input(
                at,
                after,
                Input::Piece {
                    request,
                    attempt,
                    piece,
                },
            );
        }
    }

    /// A generation record is asked for; the upstream does not always answer.
    pub(super) fn read_record(&mut self, at: usize, request: RequestId, generation: &str) {
        let wait = self.dice.between(20 * MILLI, 500 * MILLI);
        let now = self.agenda.now();
        let answers = !self.is_lossy() || !self.dice.happens(500);
        let (of, attempts) = self.auditor.generation_of(request);
        let attempt = attempts
            .into_iter()
            .find(|attempt| generation_name(of, *attempt) == generation);
        let found = attempt
            .filter(|_| answers)
            .and_then(|attempt| self.upstream.record(of, attempt, now));
        self.plan_input(at, wait, Input::Record { request, found });
    }

    /// A hint to every replica; it may not come.
    pub(super) fn publish(&mut self, input: &Input) {
        for replica in 0..self.machines.len() {
            let is_lost =
                !self.bus_is_up || (self.is_lossy() && self.dice.happens(self.scenario.bus_losses));
            if !is_lost {
                let after = self.dice.between(1, 30 * MILLI);
                self.agenda.plan(
                    after,
                    Event::Bus {
                        replica,
                        input: input.clone(),
                    },
                );
            }
        }
    }

    /// The change log: replicas read it twice a second, so that it reaches all of them.
    pub(super) fn log_change(&mut self, input: &Input) {
        for replica in 0..self.machines.len() {
            let after = self.dice.between(MILLI, 700 * MILLI);
            self.agenda.plan(
                after,
                Event::Bus {
                    replica,
                    input: input.clone(),
                },
            );
        }
    }

    fn is_lossy(&self) -> bool {
        self.phase == super::Phase::Busy
    }
}
