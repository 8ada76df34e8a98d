//! What is counted by model and by master account, behind handles that were resolved beforehand: a request looks up no
//! label.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use airouter_billing::event::{Delivery, Ending};
use airouter_billing::reconciliation::About;
use airouter_billing::{Nanos, Outcome, UsageEvent};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, Result};

use super::labels::{BreakerState, FaultKind, TokenKind};
use super::register::{counter_by, gauge_by};

/// Models with a label of their own; all others share one.
pub(super) const MOST_MODELS: usize = 200;
/// Master accounts with a label of their own; all others share one.
pub(super) const MOST_MASTER_ACCOUNTS: usize = 50;
/// For so many master accounts the series of every model exist from the start. An operator with more has enough series
/// as it is: theirs appear with the first request.
const PREPARED_MASTER_ACCOUNTS: usize = 4;
/// The label of whatever has none of its own.
const OTHER: &str = "other";

/// The metrics of one model; kept in its catalog entry.
#[derive(Debug)]
pub struct ModelMetrics {
    label: String,
    tokens: [IntCounter; TokenKind::ALL.len()],
    /// By the index of the master account.
    routes: [OnceLock<Route>; MOST_MASTER_ACCOUNTS + 1],
}

/// The metrics of one master account; kept beside its key.
#[derive(Debug)]
pub struct MasterMetrics {
    label: String,
    index: usize,
    pub(super) faults: [IntCounter; FaultKind::ALL.len()],
    put_aside: IntGauge,
    breaker: [IntGauge; BreakerState::ALL.len()],
    attempts: IntCounter,
    repeats: IntCounter,
    in_flight: IntGauge,
    share: IntGauge,
    reconciliation: [IntGauge; About::KINDS.len()],
    known_later: KnownLater,
}

/// What isn't known of every master account: these series begin with what they say.
#[derive(Debug)]
struct KnownLater {
    credit: IntGaugeVec,
    credit_days: IntGaugeVec,
    agreement_days: IntGaugeVec,
}

impl MasterMetrics {
    /// Shows how its circuit breaker stands. What is not closed is put aside.
    pub fn set_breaker(&self, state: BreakerState) {
        self.put_aside.set(i64::from(state != BreakerState::Closed));
        for (gauge, of) in self.breaker.iter().zip(BreakerState::ALL) {
            gauge.set(i64::from(of == state));
        }
    }

    /// A request is sent to it.
    pub fn attempted(&self) {
        self.attempts.inc();
    }

    /// A request is sent to it that it has failed before.
    pub fn repeated(&self) {
        self.repeats.inc();
    }

    /// Requests that run on it, and its part of the recent ones in percent.
    pub fn set_traffic(&self, in_flight: usize, share: u64) {
        self.in_flight
            .set(i64::try_from(in_flight).unwrap_or(i64::MAX));
        self.share.set(i64::try_from(share).unwrap_or(i64::MAX));
    }

    /// What its upstream billed otherwise than it is booked, of one of [`About::KINDS`].
    pub fn set_reconciliation(&self, kind: usize, difference: Nanos) {
        if let Some(gauge) = self.reconciliation.get(kind) {
            gauge.set(difference.get());
        }
    }

    /// What its upstream says is left, and for how many days if anything is used.
    pub fn set_credit(&self, left: Nanos, days: Option<i64>) {
        let of = |gauges: &IntGaugeVec| gauges.with_label_values(&[&self.label]);
        of(&self.known_later.credit).set(left.get());
        match days {
            Some(days) => of(&self.known_later.credit_days).set(days),
            // Unless it was known, there is nothing to remove.
            None => drop(
                self.known_later
                    .credit_days
                    .remove_label_values(&[&self.label]),
            ),
        }
    }

    /// Whole days until its agreement ends; below zero when it has ended.
    pub fn set_agreement(&self, days_left: i64) {
        let gauges = &self.known_later.agreement_days;
        gauges.with_label_values(&[&self.label]).set(days_left);
    }
}

/// What is counted for one model at one master account.
#[derive(Debug)]
struct Route {
    requests: [[IntCounter; Ending::ALL.len()]; 2],
    list_cost: IntCounter,
    cost: IntCounter,
    price: IntCounter,
    margin: IntCounter,
    deficit: IntCounter,
}

/// All models and master accounts that have handles.
#[derive(Debug)]
pub(super) struct Routes {
    series: Series,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    models: HashMap<String, Arc<ModelMetrics>>,
    masters: HashMap<String, Arc<MasterMetrics>>,
    other_model: Option<Arc<ModelMetrics>>,
    other_master: Option<Arc<MasterMetrics>>,
}

