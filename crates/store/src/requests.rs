//! Single requests, as clients and the operator look at them. A request whose loss was corrected is what its correction
//! says; one that has not ended, or whose usage is still to be found out, is not there yet.

use airouter_billing::event::{Delivery, Ending, LossReason};
use airouter_billing::settlement::Covered;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{
    AccountId, ApiKeyId, MasterAccountId, Nanos, RequestId, Timestamp, TokenCounts,
};
use async_trait::async_trait;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::error::StoreError;
use crate::master_accounts::UpstreamKind;
use crate::shared_texts::PriceTerms;

/// So many requests are looked at for one page, so that a filter which few pass costs no more than one that all pass.
pub const MOST_EXAMINED: u16 = 5_000;

/// A request's id says when it came, to the millisecond; when it was admitted is at most so much later (its body may take
/// ten minutes), or, of a failed attempt, which has an id of its own, earlier.
const ID_AND_ADMISSION_SECONDS: i64 = 15 * 60;

/// Who bore what a request cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeFilter {
    /// The client was asked to pay.
    Charged,
    /// The client was asked to pay, and its budgets did not cover all of it.
    Uncollected,
    /// The client got something back.
    Refunded,
    /// The operator, for this reason.
    Lost(LossReason),
}

impl OutcomeFilter {
    /// The name in statements and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Uncollected => "uncollected",
            Self::Refunded => "refunded",
            Self::Lost(reason) => reason.name(),
        }
    }
}

/// Whether attempts that failed before another one served are requests too. They are the operator's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedAttempts {
    /// They are.
    #[default]
    Listed,
    /// They are not.
    Hidden,
}

/// Which requests. All that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Paid by this account.
    pub payer: Option<AccountId>,
    /// Sent with this key. Then the list is in the order in which requests ended.
    pub key: Option<ApiKeyId>,
    /// Sent with a key of this account.
    pub member: Option<AccountId>,
    /// For a model that the client asked for, or was told that served, by this name.
    pub model: Option<String>,
    /// Served by this model, by the upstream's name.
    pub served_model: Option<String>,
    /// Served by this master account.
    pub master_account: Option<MasterAccountId>,
    /// Ended so.
    pub ending: Option<Ending>,
    /// Borne so.
    pub outcome: Option<OutcomeFilter>,
    /// Admitted then or later.
    pub from: Option<Timestamp>,
    /// Admitted before.
    pub to: Option<Timestamp>,
    /// Whether failed attempts are listed.
    pub failed_attempts: FailedAttempts,
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct RequestQuery {
    /// Which requests.
    pub filter: RequestFilter,
    /// Only those after this one in the list.
    pub after: Option<RequestId>,
    /// At most so many, and no more than [`MOST_EXAMINED`].
    pub limit: u16,
}

impl RequestFilter {
    /// Whether all requests of a payer, of a key or of everybody pass.
    fn lets_all_pass(&self) -> bool {
        let Self { payer, key, .. } = *self;
        let only_whose = Self {
            payer: payer.filter(|_| key.is_none()),
            key,
            ..Self::default()
        };
        *self == only_whose
    }
}

impl RequestQuery {
    /// How many requests to look at.
    pub fn most_examined(&self) -> i64 {
        if self.filter.lets_all_pass() {
            i64::from(self.limit) + 1
        } else {
            i64::from(MOST_EXAMINED)
        }
    }

    /// The ids to look at are below this one.
    pub fn below(&self) -> Uuid {
        let after = self.after.map_or(Uuid::max(), RequestId::get);
        // By its key, the list is not in the order of ids.
        match self.filter.to.filter(|_| self.filter.key.is_none()) {
            Some(to) => after.min(first_id_of(to.plus_seconds(ID_AND_ADMISSION_SECONDS))),
            None => after,
        }
    }

    /// The ids to look at are this one or above.
    pub fn at_least(&self) -> Uuid {
        match self.filter.from {
            Some(from) => first_id_of(from.plus_seconds(-ID_AND_ADMISSION_SECONDS)),
            None => Uuid::nil(),
        }
    }

    /// The page, of at most one more id than asked for that passed. `last_examined` is asked for only where fewer passed:
    /// the id at which looking stopped because [`Self::most_examined`] were looked at.
    pub fn page(&self, mut passed: Vec<RequestId>, last_examined: Option<RequestId>) -> IdPage {
        let limit = usize::from(self.limit);
        let next = if passed.len() > limit {
            passed.truncate(limit);
            passed.last().copied()
        } else {
            last_examined
        };
        IdPage { ids: passed, next }
    }
}

/// The first id of a millisecond (RFC 9562, UUIDv7).
fn first_id_of(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_micros().div_euclid(1_000)).unwrap_or(0);
    let [_, _, a, b, c, d, e, f] = millis.min((1 << 48) - 1).to_be_bytes();
    Uuid::from_bytes([a, b, c, d, e, f, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])
}

