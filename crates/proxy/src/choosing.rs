//! Which account a request may ask next: the best by health and price, and for free models one with quota left.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use airouter_billing::{AccountId, MasterAccountId};
use airouter_limits::{LimitKey, RateLimits, Refused};
use rust_decimal::Decimal;

use crate::gateway::Gateway;
use crate::masters::{Master, PER_MINUTE, Route, Turn, is_free, per_day};
use crate::offers::Servers;
use crate::problem::Problem;
use crate::session::Session;

/// The choice of accounts for one request.
pub(crate) struct Choosing {
    route: Route,
    use_of_free: FreeUse,
}

/// Whether a request uses the quota of free models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FreeUse {
    /// It does not.
    Never,
    /// A fallback of it may: it is not counted, but what the upstream says of that quota holds of nothing else.
    ByFallback,
    /// It does.
    Always,
}

impl FreeUse {
    /// Of a request for these models, the preferred one first.
    pub(crate) fn of<'a>(mut models: impl Iterator<Item = &'a str>) -> Self {
        match models.next() {
            Some(preferred) if is_free(preferred) => Self::Always,
            _ if models.any(is_free) => Self::ByFallback,
            _ => Self::Never,
        }
    }
}

impl Choosing {
    /// Begins; a request of a free model takes its part of the quota first.
    pub(crate) fn begin(session: &Session, price_share: Option<Decimal>) -> Result<Self, Problem> {
        if session.use_of_free == FreeUse::Always {
            take_part(&session.gateway, session.facts().payer)?;
        }
        Ok(Self {
            route: Route::new(price_share, Arc::clone(&session.servers)),
            use_of_free: session.use_of_free,
        })
    }

    /// This account may be asked again: another of its keys may do.
    pub(crate) fn again(&mut self, account: MasterAccountId) {
        self.route.again(account);
    }

    /// Who may serve it.
    pub(crate) fn servers(&self) -> &Servers {
        self.route.servers()
    }

    /// Whether it is for a free model.
    pub(crate) fn is_free(&self) -> bool {
        self.use_of_free == FreeUse::Always
    }

    /// Whether the upstream may refuse it for want of free requests.
    pub(crate) fn may_be_free(&self) -> bool {
        self.use_of_free != FreeUse::Never
    }

    /// The next account, and leave to ask it.
    pub(crate) async fn next(&mut self, gateway: &Gateway) -> Option<Turn> {
        loop {
            let masters = gateway.masters.load_full();
            let now = gateway.replica.steady_now();
            if !self.is_free() {
                return masters.next(&mut self.route, now);
            }
            for (account, per_day) in with_quota(gateway) {
                let has_none = gateway.free_quota.wait(&[(account, per_day)], now) > Duration::ZERO;
                if has_none {
                    self.route.pass_by(account);
                }
            }
            let turn = masters.next(&mut self.route, now)?;
            if take(gateway, &turn.on.master).await {
                return Some(turn);
            }
        }
    }

    /// How long until a free model may be asked for again.
    pub(crate) fn free_wait(&self, gateway: &Gateway) -> Duration {
        gateway
            .free_quota
            .wait(&with_quota(gateway), gateway.replica.steady_now())
    }
}

/// The accounts at OpenRouter that serve, with what each may be asked for in a day.
fn with_quota(gateway: &Gateway) -> Vec<(MasterAccountId, u32)> {
    let masters = gateway.masters.load();
    let of = |master: &Arc<Master>| (master.id, per_day(master.credit().as_ref()));
    masters.at_openrouter().map(of).collect()
}

fn take_part(gateway: &Gateway, tenant: AccountId) -> Result<(), Problem> {
    gateway
        .free_quota
        .admit(tenant, &with_quota(gateway), gateway.replica.steady_now())
        .map_err(|retry_after| Problem::FreeQuotaSpent { retry_after })
}

/// Takes a request of a free model from an account's quota; also from what replicas share of it, where they do.
async fn take(gateway: &Gateway, master: &Master) -> bool {
    let now = gateway.replica.steady_now();
    if gateway.limiter.sharing().is_some() {
        let limits = RateLimits {
            requests_per_minute: NonZeroU32::new(PER_MINUTE),
            ..RateLimits::default()
        };
        let key = LimitKey::MasterAccount(*master.id.get().as_bytes());
        let admitted = gateway
            .limiter
            .admit(&[(key, limits)], 0, gateway.moment())
            .await;
        if let Err(Refused::RateLimited(limited)) = admitted {
            let wait = limited.retry_after_ms.map(Duration::from_millis);
            gateway.free_quota.used_up(master.id, wait, now);
            return false;
        }
    }
    gateway
        .free_quota
        .take(master.id, per_day(master.credit().as_ref()), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_requests_are_known_by_any_model_that_may_serve() {
        let of = |models: &[&str]| FreeUse::of(models.iter().copied());
        assert_eq!(of(&["a/b", "c/d"]), FreeUse::Never);
        assert_eq!(of(&["a/b:free", "c/d"]), FreeUse::Always);
        assert_eq!(of(&["openrouter/free"]), FreeUse::Always);
        assert_eq!(of(&["a/b", "c/d:free"]), FreeUse::ByFallback);
        assert_eq!(of(&["a/b", "openrouter/free"]), FreeUse::ByFallback);
    }
}