#[derive(Debug)]
struct Series {
    requests: IntCounterVec,
    tokens: IntCounterVec,
    list_cost: IntCounterVec,
    cost: IntCounterVec,
    price: IntCounterVec,
    margin: IntCounterVec,
    deficit: IntCounterVec,
    faults: IntCounterVec,
    put_aside: IntGaugeVec,
    breaker: IntGaugeVec,
    attempts: IntCounterVec,
    repeats: IntCounterVec,
    in_flight: IntGaugeVec,
    share: IntGaugeVec,
    reconciliation: IntGaugeVec,
    credit: IntGaugeVec,
    credit_days: IntGaugeVec,
    agreement_days: IntGaugeVec,
}

impl Routes {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        Ok(Self {
            series: Series::new(registry)?,
            known: Mutex::default(),
        })
    }

    /// The handle of a model. Beyond [`MOST_MODELS`] it is the one of `other`.
    pub(super) fn model(&self, id: &str) -> Arc<ModelMetrics> {
        let mut guard = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *guard;
        if let Some(model) = known.models.get(id) {
            return Arc::clone(model);
        }
        if known.models.len() >= MOST_MODELS {
            let other = known
                .other_model
                .get_or_insert_with(|| Arc::new(self.series.model(OTHER)));
            return Arc::clone(other);
        }
        let model = Arc::new(self.series.model(id));
        for master in known.masters.values() {
            self.prepare(&model, master);
        }
        known.models.insert(id.to_owned(), Arc::clone(&model));
        model
    }

    /// The handle of a master account. Beyond [`MOST_MASTER_ACCOUNTS`] it is the one of `other`.
    pub(super) fn master(&self, name: &str) -> Arc<MasterMetrics> {
        let mut guard = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *guard;
        if let Some(master) = known.masters.get(name) {
            return Arc::clone(master);
        }
        let index = known.masters.len();
        if index >= MOST_MASTER_ACCOUNTS {
            let other = known
                .other_master
                .get_or_insert_with(|| Arc::new(self.series.master(OTHER, MOST_MASTER_ACCOUNTS)));
            return Arc::clone(other);
        }
        let master = Arc::new(self.series.master(name, index));
        for model in known.models.values() {
            self.prepare(model, &master);
        }
        known.masters.insert(name.to_owned(), Arc::clone(&master));
        master
    }

    fn prepare(&self, model: &ModelMetrics, master: &MasterMetrics) {
        if master.index < PREPARED_MASTER_ACCOUNTS {
            self.route(model, master);
        }
    }

    fn route<'a>(&self, model: &'a ModelMetrics, master: &MasterMetrics) -> &'a Route {
        model.routes[master.index].get_or_init(|| self.series.route(&model.label, &master.label))
    }

    pub(super) fn request_finished(
        &self,
        model: &ModelMetrics,
        master: &MasterMetrics,
        delivery: Delivery,
        ending: Ending,
    ) {
        self.route(model, master).requests[delivery as usize][ending as usize].inc();
    }

    /// Tokens, and the money of a request that is charged. What is lost is counted by its reason.
    pub(super) fn usage_booked(
        &self,
        model: &ModelMetrics,
        master: &MasterMetrics,
        event: &UsageEvent,
    ) {
        for kind in TokenKind::ALL {
            let count = match kind {
                TokenKind::Prompt => event.tokens.prompt,
                TokenKind::Completion => event.tokens.completion,
                TokenKind::Cached => event.tokens.cached,
                TokenKind::Reasoning => event.tokens.reasoning,
            };
            model.tokens[kind as usize].inc_by(count);
        }
        let route = self.route(model, master);
        // The list cost is what the upstream billed, whoever bears it. One that is out of range is refused elsewhere.
        route.list_cost.inc_by(nanodollars(
            Nanos::round_half_even(event.list_cost).unwrap_or_default(),
        ));
        if event.outcome == Outcome::Charged {
            route.cost.inc_by(nanodollars(event.cost));
            route.price.inc_by(nanodollars(event.price));
            let margin = event.price.saturating_sub(event.cost);
            route.margin.inc_by(nanodollars(margin));
            route.deficit.inc_by(nanodollars(-margin));
        }
    }
}

/// A counter only grows: what is below zero counts as nothing.
pub(super) fn nanodollars(amount: Nanos) -> u64 {
    u64::try_from(amount.get()).unwrap_or(0)
}

