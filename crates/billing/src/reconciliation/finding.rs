//! Findings: what differs, by how much, and what is posted for it.

use rust_decimal::Decimal;

use super::BookedRequest;
use super::books::Repeated;
use super::spend::{Purse, Spend, SumOverflow, minus, nanos};
use crate::ids::{MasterAccountId, RequestId, TransactionId};
use crate::money::Nanos;
use crate::posting::{LedgerAccount, Posting, Transaction};
use crate::time::Timestamp;
use crate::utc_day::UtcDay;

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// What a day came to, beyond what is known of single requests.
    Day,
    /// A request.
    Request(RequestId),
    /// A generation that is booked more than once, by the upstream's id.
    Doubled(String),
    /// What the account's inference keys were used for between two readings.
    Keys,
    /// What was used of the account's credit between two readings.
    Credits,
}

impl About {
    /// The names of all kinds, in the database, in reports and in metrics.
    pub const KINDS: [&'static str; 5] = ["day", "request", "doubled", "keys", "credits"];

    /// The name of the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Request(_) => "request",
            Self::Doubled(_) => "doubled",
            Self::Keys => "keys",
            Self::Credits => "credits",
        }
    }

    /// Which request or generation it is; nothing where there is only one a day.
    pub fn subject(&self) -> String {
        match self {
            Self::Request(request) => request.to_string(),
            Self::Doubled(generation) => generation.clone(),
            Self::Day | Self::Keys | Self::Credits => String::new(),
        }
    }

    /// From the two columns.
    pub fn from_columns(kind: &str, subject: &str) -> Option<Self> {
        match kind {
            "day" => Some(Self::Day),
            "request" => Some(Self::Request(RequestId::new(subject.parse().ok()?))),
            "doubled" => Some(Self::Doubled(subject.to_owned())),
            "keys" => Some(Self::Keys),
            "credits" => Some(Self::Credits),
            _ => None,
        }
    }

    /// Whether it is about a single request, which explains a part of what its day differs by.
    pub const fn is_single(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Doubled(_))
    }

    /// Whether its difference is posted. What only the credit shows is posted by the day that it turns out to be of.
    const fn is_posted(&self) -> bool {
        !matches!(self, Self::Credits)
    }
}

/// What makes a finding the same one as before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FindingKey {
    /// At which master account.
    pub master_account: MasterAccountId,
    /// Of which day.
    pub day: UtcDay,
    /// What it is about.
    pub about: About,
    /// Out of which purse.
    pub purse: Purse,
}

/// How the two sides of something were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What.
    pub key: FindingKey,
    /// What is booked here.
    pub ours: Decimal,
    /// What the upstream says; `None` when it knows of no such request.
    pub theirs: Option<Decimal>,
    /// What nothing else explains of theirs − ours; zero when all is well.
    pub difference: Nanos,
    /// What one dollar of it costs the operator.
    pub cost_share: Decimal,
}

/// An entry of the list of findings, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub key: FindingKey,
    /// Which entry about it, from 1.
    pub number: i64,
    /// What was booked here then.
    pub ours: Decimal,
    /// What the upstream said then.
    pub theirs: Option<Decimal>,
    /// What this entry adds to those before it.
    pub difference: Nanos,
    /// What is posted for it.
    pub cost: Nanos,
    /// The transaction of the ledger; `None` when there is nothing to post.
    pub transaction: Option<TransactionId>,
    /// When it was found.
    pub found_at: Timestamp,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The upstream billed more than is booked.
    MissingHere,
    /// More is booked than the upstream billed.
    MissingThere,
    /// A request is booked at another cost than the upstream's.
    CostDiffers,
    /// The upstream knows of no such request.
    UnknownGeneration,
    /// A generation is booked more than once.
    Doubled,
}

