//! One admitted request: what it holds, where it is served, what it used, and how it is settled, once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use airouter_billing::event::{Delivery, Ending, RequestFacts, Served};
use airouter_billing::plan::SharedPlan;
use airouter_billing::pricing::{self, Priced, Terms};
use airouter_billing::recovery::PendingReason;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{Nanos, Outcome, RequestId, Usage, UsageEvent};
use airouter_limits::{Admission, Moment};
use airouter_store::settlements::PendingRequest;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::abandoned::Abandoned;
use crate::catalog::{Catalog, CatalogEntry};
use crate::choosing::FreeUse;
use crate::early_head::EarlyHead;
use crate::gateway::Gateway;
use crate::hops::Hops;
use crate::idempotency::HeldKey;
use crate::in_flight::{Running, WrittenDown};
use crate::leases::Holds;
use crate::masters::OnMaster;
use crate::meter::{Meter, Metered};
use crate::metrics::{Alarm, Counted};
use crate::offers::{Servers, Suited};
use crate::problem::Problem;
use crate::report::{Moments, Report, micros};
use crate::resolver::Unsettled;
use crate::settle::{Commit, Place};
use crate::wire::shown_model::ShownModel;

/// How far a reported cost may be from tokens × price book before the operator is told: endpoints of one model differ by
/// a factor of 3 (wire-contract §4.4).
const COST_MISMATCH_FACTOR: Decimal = Decimal::from_parts(4, 0, 0, false, 0);

/// What a client that used an alias is told of a request that the upstream finds wrong.
const UNTOLD_REJECTION: &str =
    "The model's provider refused this request. Check the parameters and the content.";

/// An admitted request that is not settled yet. Dropping it gives its holds back: nothing was served.
pub(crate) struct Session {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) running: Arc<Running>,
    pub(crate) entry: Arc<CatalogEntry>,
    /// The price book of its admission: a price that changes while it runs does not change what it costs.
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) meter: Meter,
    pub(crate) moments: Moments,
    pub(crate) client: IpAddr,
    pub(crate) hops: Hops,
    pub(crate) key_preview: Arc<str>,
    pub(crate) holds: Holds,
    pub(crate) rate: Admission,
    pub(crate) place: Place,
    pub(crate) on: Option<OnMaster>,
    /// Who may serve it.
    pub(crate) servers: Arc<Servers>,
    pub(crate) use_of_free: FreeUse,
    /// Set when a compatible server was asked last.
    pub(crate) suited: Option<Arc<Suited>>,
    pub(crate) counted: Counted,
    /// The key that it came with.
    pub(crate) key: Option<HeldKey>,
    /// The plan of its admission.
    pub(crate) plan: SharedPlan,
    /// Set when its client has gone.
    pub(crate) abandoned: Option<Abandoned>,
    /// Of an answer whose head may be sent before the answer is there.
    pub(crate) head: Option<Arc<EarlyHead>>,
}

/// A request that has ended, with what it used as far as that is known.
pub(crate) struct Ended {
    session: Session,
    ending: Ending,
    used: Option<(Usage, Priced)>,
}

/// What a settled request costs the client, and when that is durable.
pub(crate) struct Settled {
    /// `None` when the usage is still to be found out.
    pub(crate) price: Option<Nanos>,
    /// The commit; its end comes before the end of the answer.
    pub(crate) commit: Commit,
}

impl Session {
    pub(crate) fn facts(&self) -> &RequestFacts {
        self.running.facts()
    }

    pub(crate) fn id(&self) -> RequestId {
        self.facts().id
    }

    /// What the client is told that serves, where that is not the upstream's name.
    pub(crate) fn shown_model(&self) -> Option<ShownModel> {
        if let Some(suited) = &self.suited {
            return Some(ShownModel::new(&suited.shown_as));
        }
        let served = self.meter.model.as_deref();
        self.facts().shown_model(served).map(ShownModel::new)
    }

    /// A problem as it is told to the client: where that used an alias, or a compatible server knows the model by another
    /// name, without the upstream's words, which may name the model behind it.
    pub(crate) fn told(&self, problem: Problem) -> Problem {
        let has_other_name = |suited: &Arc<Suited>| {
            let upstream_model = &suited.offer.served_as.upstream_model;
            *upstream_model != suited.shown_as
        };
        let is_secret =
            !self.facts().names.is_empty() || self.suited.as_ref().is_some_and(has_other_name);
        match problem {
            Problem::Rejected { status, .. } if is_secret => {
                let message = UNTOLD_REJECTION.to_owned();
                Problem::Rejected { status, message }
            }
            problem => problem,
        }
    }

