//! A master account as requests see it: how to ask it, and how it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use airouter_billing::{Discount, MasterAccountId, Timestamp};
use airouter_openrouter::ControlClient;
use airouter_store::master_accounts::{
    CreditReading, MasterAccountStatus, MostShare, UpstreamKind, Weight,
};
use arc_swap::ArcSwapOption;
use http::Uri;
use secrecy::SecretString;
use uuid::Uuid;

use super::breaker::Look;
use super::credit::{self, CreditStanding};
use super::key::{self, Issuer, KeyState, MasterKey};
use super::recent::Recent;
use super::retry_budget::RetryBudget;
use super::shared_breaker::SharedBreaker;
use super::turn::Turn;
use crate::metrics::{BreakerState, MasterMetrics};

/// A master account that can be asked.
pub struct Master {
    /// Its id.
    pub id: MasterAccountId,
    /// Its name, in logs and metrics.
    pub name: String,
    /// What its upstream speaks.
    pub kind: UpstreamKind,
    /// Its discount.
    pub discount: Discount,
    /// Whether it takes requests.
    pub status: MasterAccountStatus,
    /// The upstream's address, up to `/api/v1`.
    pub base_url: String,
    /// Where chat requests go.
    pub chat: Uri,
    /// With which its credit is followed.
    pub management_key: Option<SecretString>,
    /// When the agreement that it rests on ends.
    pub agreement_ends_at: Option<Timestamp>,
    /// The control API of its upstream.
    pub control: ControlClient,
    /// Its series.
    pub metrics: Arc<MasterMetrics>,
    pub(super) weight: Weight,
    pub(super) most_share: Option<MostShare>,
    pub(super) keys: Vec<Arc<MasterKey>>,
    pub(super) state: Arc<State>,
}

/// What lasts as long as the account does, whatever changes about it.
#[derive(Default)]
pub(super) struct State {
    pub(super) breaker: SharedBreaker,
    pub(super) in_flight: AtomicUsize,
    pub(super) recent: Recent,
    pub(super) retries: RetryBudget,
    credit: ArcSwapOption<CreditReading>,
}

/// A master account that can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableMaster {
    /// A key has characters that no header may have.
    #[error("the key can't be sent in a header")]
    Key,
    /// The upstream's address is none.
    #[error("the upstream's address is not a URL")]
    BaseUrl,
    /// There is no key.
    #[error("it has no inference key")]
    NoKey,
}

/// What a [`Master`] is made of.
pub struct MasterParts {
    /// Its id.
    pub id: MasterAccountId,
    /// Its name.
    pub name: String,
    /// What its upstream speaks.
    pub kind: UpstreamKind,
    /// Its discount.
    pub discount: Discount,
    /// Whether it takes requests.
    pub status: MasterAccountStatus,
    /// The upstream's address, up to `/api/v1`.
    pub base_url: String,
    /// Its inference keys by their ids; an empty one is that of an upstream which wants none.
    pub keys: Vec<(Uuid, SecretString)>,
    /// With which its credit is followed.
    pub management_key: Option<SecretString>,
    /// When the agreement that it rests on ends.
    pub agreement_ends_at: Option<Timestamp>,
    /// Its part of the load.
    pub weight: Weight,
    /// The concentration limit.
    pub most_share: Option<MostShare>,
    /// What was last said of its credit.
    pub credit: Option<CreditReading>,
    /// The control API of its upstream.
    pub control: ControlClient,
    /// Its series.
    pub metrics: Arc<MasterMetrics>,
}

