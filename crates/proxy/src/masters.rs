//! Master accounts as requests see them: which to ask, and which are put aside for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use airouter_billing::{Discount, MasterAccountId, Timestamp};
use airouter_openrouter::{ControlClient, Fault};
use http::{HeaderValue, Uri};
use rust_decimal::Decimal;
use secrecy::{ExposeSecret, SecretString};

use crate::metrics::MasterMetrics;

/// How long an account is put aside for a bad key.
const BAD_KEY_SECONDS: i64 = 60;
/// How long for want of credit.
const NO_CREDIT_SECONDS: i64 = 60;
/// How long for a rate limit that does not say.
const RATE_LIMITED_SECONDS: i64 = 5;
/// The longest wait that a rate limit may ask for.
const LONGEST_WAIT_SECONDS: u64 = 600;

/// A master account that can be asked.
pub struct Master {
    /// Its id.
    pub id: MasterAccountId,
    /// Its name, in logs and metrics.
    pub name: String,
    /// Its discount.
    pub discount: Discount,
    /// Where chat requests go.
    pub chat: Uri,
    /// `Authorization` of requests to it; marked as sensitive.
    pub authorization: HeaderValue,
    /// Its key, for the control API.
    pub key: SecretString,
    /// The control API of its upstream.
    pub control: ControlClient,
    /// Its series.
    pub metrics: Arc<MasterMetrics>,
    put_aside_at: AtomicI64,
    put_aside_until: AtomicI64,
    in_flight: AtomicUsize,
}

/// A master account whose key or address can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableMaster {
    /// The key has characters that no header may have.
    #[error("the key can't be sent in a header")]
    Key,
    /// The upstream's address is none.
    #[error("the upstream's address is not a URL")]
    BaseUrl,
}

/// What a [`Master`] is made of.
pub struct MasterParts {
    /// Its id.
    pub id: MasterAccountId,
    /// Its name.
    pub name: String,
    /// Its discount.
    pub discount: Discount,
    /// The upstream's address, up to `/api/v1`.
    pub base_url: String,
    /// Its key.
    pub key: SecretString,
    /// The control API of its upstream.
    pub control: ControlClient,
    /// Its series.
    pub metrics: Arc<MasterMetrics>,
}

