//! The upstream's own books: accounts, generations and what was billed, in integers.
//!
//! Everything is bounded: the oldest generations are forgotten (their amounts stay in the totals).

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;

use crate::{
    errors::ApiError,
    money::Picodollars,
    tariff::{Charge, Tokens},
};

/// Microseconds in a day.
pub(crate) const DAY_MICROSECONDS: u64 = 86_400_000_000;
/// Distinct `attempt_key`s that are remembered.
const MAXIMUM_ATTEMPT_KEYS: usize = 100_000;
/// Days of which it is kept what was used by model.
const ACTIVITY_DAYS: u64 = 40;
/// Accounts that may be added while running.
const MAXIMUM_ACCOUNTS: usize = 10_000;

/// What is wrong with an account, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountState {
    #[default]
    Ok,
    /// Every request gets 401.
    Disabled,
    /// Chat requests get 402.
    Broke,
    /// Chat requests get 403, "Key limit exceeded".
    KeyLimited,
    /// Every request gets 429.
    RateLimited,
    /// Every request gets 502.
    Failing,
    /// No request is ever answered.
    Hanging,
    /// The connection of every chat request closes without an answer.
    Resetting,
    /// Chat requests get a 200 that isn't JSON.
    Garbage,
    /// Chat requests get a 200 with an error inside.
    ErrorInside,
}

/// One key, which is an account of its own.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) state: AccountState,
    pub(crate) credit: Picodollars,
    pub(crate) billed: Picodollars,
    pub(crate) provider_billed: Picodollars,
    pub(crate) requests: u64,
    /// What was used, by the day in which it began.
    pub(crate) activity: BTreeMap<ActivityKey, Activity>,
}

/// Of what a row of `/activity` is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ActivityKey {
    /// Days since 1970, in UTC.
    pub(crate) day: u64,
    pub(crate) model: Cow<'static, str>,
    pub(crate) provider: Cow<'static, str>,
}

/// A row of `/activity`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    pub(crate) requests: u64,
    pub(crate) charge: Charge,
    pub(crate) tokens: Tokens,
}

impl Account {
    fn new(credit: Picodollars) -> Self {
        Self {
            state: AccountState::Ok,
            credit,
            billed: Picodollars::ZERO,
            provider_billed: Picodollars::ZERO,
            requests: 0,
            activity: BTreeMap::new(),
        }
    }

    /// What was charged in the days from this one on.
    pub(crate) fn charged_since(&self, day: u64) -> Charge {
        let rows = self.activity.iter().filter(|(key, _)| key.day >= day);
        rows.fold(Charge::default(), |sum, (_, row)| sum + row.charge)
    }

    /// Bills a request. What was used on days that are long over is forgotten.
    fn bill(&mut self, key: ActivityKey, tokens: Tokens, charge: Charge) {
        self.billed += charge.cost;
        self.provider_billed += charge.provider;
        if tokens.completion == 0 && charge.cost == Picodollars::ZERO {
            return;
        }
        let oldest = key.day.saturating_sub(ACTIVITY_DAYS);
        self.activity.retain(|key, _| key.day >= oldest);
        let row = self.activity.entry(key).or_default();
        row.requests += 1;
        row.charge = row.charge + charge;
        row.tokens = row.tokens + tokens;
    }

    /// What is left of the credit, at least zero.
    pub(crate) fn credit_left(&self) -> Picodollars {
        Picodollars::new(self.credit.get().saturating_sub(self.billed.get()))
    }
}

/// What may be changed while running.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Count so many prompt tokens a byte of the whole body, instead of a quarter of the messages' bytes.
    pub(crate) prompt_tokens_per_byte: Option<u32>,
    /// When a generation record appears after the end.
    pub(crate) generation_delay_ms: u32,
    /// The same after a client hung up.
    pub(crate) generation_delay_after_abort_ms: u32,
    /// What a generation record says of it.
    pub(crate) generation_cost: RecordedCost,
}

/// Whether generation records say what was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordedCost {
    Told,
    Hidden,
}

/// How a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GenerationState {
    Running,
    Complete,
    /// The client hung up before the end.
    Cancelled,
    Error,
}

impl GenerationState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }
}

/// Headers of note that a request came with: names and values.
pub(crate) type SeenHeaders = Box<[(Box<str>, Box<str>)]>;