    /// An attempt at a master account begins.
    pub(crate) fn begin_attempt(&mut self, on: OnMaster, suited: Option<Arc<Suited>>) {
        self.on = Some(on);
        self.meter = match &suited {
            Some(suited) => Meter::of_server(&suited.offer.prices.id),
            None => Meter::default(),
        };
        self.suited = suited;
        self.moments.sent = Some(Instant::now());
        self.note_served();
    }

    /// The attempt's generation, model or provider became known.
    pub(crate) fn note_served(&self) {
        if let Some(served) = self.served() {
            self.running.served_by(served);
        }
    }

    fn served(&self) -> Option<Served> {
        let on = self.on.as_ref()?;
        Some(Served {
            master_account: on.master.id,
            discount: on.master.discount,
            generation_id: self.meter.generation_id.clone(),
            model: self.meter.model.clone(),
            provider: self.meter.provider.clone(),
        })
    }

    /// Settles by what the meter says; where it says nothing, the generation record is asked for later, and the holds
    /// stay until then.
    pub(crate) fn settle(self, ending: Ending) -> Settled {
        self.end(ending).settle(None)
    }

    /// Reads the meter: the answer to the client may carry what it says.
    pub(crate) fn end(self, ending: Ending) -> Ended {
        let used = match self.meter.finish(ending) {
            Metered::Usage(usage) => self.price(&usage).map(|priced| (usage, priced)),
            Metered::Missing => {
                if ending == Ending::Complete {
                    self.gateway.metrics.alarm(Alarm::UsageMissing);
                    self.tell_of_missing_usage();
                }
                None
            }
            Metered::Unreadable => {
                self.gateway.metrics.alarm(Alarm::BadCost);
                None
            }
        };
        Ended {
            session: self,
            ending,
            used,
        }
    }

    /// What a compatible server does not report is lost: nobody can be asked for it later.
    fn tell_of_missing_usage(&self) {
        if let (Some(_), Some(on)) = (&self.suited, &self.on) {
            tracing::warn!(
                request = %self.id(),
                master_account = on.master.name,
                "a compatible server reports no usage: its answer is free for the client, and a loss"
            );
        }
    }

    fn price(&self, usage: &Usage) -> Option<Priced> {
        let on = self.on.as_ref()?;
        let served = self.meter.model.as_deref();
        let served = served.and_then(|id| self.catalog.get(id));
        let model = match &self.suited {
            Some(suited) => &suited.offer.prices,
            None => served.map_or(&self.entry.prices, |entry| &entry.prices),
        };
        let facts = self.facts();
        let at = facts.admitted_at;
        let terms = Terms {
            discount: on.master.discount,
            rule: facts.rule_for(self.meter.model.as_deref()),
        };
        let priced = pricing::price(usage, CostSource::Reported, terms, Some(model), at).ok()?;
        let book = model.list_cost(usage.tokens, at);
        self.raise_alarms(usage, &priced, book);
        Some(priced)
    }

    fn raise_alarms(&self, usage: &Usage, priced: &Priced, book: Option<Decimal>) {
        let Some(book) = book else { return };
        let metrics = &self.gateway.metrics;
        if priced.list_cost.is_zero() {
            if !book.is_zero()
                && usage.tokens.completion > 0
                && usage.inference == Inference::Credits
            {
                metrics.alarm(Alarm::FreeOutput);
            }
            return;
        }
        let is_far = |larger: Decimal, smaller: Decimal| {
            larger > smaller.saturating_mul(COST_MISMATCH_FACTOR)
        };
        if is_far(priced.list_cost, book) || is_far(book, priced.list_cost) {
            metrics.alarm(Alarm::CostMismatch);
        }
    }