impl Master {
    /// A master account that is not put aside.
    pub fn new(parts: MasterParts) -> Result<Self, UnusableMaster> {
        let chat = format!("{}/chat/completions", parts.base_url.trim_end_matches('/'));
        let chat = chat.parse().map_err(|_| UnusableMaster::BaseUrl)?;
        let bearer = format!("Bearer {}", parts.key.expose_secret());
        let mut authorization = HeaderValue::from_str(&bearer).map_err(|_| UnusableMaster::Key)?;
        authorization.set_sensitive(true);
        Ok(Self {
            id: parts.id,
            name: parts.name,
            discount: parts.discount,
            chat,
            authorization,
            key: parts.key,
            control: parts.control,
            metrics: parts.metrics,
            put_aside_at: AtomicI64::new(0),
            put_aside_until: AtomicI64::new(0),
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Whether it is the same account, asked in the same way at the same cost.
    pub fn is_like(&self, other: &Self) -> bool {
        self.id == other.id
            && self.name == other.name
            && self.discount == other.discount
            && self.chat == other.chat
            && self.key.expose_secret() == other.key.expose_secret()
    }

    /// Puts it aside if `fault` is certainly its own. A provider's fault never is.
    pub fn note_fault(&self, fault: Fault, now: Timestamp) {
        let seconds = match fault {
            Fault::BadKey => BAD_KEY_SECONDS,
            Fault::NoCredit | Fault::KeyLimited => NO_CREDIT_SECONDS,
            Fault::AccountRateLimited { retry_after } => {
                retry_after.map_or(RATE_LIMITED_SECONDS, whole_seconds)
            }
            Fault::NotPermitted
            | Fault::ProviderRateLimited { .. }
            | Fault::ProviderFailed
            | Fault::Timeout
            | Fault::Request => return,
        };
        self.metrics.set_put_aside(1);
        let until = now.plus_seconds(seconds).as_micros();
        self.put_aside_at
            .fetch_max(now.as_micros(), Ordering::Relaxed);
        let before = self.put_aside_until.fetch_max(until, Ordering::Relaxed);
        if before < now.as_micros() {
            tracing::warn!(
                master_account = self.name,
                ?fault,
                seconds,
                "a master account is put aside"
            );
        }
    }

    /// It served a request that began at `began`: whatever was the matter before is over.
    pub fn note_success(&self, began: Timestamp) {
        let is_news = began.as_micros() > self.put_aside_at.load(Ordering::Relaxed);
        if is_news && self.put_aside_until.load(Ordering::Relaxed) != 0 {
            self.put_aside_until.store(0, Ordering::Relaxed);
            self.metrics.set_put_aside(0);
            tracing::info!(master_account = self.name, "a master account serves again");
        }
    }

    /// Whether it is put aside.
    pub fn is_put_aside(&self, now: Timestamp) -> bool {
        self.put_aside_until.load(Ordering::Relaxed) > now.as_micros()
    }

    /// Counts a request as running on it until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> OnMaster {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        OnMaster(Arc::clone(self))
    }
}

fn whole_seconds(wait: Duration) -> i64 {
    i64::try_from(wait.as_secs().clamp(1, LONGEST_WAIT_SECONDS)).unwrap_or(RATE_LIMITED_SECONDS)
}

/// A request that runs on a master account.
pub struct OnMaster(Arc<Master>);

impl Drop for OnMaster {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All master accounts, as of one moment.
#[derive(Default)]
pub struct Masters {
    all: Vec<Arc<Master>>,
    resting: Vec<Arc<Master>>,
}

impl Masters {
    /// These master accounts; `resting` ones serve no request, but know what they served.
    pub fn new(all: Vec<Arc<Master>>, resting: Vec<Arc<Master>>) -> Self {
        Self { all, resting }
    }

    /// All that serve.
    pub fn all(&self) -> &[Arc<Master>] {
        &self.all
    }

    /// The one with this id, whether or not it serves.
    pub fn get(&self, id: MasterAccountId) -> Option<&Arc<Master>> {
        let mut known = self.all.iter().chain(&self.resting);
        known.find(|master| master.id == id)
    }

    /// Requests that run on them.
    pub fn in_flight(&self) -> usize {
        let of = |master: &Arc<Master>| master.in_flight.load(Ordering::Relaxed);
        self.all.iter().map(of).sum()
    }

    /// What one dollar of list cost costs at the dearest of them.
    pub fn dearest_cost_share(&self) -> Decimal {
        self.all
            .iter()
            .map(|master| master.discount.cost_share())
            .max()
            .unwrap_or(Decimal::ONE)
    }

    /// What one dollar of list cost costs at the cheapest of them.
    pub fn cheapest_cost_share(&self) -> Decimal {
        self.all
            .iter()
            .map(|master| master.discount.cost_share())
            .min()
            .unwrap_or(Decimal::ONE)
    }

    /// In which order to ask: those that are not put aside, first those that cost less than `price_share` (what a dollar
    /// of list cost is sold for), the cheapest first, of equals the least busy. Those that are put aside come last, so
    /// that the last account left is still tried.
    pub fn in_order(&self, price_share: Option<Decimal>, now: Timestamp) -> Vec<Arc<Master>> {
        let mut order = self.all.clone();
        if order.len() > 1 {
            order.sort_by_cached_key(|master| {
                let share = master.discount.cost_share();
                let is_at_a_loss = price_share.is_some_and(|price| share >= price);
                let busy = master.in_flight.load(Ordering::Relaxed);
                (master.is_put_aside(now), is_at_a_loss, share, busy)
            });
        }
        order
    }
}