/// A page as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPage {
    /// The requests, in their order.
    pub ids: Vec<RequestId>,
    /// After which one the next page begins; `None` at the end.
    pub next: Option<RequestId>,
}

/// A page of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPage {
    /// The requests, the newest first. With a filter there may be fewer than asked for, or none, although there are more.
    pub requests: Vec<RequestRecord>,
    /// After which one the next page begins; `None` at the end.
    pub next: Option<RequestId>,
}

impl RequestPage {
    /// Records, read in any order, in that of their ids.
    pub fn of(page: &IdPage, mut records: Vec<RequestRecord>) -> Self {
        let place = |record: &RequestRecord| page.ids.iter().position(|id| *id == record.id);
        records.sort_by_cached_key(place);
        Self {
            requests: records,
            next: page.next,
        }
    }
}

/// Who sent and paid for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSender {
    /// Who paid.
    pub payer: AccountId,
    /// The payer's name.
    pub payer_name: String,
    /// The key that sent it.
    pub key: ApiKeyId,
    /// What the key is called.
    pub key_name: Option<String>,
}

/// Where a request was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestServer {
    /// What the master account is called; its id is in the terms.
    pub name: Option<String>,
    /// What it speaks; `None` of one that is no more.
    pub kind: Option<UpstreamKind>,
    /// The upstream's id of the generation.
    pub generation_id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider that answered.
    pub provider: Option<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// The request.
    pub id: RequestId,
    /// The transaction of the ledger that books it.
    pub transaction: i64,
    /// Who sent it.
    pub sender: RequestSender,
    /// Where it was served.
    pub server: RequestServer,
    /// By what it was priced.
    pub terms: PriceTerms,
    /// How the answer was sent.
    pub delivery: Delivery,
    /// How it ended.
    pub ending: Ending,
    /// Tokens by kind.
    pub tokens: TokenCounts,
    /// What the upstream reported in USD, or tokens × price book.
    pub reported_cost: Decimal,
    /// Which of the two.
    pub source: CostSource,
    /// How the inference was paid.
    pub inference: Inference,
    /// The list cost in USD.
    pub list_cost: Decimal,
    /// What it cost the operator.
    pub cost: Nanos,
    /// What of the price was charged, and what was not collected.
    pub covered: Covered,
    /// Why the client pays nothing.
    pub loss: Option<LossReason>,
    /// Whether it was booked as a loss, and then corrected.
    pub is_corrected: bool,
    /// What was given back.
    pub refunded: Nanos,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When it was done.
    pub finished_at: Timestamp,
    /// Microseconds to the first byte.
    pub first_byte_micros: Option<u64>,
}

impl RequestRecord {
    /// What the client is asked to pay.
    pub fn price(&self) -> Nanos {
        let Covered {
            charged,
            uncollected,
        } = self.covered;
        charged.saturating_add(uncollected)
    }

    /// The model by the name that the client was told.
    pub fn shown_model(&self) -> &str {
        let shown = self.terms.shown_model.as_deref();
        let served = || self.server.model.as_deref();
        shown.or_else(served).unwrap_or(&self.terms.requested_model)
    }
}

/// Single requests.
#[async_trait]
pub trait Requests: Send + Sync + 'static {
    /// A page of a list, the newest first: in the order of their ids, which say when they came; with a key in that in which
    /// they ended. What is settled meanwhile makes nothing come twice or be left out that was there when the list began.
    async fn requests(&self, query: &RequestQuery) -> Result<RequestPage, StoreError>;

    /// One request.
    async fn request(&self, id: RequestId) -> Result<Option<RequestRecord>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_time_are_at_least_its_first() {
        let at = Timestamp::from_micros(1_795_176_000_123_456);
        let first = first_id_of(at);
        assert_eq!(first.to_string(), "01a1f8d3-ea7b-7000-8000-000000000000");
        let stamp = uuid::Timestamp::from_unix(uuid::NoContext, 1_795_176_000, 123_000_000);
        assert!(Uuid::new_v7(stamp) >= first);
        assert_eq!(first_id_of(Timestamp::from_micros(-1)).get_version_num(), 7);
    }

    #[test]
    fn only_a_filter_needs_a_longer_look() {
        let query = |filter| RequestQuery {
            filter,
            after: None,
            limit: 50,
        };
        let payer = Some(AccountId::new(Uuid::nil()));
        let key = Some(ApiKeyId::new(Uuid::nil()));
        let all = RequestFilter::default;
        assert_eq!(query(all()).most_examined(), 51);
        assert_eq!(query(RequestFilter { payer, ..all() }).most_examined(), 51);
        assert_eq!(query(RequestFilter { key, ..all() }).most_examined(), 51);
        // Its requests may be paid by another.
        let both = RequestFilter {
            payer,
            key,
            ..all()
        };
        assert_eq!(query(both).most_examined(), 5_000);
        let hidden = RequestFilter {
            failed_attempts: FailedAttempts::Hidden,
            ..all()
        };
        assert_eq!(query(hidden).most_examined(), 5_000);
    }
}