impl What {
    /// The name in reports and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingHere => "missing_here",
            Self::MissingThere => "missing_there",
            Self::CostDiffers => "cost_differs",
            Self::UnknownGeneration => "unknown_generation",
            Self::Doubled => "doubled",
        }
    }

    const fn of(about: &About, difference: Nanos, theirs: Option<Decimal>) -> Self {
        match about {
            About::Doubled(_) => Self::Doubled,
            About::Request(_) if theirs.is_none() => Self::UnknownGeneration,
            About::Request(_) => Self::CostDiffers,
            About::Day | About::Keys | About::Credits if difference.is_negative() => {
                Self::MissingThere
            }
            About::Day | About::Keys | About::Credits => Self::MissingHere,
        }
    }
}

impl Observed {
    /// What is wrong, where something is.
    pub fn what(&self) -> What {
        What::of(&self.key.about, self.difference, self.theirs)
    }

    /// Why the ledger is adjusted.
    pub fn reason(&self) -> String {
        let (what, day) = (self.what().name(), self.key.day);
        format!("{what} on {day} {}", self.key.about.subject())
            .trim_end()
            .to_owned()
    }
}

impl Finding {
    /// What is wrong.
    pub const fn what(&self) -> What {
        What::of(&self.key.about, self.difference, self.theirs)
    }
}

/// What the entries about one finding come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Posted {
    /// How many there are.
    pub entries: i64,
    /// Their differences.
    pub difference: Nanos,
    /// What was posted for them.
    pub cost: Nanos,
}

/// One more entry about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextEntry {
    /// Its number.
    pub number: i64,
    /// What it adds.
    pub difference: Nanos,
    /// What is posted for it.
    pub cost: Nanos,
    /// The postings of its transaction; without any there is none.
    pub postings: Vec<Posting>,
}

/// What is to be entered so that the entries say what is observed; `None` when they do. A difference that was found
/// before and is gone is taken back by an entry of its own.
pub fn next_entry(observed: &Observed, posted: Posted) -> Result<Option<NextEntry>, SumOverflow> {
    let difference = observed.difference.checked_sub(posted.difference);
    let difference = difference.ok_or(SumOverflow)?;
    if difference == Nanos::ZERO {
        return Ok(None);
    }
    let share = if observed.key.about.is_posted() {
        observed.cost_share
    } else {
        Decimal::ZERO
    };
    let whole = observed.difference.usd().checked_mul(share);
    let cost = nanos(whole.ok_or(SumOverflow)?)?
        .checked_sub(posted.cost)
        .ok_or(SumOverflow)?;
    let mut transaction = Transaction::default();
    transaction.reconcile(observed.key.master_account, cost);
    Ok(Some(NextEntry {
        number: posted.entries + 1,
        difference,
        cost,
        postings: transaction.into_postings().map_err(|_| SumOverflow)?,
    }))
}

impl Transaction {
    /// Books what the upstream took and nobody has booked, as an expense; below zero, takes back what was booked and the
    /// upstream did not take.
    pub fn reconcile(&mut self, master_account: MasterAccountId, cost: Nanos) {
        let upstream = LedgerAccount::UpstreamCredit(master_account);
        self.transfer(
            LedgerAccount::Reconciliation(master_account),
            upstream,
            cost,
        );
    }
}

/// Compares a request with its generation record, which is `None` when the upstream has none: what each purse differs by.
pub fn compare(
    request: &BookedRequest,
    record: Option<Spend>,
) -> Result<Vec<(Purse, Nanos)>, SumOverflow> {
    differences(request.spend, record.unwrap_or_default())
}

/// Compares a generation that is booked more than once with its record; without one, with what it was booked at first.
pub fn compare_repeated(
    repeated: &Repeated,
    record: Option<Spend>,
) -> Result<Vec<(Purse, Nanos)>, SumOverflow> {
    differences(repeated.spend, record.unwrap_or(repeated.first.spend))
}

fn differences(ours: Spend, theirs: Spend) -> Result<Vec<(Purse, Nanos)>, SumOverflow> {
    Purse::ALL
        .into_iter()
        .map(|purse| Ok((purse, nanos(minus(theirs.of(purse), ours.of(purse))?)?)))
        .collect()
}
