//! One running generation: what it has produced, and how its end is booked, however it ends.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    books::{Admission, Closing, GenerationState},
    catalog::OnCancel,
    shared::Shared,
    tariff::{Charge, Tariff, Tokens},
};

/// Microseconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

/// From what a charge follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Charging {
    /// From tokens and prices.
    Tariff(Tariff),
    /// From the request's own directive, whatever was produced.
    Fixed(Charge),
}

impl Charging {
    /// The charge for these tokens. Without output there is none.
    pub(crate) fn charge(&self, tokens: &Tokens) -> Charge {
        match self {
            _ if tokens.completion == 0 => Charge::default(),
            Self::Fixed(charge) => *charge,
            Self::Tariff(tariff) => Charge {
                cost: tariff.cost(tokens),
                ..Charge::default()
            },
        }
    }
}

/// When the generation record of an ended request appears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RecordDelay {
    Milliseconds { whole: u32, aborted: u32 },
    Never,
}

/// What an answer costs once it is given.
#[derive(Clone, Debug)]
pub(crate) struct Bill {
    pub(crate) model: Cow<'static, str>,
    pub(crate) provider: Cow<'static, str>,
    pub(crate) tokens: Tokens,
    pub(crate) charging: Charging,
    pub(crate) on_cancel: OnCancel,
    pub(crate) byok: bool,
    pub(crate) finish_reason: &'static str,
    /// When the generation ends if nobody stops it, in microseconds since the epoch.
    pub(crate) ends_at: u64,
    pub(crate) record: RecordDelay,
}

/// Whether an answer that failed is billed for what it produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailedOutput {
    Free,
    Billed,
}

/// Books the end of one generation exactly once; dropped without an end, its client has hung up.
#[derive(Debug)]
pub(crate) struct Meter {
    shared: Arc<Shared>,
    number: u64,
    key: Arc<str>,
    bill: Option<Bill>,
    produced: u64,
    ended: bool,
}

impl Meter {
    pub(crate) fn new(shared: &Arc<Shared>, admission: &Admission) -> Self {
        Self {
            shared: Arc::clone(shared),
            number: admission.number,
            key: Arc::clone(&admission.key),
            bill: None,
            produced: 0,
            ended: false,
        }
    }

    /// From here on the answer is generated; before, nothing is billed.
    pub(crate) fn start(&mut self, bill: Bill) {
        self.bill = Some(bill);
    }

    /// Counts output tokens.
    pub(crate) fn produce(&mut self, tokens: u64) {
        self.produced += tokens;
    }

    /// The whole answer is generated.
    pub(crate) fn complete(&mut self) {
        let produced = self.whole();
        self.end(GenerationState::Complete, 200, produced);
    }

    /// The answer failed.
    pub(crate) fn fail(&mut self, status: u16, output: FailedOutput) {
        let produced = match output {
            FailedOutput::Free => 0,
            FailedOutput::Billed => self.cancelled_output(),
        };
        self.end(GenerationState::Error, status, produced);
    }

    fn whole(&self) -> u64 {
        self.bill.as_ref().map_or(0, |bill| bill.tokens.completion)
    }

    fn cancelled_output(&self) -> u64 {
        match self.bill.as_ref().map(|bill| bill.on_cancel) {
            Some(OnCancel::RunsOn) => self.whole(),
            Some(OnCancel::Stops) | None => self.produced,
        }
    }

    fn end(&mut self, state: GenerationState, status: u16, produced: u64) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let ended_at = now();
        let mut closing = Closing {
            number: self.number,
            key: Arc::clone(&self.key),
            model: None,
            provider: Cow::Borrowed(""),
            ended_at,
            available_at: u64::MAX,
            state,
            status,
            byok: false,
            finish_reason: "error",
            tokens: Tokens::default(),
            charge: Charge::default(),
        };
        if let Some(bill) = self.bill.take() {
            closing.ended_at = match (state, bill.on_cancel) {
                (GenerationState::Cancelled, OnCancel::RunsOn) => ended_at.max(bill.ends_at),
                _ => ended_at,
            };
            if let RecordDelay::Milliseconds { whole, aborted } = bill.record {
                let delay = match state {
                    GenerationState::Cancelled => aborted,
                    _ => whole,
                };
                closing.available_at = closing.ended_at + u64::from(delay) * 1000;
            }
            closing.tokens = bill.tokens.after(produced);
            closing.charge = bill.charging.charge(&closing.tokens);
            closing.model = Some(bill.model);
            closing.provider = bill.provider;
            closing.byok = bill.byok;
            if state != GenerationState::Error {
                closing.finish_reason = bill.finish_reason;
            }
        }
        self.shared.books().close(closing);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let produced = self.cancelled_output();
        self.end(GenerationState::Cancelled, 499, produced);
    }
}
