//! The inference keys of a master account: used in turn by load; a bad one is put aside alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use airouter_auth::KeyHash;
use airouter_billing::Timestamp;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::UnusableMaster;
use super::breaker::{Look, Pass};
use super::shared_breaker::SharedBreaker;

/// An inference key.
pub(crate) struct MasterKey {
    /// Its id.
    pub(crate) id: Uuid,
    /// For the control API.
    pub(crate) secret: SecretString,
    /// `Authorization` of requests with it, marked as sensitive; `None` at an upstream that wants none.
    pub(crate) authorization: Option<HeaderValue>,
    /// Whose key it is.
    pub(crate) issuer: Issuer,
    pub(super) state: Arc<KeyState>,
}

/// Who issued a key, which its form tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Issuer {
    /// An AI Router, whose client this one is.
    Router,
    /// OpenRouter, or anything that speaks its API.
    Other,
}

/// What lasts as long as the key does, whatever else of its account changes.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) breaker: SharedBreaker,
    pub(super) in_flight: AtomicUsize,
    used: AtomicU64,
}

impl MasterKey {
    pub(super) fn new(
        id: Uuid,
        secret: SecretString,
        state: Arc<KeyState>,
    ) -> Result<Self, UnusableMaster> {
        let authorization = match secret.expose_secret() {
            "" => None,
            key => Some(bearer(key)?),
        };
        let issuer = match KeyHash::of_presented(secret.expose_secret().as_bytes()) {
            Ok(_) => Issuer::Router,
            Err(_) => Issuer::Other,
        };
        Ok(Self {
            id,
            issuer,
            secret,
            authorization,
            state,
        })
    }

    pub(super) fn begin(&self) {
        self.state.in_flight.fetch_add(1, Ordering::Relaxed);
        self.state.used.fetch_add(1, Ordering::Relaxed);
    }

    fn load(&self) -> (usize, u64) {
        let in_flight = self.state.in_flight.load(Ordering::Relaxed);
        (in_flight, self.state.used.load(Ordering::Relaxed))
    }
}

fn bearer(key: &str) -> Result<HeaderValue, UnusableMaster> {
    let mut authorization =
        HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| UnusableMaster::Key)?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

/// The key that looks best: one that works, if there is any.
pub(super) fn best_look(keys: &[Arc<MasterKey>], now: Timestamp) -> Option<Look> {
    keys.iter()
        .map(|key| key.state.breaker.look(now))
        .min_by_key(|look| match look {
            Look::Closed => (0, now),
            Look::Due => (1, now),
            Look::Open { until, .. } => (2, *until),
            Look::Probing => (3, now),
        })
}

/// The least busy key that lets a request pass.
pub(super) fn enter(keys: &[Arc<MasterKey>], now: Timestamp) -> Option<(Arc<MasterKey>, Pass)> {
    if let [only] = keys {
        return Some((Arc::clone(only), only.state.breaker.enter(now)?));
    }
    let mut order: Vec<_> = keys.iter().collect();
    order.sort_by_cached_key(|key| key.load());
    order
        .into_iter()
        .find_map(|key| Some((Arc::clone(key), key.state.breaker.enter(now)?)))
}

/// As [`enter`], or else the key whose time comes first.
pub(super) fn enter_last(
    keys: &[Arc<MasterKey>],
    now: Timestamp,
) -> Option<(Arc<MasterKey>, Pass)> {
    enter(keys, now).or_else(|| {
        let key = keys
            .iter()
            .min_by_key(|key| match key.state.breaker.look(now) {
                Look::Open { until, .. } => until,
                _ => now,
            })?;
        Some((Arc::clone(key), key.state.breaker.enter_last(now)?))
    })
}
