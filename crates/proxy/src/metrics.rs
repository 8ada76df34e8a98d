//! What the operator sees of the data plane: counters, gauges and histograms, registered once.
//!
//! Labels are closed sets ([`labels`]), or the names of models and master accounts up to a bound, beyond which they are
//! `other`. Clients are never a label. Money is counted in whole nano-dollars.

mod abandoned;
mod labels;
mod register;
mod routes;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use airouter_billing::event::{Delivery, Ending, LossReason};
use airouter_billing::{Nanos, Outcome, UsageEvent};
use prometheus::{Histogram, IntCounter, IntGauge, Registry, Result};

pub use labels::{
    Abandonment, Alarm, Bearer, BreakerState, FaultKind, Gauge, Refusal, Rejection, TokenKind,
};
pub use routes::{MasterMetrics, ModelMetrics};

use abandoned::AbandonedAnswers;
use register::{counter, counters_for, gauge, histogram};
use routes::{Routes, nanodollars};

/// Of what we add to an answer, in seconds: 50 µs to 1 s.
const ADDED_LATENCY_BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 1.0,
];
/// Of whole answers, in seconds: 5 ms to 10 min.
const DURATION_BUCKETS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];
/// Of events in a group commit.
const BATCH_BUCKETS: [f64; 11] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

/// All metrics of the data plane. Cheap to use from every thread; share it behind an [`Arc`].
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    routes: Routes,
    abandoned: AbandonedAnswers,
    refusals: [IntCounter; Refusal::ALL.len()],
    rejections: [IntCounter; Rejection::ALL.len()],
    alarms: [IntCounter; Alarm::ALL.len()],
    losses: [IntCounter; LossReason::ALL.len()],
    lost: [IntCounter; LossReason::ALL.len()],
    corrections: [IntCounter; LossReason::ALL.len()],
    gauges: [IntGauge; Gauge::ALL.len()],
    added_first_byte: Histogram,
    added_last_byte: Histogram,
    first_byte: Histogram,
    duration: Histogram,
    settlement_lag: Histogram,
    commit_batch: Histogram,
    redis_fallbacks: IntCounter,
    replays: IntCounter,
}

/// A request that ended, however it did.
#[derive(Clone, Copy, Debug)]
pub struct RequestSample<'a> {
    /// The model that was asked for.
    pub model: &'a ModelMetrics,
    /// The master account that served.
    pub master: &'a MasterMetrics,
    /// How the answer was sent.
    pub delivery: Delivery,
    /// How it ended for the client.
    pub ending: Ending,
    /// How long it took.
    pub timing: Timing,
}

/// How long a request took. What did not happen is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From the request's last byte to the answer's first, without the time that the upstream took.
    pub added_first_byte: Option<Duration>,
    /// From the upstream's last byte to ours.
    pub added_last_byte: Option<Duration>,
    /// From the request's last byte to the answer's first.
    pub first_byte: Option<Duration>,
    /// From the request's last byte until the end of the answer may go out.
    pub whole: Duration,
}