    fn settle_now(
        mut self,
        ending: Ending,
        (usage, priced): (&Usage, Priced),
        served: Served,
        answer: Option<&[u8]>,
    ) -> Settled {
        self.running.settled();
        let claim = self.key.map(|key| key.finish(answer));
        let limit_moment = self.gateway.moment();
        self.rate.settle_tokens(usage.tokens.total(), limit_moment);
        let (charges, replica) = self.holds.spend(priced.price);
        if charges.iter().any(|charge| charge.excess > 0) {
            self.gateway.metrics.alarm(Alarm::PriceAboveHold);
        }
        let mut request = self.running.facts().clone();
        request.rule = request.rule_for(served.model.as_deref()).clone();
        if let Some(suited) = &self.suited {
            request.model_pricing = Some(suited.offer.prices.version);
        }
        let event = UsageEvent {
            request,
            served,
            tokens: usage.tokens,
            reported_cost: usage.reported_cost.unwrap_or(priced.list_cost),
            source: priced.source,
            inference: usage.inference,
            list_cost: priced.list_cost,
            cost: priced.cost,
            price: priced.price,
            outcome: Outcome::Charged,
            ending,
            finished_at: self.gateway.clock.now(),
            first_byte_micros: self.moments.first_byte().map(micros),
            charges,
        };
        let report = self.on.map(|on| Report {
            moments: self.moments,
            entry: self.entry,
            master: Arc::clone(&on.master),
            client: self.client,
            key_preview: self.key_preview,
            counted: self.counted,
            abandoned: self.abandoned,
        });
        Settled {
            price: Some(priced.price),
            commit: self.place.settle(replica, event, report, claim),
        }
    }

    fn settle_later(self, ending: Ending, served: Served, answer: Option<&[u8]>) -> Settled {
        self.running.settled();
        let facts = self.facts().clone();
        let claim = self.key.map(|key| key.finish(answer));
        let pending = PendingRequest {
            request: facts,
            served,
            reason: PendingReason::UsageUnknown,
            holds: self.holds.as_charges(),
            since: self.gateway.clock.now(),
            claim: claim.as_ref().map(|finished| finished.claim),
        };
        tracing::info!(
            target: "airouter::request",
            request = %pending.request.id,
            generation = pending.served.generation_id,
            ending = ending.name(),
            "usage unknown, to be asked for"
        );
        let commit = self.place.settle_later(pending.clone(), claim);
        self.gateway.resolver.add(Unsettled {
            pending,
            ending,
            holds: Some(self.holds),
            abandoned: self.abandoned,
        });
        Settled {
            price: None,
            commit,
        }
    }

    /// Nothing was served: the holds go back, and the request counts against no limit. Returns the key that it came with,
    /// to be released.
    #[must_use]
    pub(crate) fn refund(self) -> Option<HeldKey> {
        let id = self.id();
        if self.running.settled() == WrittenDown::Yes {
            self.place.forget(id);
        }
        self.rate.refund();
        self.key
    }

    /// An attempt failed after the upstream may have begun to bill it: what it billed is found out, and is a loss.
    pub(crate) fn note_failed_attempt(&self, place: Option<Place>) {
        let (Some(place), Some(served)) = (place, self.served()) else {
            return;
        };
        if served.generation_id.is_none() {
            return;
        }
        let request = RequestFacts {
            id: RequestId::new(Uuid::now_v7()),
            ..self.facts().clone()
        };
        let pending = PendingRequest {
            request,
            served,
            reason: PendingReason::FailedAttempt,
            holds: Vec::new(),
            since: self.gateway.clock.now(),
            claim: None,
        };
        // Nobody waits for it: the client is being served elsewhere.
        drop(place.settle_later(pending.clone(), None));
        self.gateway.resolver.add(Unsettled {
            pending,
            ending: Ending::UpstreamFailed,
            holds: None,
            abandoned: None,
        });
    }
}

impl Ended {
    /// What the client pays; `None` when that is still to be found out.
    pub(crate) fn price(&self) -> Option<Nanos> {
        self.used.as_ref().map(|(_, priced)| priced.price)
    }

    /// Settles; where the usage is not known, the generation record is asked for later, and the holds stay until then.
    /// Repeats get `answer`.
    pub(crate) fn settle(self, answer: Option<&[u8]>) -> Settled {
        let Self {
            session,
            ending,
            used,
        } = self;
        match (used, session.served()) {
            (Some((usage, priced)), Some(served)) => {
                session.settle_now(ending, (&usage, priced), served, answer)
            }
            (_, Some(served)) => session.settle_later(ending, served, answer),
            (_, None) => unserved(session),
        }
    }
}

/// Nothing was ever sent: there is nothing to settle, and the holds go back.
fn unserved(session: Session) -> Settled {
    session.running.settled();
    Settled {
        price: Some(Nanos::ZERO),
        commit: Commit::nothing(),
    }
}

impl Gateway {
    /// The clock of the rate limits.
    pub(crate) fn moment(&self) -> Moment {
        self.clock.moment()
    }
}

/// How the answer to this request is sent, in the words of billing.
pub(crate) const fn delivery_of(delivery: crate::wire::request::Delivery) -> Delivery {
    match delivery {
        crate::wire::request::Delivery::Whole => Delivery::Whole,
        crate::wire::request::Delivery::Stream { .. } => Delivery::Streamed,
    }
}