impl Series {
    #[expect(clippy::too_many_lines, reason = "a list of series")]
    fn new(registry: &Registry) -> Result<Self> {
        let by_route =
            |name: &str, help: &str| counter_by(registry, name, help, &["model", "master_account"]);
        let of_master =
            |name: &str, help: &str| gauge_by(registry, name, help, &["master_account"]);
        Ok(Self {
            requests: counter_by(
                registry,
                "airouter_requests_total",
                "Requests that were served, by how the answer was sent and how it ended for the client.",
                &["model", "master_account", "delivery", "ending"],
            )?,
            tokens: counter_by(
                registry,
                "airouter_tokens_total",
                "Tokens by kind; cached is part of prompt, reasoning of completion.",
                &["model", "kind"],
            )?,
            list_cost: by_route(
                "airouter_list_cost_nanodollars_total",
                "What the upstream says that requests cost, losses included, in nano-dollars.",
            )?,
            cost: by_route(
                "airouter_cost_nanodollars_total",
                "What charged requests cost the operator, in nano-dollars.",
            )?,
            price: by_route(
                "airouter_price_nanodollars_total",
                "What clients were asked to pay, in nano-dollars.",
            )?,
            margin: by_route(
                "airouter_margin_nanodollars_total",
                "Price minus cost of the requests whose price was above their cost, in nano-dollars.",
            )?,
            deficit: by_route(
                "airouter_deficit_nanodollars_total",
                "Cost minus price of the requests whose price was below their cost, in nano-dollars.",
            )?,
            faults: counter_by(
                registry,
                "airouter_upstream_faults_total",
                "What went wrong at or on the way to the upstream.",
                &["master_account", "kind"],
            )?,
            put_aside: of_master(
                "airouter_master_account_put_aside",
                "1 while a master account is put aside after a fault of its own, 0 while it serves.",
            )?,
            breaker: gauge_by(
                registry,
                "airouter_master_account_breaker",
                "1 for the state in which the circuit breaker of a master account is, 0 for the others.",
                &["master_account", "state"],
            )?,
            attempts: counter_by(
                registry,
                "airouter_upstream_attempts_total",
                "Requests that were sent to a master account.",
                &["master_account"],
            )?,
            repeats: counter_by(
                registry,
                "airouter_upstream_repeats_total",
                "Requests that were sent to a master account again after it had failed them.",
                &["master_account"],
            )?,
            in_flight: of_master(
                "airouter_master_account_requests",
                "Requests that run on a master account.",
            )?,
            share: of_master(
                "airouter_master_account_share_percent",
                "A master account's part of the requests of the last minute.",
            )?,
            reconciliation: gauge_by(
                registry,
                "airouter_reconciliation_difference_nanodollars",
                "What the upstream billed beyond what is booked, of the last thirty days, in nano-dollars of list cost.",
                &["master_account", "kind"],
            )?,
            credit: of_master(
                "airouter_master_account_credit_nanodollars",
                "What the upstream says is left, in nano-dollars of list cost.",
            )?,
            credit_days: of_master(
                "airouter_master_account_credit_days",
                "Whole days that the credit lasts at the present pace.",
            )?,
            agreement_days: of_master(
                "airouter_master_account_agreement_days",
                "Whole days until the agreement ends; below zero when it has ended.",
            )?,
        })
    }

    fn model(&self, label: &str) -> ModelMetrics {
        ModelMetrics {
            label: label.to_owned(),
            tokens: TokenKind::ALL.map(|kind| self.tokens.with_label_values(&[label, kind.name()])),
            routes: [const { OnceLock::new() }; MOST_MASTER_ACCOUNTS + 1],
        }
    }

    fn master(&self, label: &str, index: usize) -> MasterMetrics {
        MasterMetrics {
            label: label.to_owned(),
            index,
            faults: FaultKind::ALL.map(|kind| self.faults.with_label_values(&[label, kind.name()])),
            put_aside: self.put_aside.with_label_values(&[label]),
            breaker: BreakerState::ALL
                .map(|state| self.breaker.with_label_values(&[label, state.name()])),
            attempts: self.attempts.with_label_values(&[label]),
            repeats: self.repeats.with_label_values(&[label]),
            in_flight: self.in_flight.with_label_values(&[label]),
            share: self.share.with_label_values(&[label]),
            reconciliation: About::KINDS
                .map(|kind| self.reconciliation.with_label_values(&[label, kind])),
            known_later: KnownLater {
                credit: self.credit.clone(),
                credit_days: self.credit_days.clone(),
                agreement_days: self.agreement_days.clone(),
            },
        }
    }

    fn route(&self, model: &str, master: &str) -> Route {
        let money = |counters: &IntCounterVec| counters.with_label_values(&[model, master]);
        Route {
            requests: [Delivery::Whole, Delivery::Streamed].map(|delivery| {
                Ending::ALL.map(|ending| {
                    self.requests.with_label_values(&[
                        model,
                        master,
                        delivery.name(),
                        ending.name(),
                    ])
                })
            }),
            list_cost: money(&self.list_cost),
            cost: money(&self.cost),
            price: money(&self.price),
            margin: money(&self.margin),
            deficit: money(&self.deficit),
        }
    }
}