/// Counts one up as long as it lives.
#[derive(Debug)]
pub struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Metrics in a registry of their own. An error means that two metrics have one name.
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let [added_first_byte, added_last_byte, first_byte, duration] = durations(&registry)?;
        Ok(Self {
            routes: Routes::new(&registry)?,
            abandoned: AbandonedAnswers::new(&registry)?,
            refusals: counters_for(
                &registry,
                "airouter_refusals_total",
                "Requests that were refused before anything went upstream.",
                ("reason", Refusal::ALL.map(Refusal::name)),
            )?,
            rejections: counters_for(
                &registry,
                "airouter_rejected_connections_total",
                "Connections that were closed before a request.",
                ("reason", Rejection::ALL.map(Rejection::name)),
            )?,
            alarms: counters_for(
                &registry,
                "airouter_alarms_total",
                "What must not happen; every increase is worth a look.",
                ("kind", Alarm::ALL.map(Alarm::name)),
            )?,
            losses: counters_for(
                &registry,
                "airouter_losses_total",
                "Requests of which the operator bears a part or all.",
                ("reason", LossReason::ALL.map(LossReason::name)),
            )?,
            lost: counters_for(
                &registry,
                "airouter_loss_nanodollars_total",
                "What the operator bears, in nano-dollars.",
                ("reason", LossReason::ALL.map(LossReason::name)),
            )?,
            corrections: counters_for(
                &registry,
                "airouter_loss_corrections_total",
                "Losses that were taken back, because the client had its answer, and is charged.",
                ("reason", LossReason::ALL.map(LossReason::name)),
            )?,
            gauges: gauges(&registry)?,
            added_first_byte,
            added_last_byte,
            first_byte,
            duration,
            settlement_lag: histogram(
                &registry,
                "airouter_settlement_lag_seconds",
                "From a usage event's being handed over to its being durable.",
                &ADDED_LATENCY_BUCKETS,
            )?,
            commit_batch: histogram(
                &registry,
                "airouter_commit_batch_events",
                "Usage events in a group commit.",
                &BATCH_BUCKETS,
            )?,
            redis_fallbacks: counter(
                &registry,
                "airouter_redis_fallbacks_total",
                "Requests whose limits this replica counted by itself because Redis was away or slow.",
            )?,
            replays: counter(
                &registry,
                "airouter_idempotent_replays_total",
                "Answers that were sent again to a repeat with the same Idempotency-Key.",
            )?,
            registry,
        })
    }

    /// Where everything is registered, to be gathered, and for metrics of others.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The handle of a model, to be kept in its catalog entry: the first 200 models get a label of their own.
    pub fn for_model(&self, id: &str) -> Arc<ModelMetrics> {
        self.routes.model(id)
    }

    /// The handle of a master account, to be kept beside its key: the first 50 get a label of their own.
    pub fn for_master(&self, name: &str) -> Arc<MasterMetrics> {
        self.routes.master(name)
    }

    /// A request was admitted; it is in flight as long as the result lives.
    pub fn request_started(&self) -> Counted {
        Counted::new(self.gauge(Gauge::RequestsInFlight))
    }

    /// A client connected; it is connected as long as the result lives.
    pub fn connection_opened(&self) -> Counted {
        Counted::new(self.gauge(Gauge::OpenConnections))
    }

    /// A request ended.
    pub fn request_finished(&self, sample: &RequestSample<'_>) {
        self.routes
            .request_finished(sample.model, sample.master, sample.delivery, sample.ending);
        let timing = sample.timing;
        for (histogram, duration) in [
            (&self.added_first_byte, timing.added_first_byte),
            (&self.added_last_byte, timing.added_last_byte),
            (&self.first_byte, timing.first_byte),
            (&self.duration, Some(timing.whole)),
        ] {
            if let Some(duration) = duration {
                histogram.observe(duration.as_secs_f64());
            }
        }
    }

    /// A usage event is booked: its tokens, its money, and its cost as a loss if it is one. What the client's budgets
    /// did not cover of its price is for [`Metrics::loss`].
    pub fn usage_booked(&self, model: &ModelMetrics, master: &MasterMetrics, event: &UsageEvent) {
        self.routes.usage_booked(model, master, event);
        if let Outcome::Lost(reason) = event.outcome {
            self.loss(reason, event.cost);
        }
    }

    /// What an answer came to whose client had gone is booked: `amount` for all of it, `unread` of that for what arrived
    /// afterwards. Providers have labels of their own up to a bound.
    pub fn abandoned(
        &self,
        how: Abandonment,
        provider: &str,
        outcome: Outcome,
        amount: Nanos,
        unread: Nanos,
    ) {
        self.abandoned.count(how, provider, outcome, amount, unread);
    }

    /// A request was refused.
    pub fn request_refused(&self, refusal: Refusal) {
        self.refusals[refusal as usize].inc();
    }

    /// A connection was closed before a request.
    pub fn connection_rejected(&self, reason: Rejection) {
        self.rejections[reason as usize].inc();
    }

    /// Something went wrong at or on the way to the upstream.
    pub fn upstream_fault(&self, master: &MasterMetrics, fault: impl Into<FaultKind>) {
        master.faults[fault.into() as usize].inc();
    }

    /// The operator bears `amount`.
    pub fn loss(&self, reason: LossReason, amount: Nanos) {
        self.losses[reason as usize].inc();
        self.lost[reason as usize].inc_by(nanodollars(amount));
    }

    /// A loss that was booked for this reason is taken back. What was counted as lost stays counted.
    pub fn loss_corrected(&self, reason: LossReason) {
        self.corrections[reason as usize].inc();
    }

    /// Something happened that must not.
    pub fn alarm(&self, alarm: Alarm) {
        self.alarms[alarm as usize].inc();
    }

    /// A group commit begins, of so many usage events.
    pub fn commit_batch(&self, events: usize) {
        // A count of events is far below 2^32, where a float is still exact.
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.commit_batch.observe(f64::from(events));
    }

    /// A usage event became durable so long after it was handed over.
    pub fn settled_after(&self, lag: Duration) {
        self.settlement_lag.observe(lag.as_secs_f64());
    }

    /// The database refused a usage event for good.
    pub fn settlement_refused(&self) {
        self.alarm(Alarm::CommitRefused);
    }

    /// So many requests until now were counted without Redis, which should have been asked.
    pub fn redis_fallbacks(&self, total: u64) {
        let counted = self.redis_fallbacks.get();
        self.redis_fallbacks.inc_by(total.saturating_sub(counted));
    }

    /// An answer was sent again.
    pub fn answer_replayed(&self) {
        self.replays.inc();
    }

    /// A quantity that goes up and down, to be set, increased or decreased.
    pub const fn gauge(&self, gauge: Gauge) -> &IntGauge {
        &self.gauges[gauge as usize]
    }
}

fn gauges(registry: &Registry) -> Result<[IntGauge; Gauge::ALL.len()]> {
    let gauges = Gauge::ALL
        .into_iter()
        .map(|which| gauge(registry, which.name(), which.help()))
        .collect::<Result<Vec<_>>>()?;
    gauges
        .try_into()
        .map_err(|_| prometheus::Error::Msg("a gauge is missing".to_owned()))
}

fn durations(registry: &Registry) -> Result<[Histogram; 4]> {
    let of = |name: &str, help: &str, buckets: &[f64]| histogram(registry, name, help, buckets);
    Ok([
        of(
            "airouter_added_latency_first_byte_seconds",
            "From a request's last byte to the answer's first, without the upstream's time.",
            &ADDED_LATENCY_BUCKETS,
        )?,
        of(
            "airouter_added_latency_last_byte_seconds",
            "From the upstream's last byte to ours; the commit of the usage event is in it.",
            &ADDED_LATENCY_BUCKETS,
        )?,
        of(
            "airouter_time_to_first_byte_seconds",
            "From a request's first byte to the answer's first.",
            &DURATION_BUCKETS,
        )?,
        of(
            "airouter_request_duration_seconds",
            "From a request's first byte to the answer's last.",
            &DURATION_BUCKETS,
        )?,
    ])
}