/// One chat request, from when it was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) key: Arc<str>,
    pub(crate) model: Cow<'static, str>,
    pub(crate) provider: Cow<'static, str>,
    /// Microseconds since the epoch, as all times here.
    pub(crate) started_at: u64,
    pub(crate) ended_at: u64,
    /// From when `GET /generation` finds it; never, if the maximum.
    pub(crate) available_at: u64,
    pub(crate) state: GenerationState,
    pub(crate) status: u16,
    pub(crate) streamed: bool,
    pub(crate) byok: bool,
    pub(crate) finish_reason: &'static str,
    pub(crate) tokens: Tokens,
    pub(crate) charge: Charge,
    pub(crate) seen: SeenHeaders,
    pub(crate) user: Option<Box<str>>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) max_price: Option<Box<str>>,
}

/// What a request says of itself when it is opened.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    pub(crate) model: String,
    pub(crate) streamed: bool,
    pub(crate) seen: SeenHeaders,
    pub(crate) user: Option<Box<str>>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) max_price: Option<Box<str>>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the books say to a request that is opened.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) number: u64,
    pub(crate) started_at: u64,
    pub(crate) key: Arc<str>,
    pub(crate) state: AccountState,
    pub(crate) credit_left: Picodollars,
    pub(crate) settings: Settings,
}

/// How a generation ends.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) number: u64,
    pub(crate) key: Arc<str>,
    pub(crate) model: Option<Cow<'static, str>>,
    pub(crate) provider: Cow<'static, str>,
    pub(crate) ended_at: u64,
    pub(crate) available_at: u64,
    pub(crate) state: GenerationState,
    pub(crate) status: u16,
    pub(crate) byok: bool,
    pub(crate) finish_reason: &'static str,
    pub(crate) tokens: Tokens,
    pub(crate) charge: Charge,
}

/// Sums over everything since the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) running: u64,
    pub(crate) billed: Picodollars,
    pub(crate) provider_billed: Picodollars,
}

/// The last chat request as it arrived.
#[derive(Debug)]
pub(crate) struct LastRequest {
    pub(crate) number: u64,
    pub(crate) started_at: u64,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How the books begin, and what a reset returns to.
#[derive(Clone, Debug)]
pub(crate) struct Beginning {
    pub(crate) master_keys: Vec<String>,
    pub(crate) management_keys: Vec<String>,
    pub(crate) credit: Picodollars,
    pub(crate) keep_generations: usize,
    pub(crate) settings: Settings,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Inference,
    Management,
}

/// The books.
#[derive(Debug)]
pub(crate) struct Books {
    beginning: Beginning,
    pub(crate) settings: Settings,
    pub(crate) totals: Totals,
    pub(crate) last_request: Option<LastRequest>,
    accounts: HashMap<Arc<str>, Account>,
    generations: VecDeque<Generation>,
    next_number: u64,
    /// Generations before this number belong to a time before the last reset.
    floor: u64,
    attempts: HashMap<String, u32>,
}

impl Books {
    pub(crate) fn new(beginning: Beginning) -> Self {
        let mut books = Self {
            settings: beginning.settings,
            totals: Totals::default(),
            last_request: None,
            accounts: HashMap::new(),
            generations: VecDeque::new(),
            next_number: 1,
            floor: 1,
            attempts: HashMap::new(),
            beginning,
        };
        books.reset();
        books
    }

    /// Forgets everything but the numbering; what still runs is no longer booked.
    pub(crate) fn reset(&mut self) {
        let credit = self.beginning.credit;
        self.settings = self.beginning.settings;
        self.totals = Totals::default();
        self.last_request = None;
        self.generations.clear();
        self.floor = self.next_number;
        self.attempts.clear();
        self.accounts = self
            .beginning
            .master_keys
            .iter()
            .map(|key| (Arc::from(key.as_str()), Account::new(credit)))
            .collect();
    }

    /// The account of a key. A management key stands for the master key at the same place.
    pub(crate) fn account(&self, key: &str) -> Option<(KeyKind, Arc<str>, &Account)> {
        if let Some((name, account)) = self.accounts.get_key_value(key) {
            return Some((KeyKind::Inference, Arc::clone(name), account));
        }
        let place = self
            .beginning
            .management_keys
            .iter()
            .position(|management| management == key)?;
        let master = self.beginning.master_keys.get(place)?;
        let (name, account) = self.accounts.get_key_value(master.as_str())?;
        Some((KeyKind::Management, Arc::clone(name), account))
    }