impl Master {
    /// A master account; `before` is the same one as it was until now, whose health it keeps. One that serves again after
    /// a pause begins anew.
    pub fn new(parts: MasterParts, before: Option<&Self>) -> Result<Self, UnusableMaster> {
        let chat = format!("{}/chat/completions", parts.base_url.trim_end_matches('/'));
        let chat = chat.parse().map_err(|_| UnusableMaster::BaseUrl)?;
        let known_keys = before.map_or(&[][..], |before| &before.keys);
        let keys = parts
            .keys
            .into_iter()
            .map(|(id, secret)| {
                let known = known_keys.iter().find(|key| key.id == id);
                let state =
                    known.map_or_else(Arc::<KeyState>::default, |key| Arc::clone(&key.state));
                MasterKey::new(id, secret, state).map(Arc::new)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(UnusableMaster::NoKey);
        }
        let state = before.map_or_else(Arc::default, |before| Arc::clone(&before.state));
        let master = Self {
            id: parts.id,
            name: parts.name,
            kind: parts.kind,
            discount: parts.discount,
            status: parts.status,
            base_url: parts.base_url,
            chat,
            management_key: parts.management_key,
            agreement_ends_at: parts.agreement_ends_at,
            control: parts.control,
            metrics: parts.metrics,
            weight: parts.weight,
            most_share: parts.most_share,
            keys,
            state,
        };
        if let Some(reading) = parts.credit {
            master.note_credit(reading);
        }
        let was_resting = before.is_some_and(|before| before.status != MasterAccountStatus::Active);
        if was_resting && master.status == MasterAccountStatus::Active {
            master.forget_faults();
        }
        Ok(master)
    }

    /// A key for the control API: one that works, if there is any.
    pub fn key(&self, now: Timestamp) -> &SecretString {
        let works = |key: &&Arc<MasterKey>| key.state.breaker.look(now) == Look::Closed;
        let key = self.keys.iter().find(works).unwrap_or(&self.keys[0]);
        &key.secret
    }

    /// Whether its upstream is another AI Router.
    pub(crate) fn is_a_router(&self) -> bool {
        self.keys.iter().all(|key| key.issuer == Issuer::Router)
    }

    /// With which its upstream tells its credit: a management key; an AI Router tells it to any key of the client's.
    pub(super) fn credit_key(&self, now: Timestamp) -> Option<&SecretString> {
        let of_router = || self.is_a_router().then(|| self.key(now));
        self.management_key.as_ref().or_else(of_router)
    }

    /// Its breaker and its keys' together: what a request finds.
    pub(super) fn look(&self, now: Timestamp) -> Look {
        match self.state.breaker.look(now) {
            Look::Closed => key::best_look(&self.keys, now).unwrap_or(Look::Closed),
            look => look,
        }
    }

    /// Whether no request should pass.
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.look(now), Look::Open { .. })
    }

    /// Whether one of its keys lets a request pass.
    pub(crate) fn has_a_key(&self, now: Timestamp) -> bool {
        matches!(
            key::best_look(&self.keys, now),
            Some(Look::Closed | Look::Due)
        )
    }

    /// Lets a request pass, on its least busy key.
    pub(super) fn enter(self: &Arc<Self>, now: Timestamp) -> Option<Turn> {
        let pass = self.state.breaker.enter(now)?;
        let Some((key, key_pass)) = key::enter(&self.keys, now) else {
            self.state.breaker.abandoned(pass, now);
            return None;
        };
        Some(Turn::new(Arc::clone(self), pass, key, key_pass, now))
    }

    /// Lets a request pass for want of anything else.
    pub(super) fn enter_last(self: &Arc<Self>, now: Timestamp) -> Option<Turn> {
        let pass = self.state.breaker.enter_last(now)?;
        let Some((key, key_pass)) = key::enter_last(&self.keys, now) else {
            self.state.breaker.abandoned(pass, now);
            return None;
        };
        Some(Turn::new(Arc::clone(self), pass, key, key_pass, now))
    }

    /// The same account again, if its budget of repeats allows one more.
    pub(crate) fn repeat(self: &Arc<Self>, now: Timestamp) -> Option<Turn> {
        if !self.state.retries.spend() {
            return None;
        }
        let turn = self.enter(now)?;
        self.metrics.repeated();
        Some(turn)
    }

    /// Its upstream said what is left. What had been missing and was bought since is there again.
    pub fn note_credit(&self, reading: CreditReading) {
        let before = self.state.credit.swap(Some(Arc::new(reading)));
        if before.is_some_and(|before| reading.bought > before.bought) {
            self.state.breaker.reset();
        }
        self.metrics.set_credit(reading.left(), reading.days_left());
    }

    /// What was last said of its credit.
    pub fn credit(&self) -> Option<CreditReading> {
        self.state.credit.load().as_deref().copied()
    }

    pub(super) fn credit_standing(&self, now: Timestamp) -> CreditStanding {
        credit::standing(self.state.credit.load().as_deref(), now)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it is above its part of the `total` of recent requests. A few requests are no concentration.
    pub(super) fn is_concentrated(&self, total: u64, now: Timestamp) -> bool {
        const FEW: u64 = 20;
        self.most_share.is_some_and(|most| {
            let own = self.state.recent.count(now).saturating_add(1);
            total >= FEW && own * 100 > u64::from(most.get()) * total.saturating_add(1)
        })
    }

    /// How long until the upstream wants to be asked again, if it said.
    pub(super) fn told_wait(&self, now: Timestamp) -> Option<Duration> {
        match self.state.breaker.look(now) {
            Look::Open { until, told: true } => {
                Some(Duration::from_micros(until.micros_since(now)))
            }
            _ => None,
        }
    }

    /// Shows how it is; `total` is the recent requests of all.
    pub(super) fn show(&self, total: u64, now: Timestamp) {
        let state = match self.look(now) {
            Look::Closed => BreakerState::Closed,
            Look::Open { .. } => BreakerState::Open,
            Look::Due | Look::Probing => BreakerState::HalfOpen,
        };
        self.metrics.set_breaker(state);
        let own = self.state.recent.count(now);
        self.metrics
            .set_traffic(self.in_flight(), own * 100 / total.max(1));
    }

    fn forget_faults(&self) {
        self.state.breaker.reset();
        for key in &self.keys {
            key.state.breaker.reset();
        }
    }
}
