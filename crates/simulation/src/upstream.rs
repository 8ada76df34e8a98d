//! The upstream, with books of its own: what it billed for each generation, in exact decimals.

use std::collections::BTreeMap;

use airouter_billing::price_book::{ModelPrices, PriceKey};
use airouter_billing::{RequestId, TokenCounts};

use crate::agenda::{MILLI, Moment, SECOND};
use crate::dice::Dice;
use crate::exact::Exact;

/// What a replica hears of an answer, piece by piece.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// The attempt failed before anything came; with a generation, it may have been billed.
    Failed { generation: Option<String> },
    /// The first event, which names the generation.
    First { generation: String },
    /// The last event.
    Last { usage: Option<Reported> },
    /// It broke off.
    Broken,
}

/// Usage as it is reported.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    pub(crate) tokens: TokenCounts,
    /// A decimal number as text.
    pub(crate) cost: Option<String>,
}

/// One generation in the upstream's books.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    /// What it billed, in dollars.
    pub(crate) billed: Exact,
    pub(crate) tokens: TokenCounts,
    prompt_price: Exact,
    completion_price: Exact,
    has_begun: bool,
    /// Whether the attempt failed before anything came of it.
    pub(crate) has_failed: bool,
    /// When its last piece was sent.
    pub(crate) answered_at: Moment,
    /// When its record can be read; never for some.
    readable_at: Option<Moment>,
}

/// What is asked of the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) request: RequestId,
    pub(crate) attempt: u32,
    pub(crate) prompt_bytes: u64,
    pub(crate) output_limit: u64,
}

/// How well an upstream behaves, in 10,000ths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) fails_first: i64,
    pub(crate) breaks_off: i64,
    pub(crate) hides_usage: i64,
    pub(crate) bills_more: i64,
    pub(crate) forgets: i64,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) generations: BTreeMap<(RequestId, u32), Generation>,
    pub(crate) manners: Manners,
}

/// The name of a generation.
pub(crate) fn generation_name(request: RequestId, attempt: u32) -> String {
    format!("gen-{:x}-{attempt}", request.get().as_u128())
}

impl Upstream {
    pub(crate) const fn new(manners: Manners) -> Self {
        Self {
            generations: BTreeMap::new(),
            manners,
        }
    }

    /// Begins an answer: what comes of it, and when.
    pub(crate) fn begin(
        &mut self,
        dice: &mut Dice,
        now: Moment,
        question: &Question,
        model: &ModelPrices,
    ) -> Vec<(Moment, Piece)> {
        let limit = i64::try_from(question.output_limit)
            .unwrap_or(i64::MAX)
            .max(1);
        let bytes = i64::try_from(question.prompt_bytes).unwrap_or(i64::MAX);
        let tokens = TokenCounts {
            prompt: count(dice.between(bytes / 5, bytes / 2 + 1)),
            completion: count(dice.between(0, limit + 1)),
            ..TokenCounts::default()
        };
        let mut generation = Generation {
            billed: Exact::ZERO,
            tokens,
            prompt_price: rate(model, PriceKey::Prompt),
            completion_price: rate(model, PriceKey::Completion),
            has_begun: false,
            has_failed: false,
            answered_at: now,
            readable_at: self.readable_at(dice, now),
        };
        let name = generation_name(question.request, question.attempt);
        let first = dice.between(20 * MILLI, 800 * MILLI);
        let length = dice.one_of(&[10 * MILLI, 300 * MILLI, 3 * SECOND, 40 * SECOND]);
        let last = first + dice.between(1, length);
        let fails = dice.happens(self.manners.fails_first);
        generation.has_failed = fails;
        generation.answered_at = now + if fails { first } else { last };
        if fails && dice.happens(7_000) {
            self.book(question, generation);
            return vec![(first, Piece::Failed { generation: None })];
        }
        generation.billed = generation.list_cost().plus(rate(model, PriceKey::Request));
        self.make_odd(dice, &mut generation);
        let reported = Reported {
            tokens,
            cost: Some(written(dice, generation.billed)),
        };
        self.book(question, generation);
        if fails {
            // After a quarter of an hour a failed attempt without a record counts as not billed.
            let key = (question.request, question.attempt);
            let soon = now + dice.between(SECOND, 60 * SECOND);
            if let Some(generation) = self.generations.get_mut(&key) {
                generation.readable_at = Some(soon);
            }
            let generation = Some(name);
            return vec![(first, Piece::Failed { generation })];
        }
        let end = if dice.happens(self.manners.breaks_off) {
            Piece::Broken
        } else {
            Piece::Last {
                usage: self.reported(dice, question, reported),
            }
        };
        vec![(first, Piece::First { generation: name }), (last, end)]
    }