    /// The account of a key, made if there is none; `None` when there are too many.
    pub(crate) fn account_or_new(&mut self, key: &str) -> Option<&mut Account> {
        if !self.accounts.contains_key(key) && self.accounts.len() >= MAXIMUM_ACCOUNTS {
            return None;
        }
        let credit = self.beginning.credit;
        Some(
            self.accounts
                .entry(Arc::from(key))
                .or_insert_with(|| Account::new(credit)),
        )
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = (&Arc<str>, &Account)> {
        self.accounts.iter()
    }

    /// Opens a generation for a chat request, or refuses its key.
    pub(crate) fn open(
        &mut self,
        key: &str,
        opening: Opening,
        now: u64,
    ) -> Result<Admission, ApiError> {
        let (kind, name, account) = self.account(key).ok_or_else(ApiError::unauthorized)?;
        if kind == KeyKind::Management {
            return Err(ApiError::unauthorized());
        }
        let (state, credit_left) = (account.state, account.credit_left());
        let number = self.next_number;
        self.next_number += 1;
        self.totals.requests += 1;
        self.totals.running += 1;
        if let Some(account) = self.accounts.get_mut(&name) {
            account.requests += 1;
        }
        if self.generations.len() >= self.beginning.keep_generations.max(1) {
            self.generations.pop_front();
        }
        self.generations.push_back(Generation {
            number,
            key: Arc::clone(&name),
            model: Cow::Owned(opening.model),
            provider: Cow::Borrowed(""),
            started_at: now,
            ended_at: 0,
            available_at: u64::MAX,
            state: GenerationState::Running,
            status: 0,
            streamed: opening.streamed,
            byok: false,
            finish_reason: "",
            tokens: Tokens::default(),
            charge: Charge::default(),
            seen: opening.seen,
            user: opening.user,
            max_tokens: opening.max_tokens,
            max_price: opening.max_price,
        });
        self.last_request = Some(LastRequest {
            number,
            started_at: now,
            headers: opening.headers,
            body: opening.body,
        });
        Ok(Admission {
            number,
            started_at: now,
            key: name,
            state,
            credit_left,
            settings: self.settings,
        })
    }

    /// Books the end of a generation. One from before a reset is ignored.
    pub(crate) fn close(&mut self, closing: Closing) {
        if closing.number < self.floor {
            return;
        }
        self.totals.running = self.totals.running.saturating_sub(1);
        self.totals.billed += closing.charge.cost;
        self.totals.provider_billed += closing.charge.provider;
        let row = self.generation(closing.number);
        let began = row.map_or(closing.ended_at, |row| row.started_at);
        let model = closing.model.clone();
        let key = ActivityKey {
            day: began / DAY_MICROSECONDS,
            model: model
                .or(row.map(|row| row.model.clone()))
                .unwrap_or_default(),
            provider: closing.provider.clone(),
        };
        if let Some(account) = self.accounts.get_mut(&closing.key) {
            account.bill(key, closing.tokens, closing.charge);
        }
        if let Some(place) = self.place(closing.number)
            && let Some(row) = self.generations.get_mut(place)
        {
            if let Some(model) = closing.model {
                row.model = model;
            }
            row.provider = closing.provider;
            row.ended_at = closing.ended_at;
            row.available_at = closing.available_at;
            row.state = closing.state;
            row.status = closing.status;
            row.byok = closing.byok;
            row.finish_reason = closing.finish_reason;
            row.tokens = closing.tokens;
            row.charge = closing.charge;
        }
    }

    /// The generation of a number, if it is still kept.
    pub(crate) fn generation(&self, number: u64) -> Option<&Generation> {
        self.generations.get(self.place(number)?)
    }

    /// Kept generations from a number on, oldest first.
    pub(crate) fn generations_since(&self, number: u64) -> impl Iterator<Item = &Generation> {
        let first = self.generations.front().map_or(0, |row| row.number);
        let skip = usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        self.generations.iter().skip(skip)
    }

    /// Counts an attempt and says which one it is, from 1. Unknown names beyond the bound count as their first.
    pub(crate) fn attempt(&mut self, name: &str) -> u32 {
        if let Some(count) = self.attempts.get_mut(name) {
            *count = count.saturating_add(1);
            return *count;
        }
        if self.attempts.len() < MAXIMUM_ATTEMPT_KEYS {
            self.attempts.insert(name.to_owned(), 1);
        }
        1
    }

    /// Rows are numbered without gaps, so that a number says where its row is.
    fn place(&self, number: u64) -> Option<usize> {
        let first = self.generations.front()?.number;
        usize::try_from(number.checked_sub(first)?).ok()
    }
}
