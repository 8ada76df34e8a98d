//! What is counted of answers whose clients have gone, by what was done with them and by provider.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use airouter_billing::{Nanos, Outcome};
use prometheus::{IntCounter, IntCounterVec, Registry, Result};

use super::labels::{Abandonment, Bearer};
use super::register::counter_by;
use super::routes::nanodollars;

/// Providers with a label of their own; all others share one. Their names come from the upstream.
const MOST_PROVIDERS: usize = 50;
/// The longest name that becomes a label, in bytes.
const LONGEST_NAME: usize = 64;
/// The label of whatever has none of its own.
const OTHER: &str = "other";

/// All series about answers that were left.
#[derive(Debug)]
pub(super) struct AbandonedAnswers {
    answers: IntCounterVec,
    amounts: IntCounterVec,
    unread: IntCounterVec,
    known: Mutex<HashMap<String, Arc<ByProvider>>>,
    other: Arc<ByProvider>,
}

/// The series of one provider.
#[derive(Debug)]
struct ByProvider {
    answers: [IntCounter; Abandonment::ALL.len()],
    amounts: [[IntCounter; Bearer::ALL.len()]; Abandonment::ALL.len()],
    unread: [[IntCounter; Bearer::ALL.len()]; Abandonment::ALL.len()],
}

impl ByProvider {
    fn new(label: &str, answers: &IntCounterVec, money: [&IntCounterVec; 2]) -> Self {
        let by_bearer = |counters: &IntCounterVec| {
            Abandonment::ALL.map(|how| {
                Bearer::ALL
                    .map(|bearer| counters.with_label_values(&[how.name(), label, bearer.name()]))
            })
        };
        let [amounts, unread] = money.map(by_bearer);
        Self {
            answers: Abandonment::ALL.map(|how| answers.with_label_values(&[how.name(), label])),
            amounts,
            unread,
        }
    }
}

impl AbandonedAnswers {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let answers = counter_by(
            registry,
            "airouter_abandoned_answers_total",
            "Answers whose clients had gone before their end, and whose cost is booked.",
            &["how", "provider"],
        )?;
        let amounts = counter_by(
            registry,
            "airouter_abandoned_nanodollars_total",
            "What those answers came to as a whole: the price where the client bears it, the cost where the operator does.",
            &["how", "provider", "bearer"],
        )?;
        let unread = counter_by(
            registry,
            "airouter_unread_nanodollars_total",
            "The part of that for output that arrived after the client had gone, estimated by bytes.",
            &["how", "provider", "bearer"],
        )?;
        let other = Arc::new(ByProvider::new(OTHER, &answers, [&amounts, &unread]));
        Ok(Self {
            answers,
            amounts,
            unread,
            known: Mutex::default(),
            other,
        })
    }

    fn provider(&self, name: &str) -> Arc<ByProvider> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
            return Arc::clone(&self.other);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = known.get(name) {
            return Arc::clone(provider);
        }
        if known.len() >= MOST_PROVIDERS {
            return Arc::clone(&self.other);
        }
        let money = [&self.amounts, &self.unread];
        let provider = Arc::new(ByProvider::new(name, &self.answers, money));
        known.insert(name.to_owned(), Arc::clone(&provider));
        provider
    }

    pub(super) fn count(
        &self,
        how: Abandonment,
        provider: &str,
        outcome: Outcome,
        amount: Nanos,
        unread: Nanos,
    ) {
        let bearer = match outcome {
            Outcome::Charged => Bearer::Client,
            Outcome::Lost(_) => Bearer::Operator,
        };
        let provider = self.provider(provider);
        let (how, bearer) = (how as usize, bearer as usize);
        provider.answers[how].inc();
        provider.amounts[how][bearer].inc_by(nanodollars(amount));
        provider.unread[how][bearer].inc_by(nanodollars(unread));
    }
}