    /// Where nothing was reported, what counts is the price book.
    fn reported(&self, dice: &mut Dice, question: &Question, full: Reported) -> Option<Reported> {
        if !dice.happens(self.manners.hides_usage) {
            return Some(full);
        }
        let generation = self
            .generations
            .get(&(question.request, question.attempt))?;
        let is_plain = generation.billed.equals(generation.list_cost());
        (is_plain && dice.happens(5_000)).then_some(Reported { cost: None, ..full })
    }

    fn book(&mut self, question: &Question, generation: Generation) {
        let key = (question.request, question.attempt);
        self.generations.insert(key, generation);
    }

    fn readable_at(&self, dice: &mut Dice, now: Moment) -> Option<Moment> {
        if dice.happens(self.manners.forgets) {
            return None;
        }
        let wait = dice.one_of(&[SECOND, SECOND, 8 * SECOND, 8 * SECOND, 900 * SECOND]);
        Some(now + dice.between(wait / 10, wait))
    }

    /// Not every bill is tokens × price: some have odd digits, some are free, some are far too high.
    fn make_odd(&self, dice: &mut Dice, generation: &mut Generation) {
        if dice.happens(self.manners.bills_more) {
            generation.billed = generation.billed.times(Exact::whole(4));
        }
        match dice.between(0, 20) {
            0 => generation.billed = Exact::ZERO,
            1..9 => {
                let share = Exact::new(i128::from(dice.between(800_000, 1_200_000)), 6);
                generation.billed = generation.billed.times(share);
            }
            _ => {}
        }
    }

    /// Stops a generation: one that had not begun is not billed.
    pub(crate) fn cancel(&mut self, dice: &mut Dice, request: RequestId, attempt: u32) {
        if let Some(generation) = self.generations.get_mut(&(request, attempt)) {
            if generation.has_begun {
                let made = i64::try_from(generation.tokens.completion).unwrap_or(0);
                generation.tokens.completion = count(dice.between(0, made + 1));
                generation.billed = generation.list_cost();
            } else {
                generation.billed = Exact::ZERO;
            }
        }
    }

    /// The first event of a generation was sent.
    pub(crate) fn begun(&mut self, request: RequestId, attempt: u32) {
        if let Some(generation) = self.generations.get_mut(&(request, attempt)) {
            generation.has_begun = true;
        }
    }

    /// The generation record, once it can be read.
    pub(crate) fn record(&self, request: RequestId, attempt: u32, now: Moment) -> Option<Reported> {
        let generation = self.generations.get(&(request, attempt))?;
        let is_readable = generation.readable_at.is_some_and(|at| at <= now);
        is_readable.then(|| Reported {
            tokens: generation.tokens,
            cost: Some(generation.billed.to_string()),
        })
    }
}

impl Generation {
    fn list_cost(&self) -> Exact {
        let prompt = Exact::whole(self.tokens.prompt).times(self.prompt_price);
        prompt.plus(Exact::whole(self.tokens.completion).times(self.completion_price))
    }
}

/// A listed price, as it is written in the list.
pub(crate) fn rate(model: &ModelPrices, key: PriceKey) -> Exact {
    let price = model.dearest(&[key]).unwrap_or_default();
    Exact::from_digits(price)
}

/// A number as upstreams print it: plain, or with an exponent.
fn written(dice: &mut Dice, number: Exact) -> String {
    if dice.happens(2_000) {
        let shift = dice.between(1, 6);
        let shifted = number.times(Exact::whole(10_u64.pow(shift.unsigned_abs() as u32)));
        return format!("{shifted}e-{shift}");
    }
    number.to_string()
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
