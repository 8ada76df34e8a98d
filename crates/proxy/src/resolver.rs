//! Finds out what requests cost whose usage did not come: asks for the generation record with backoff, then settles.

use std::sync::Arc;
use std::time::Duration;

use airouter_billing::decimal::parse_decimal;
use airouter_billing::event::{Ending, LossReason};
use airouter_billing::pricing::{self, PriceError, Priced, Terms};
use airouter_billing::recovery::{self, Next, PendingReason};
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{Nanos, Outcome, Quantity, TokenCounts, Usage, UsageEvent};
use airouter_openrouter::Generation;
use airouter_store::StoreError;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::PendingRequest;
use rust_decimal::Decimal;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::leases::Holds;
use crate::metrics::Gauge;

/// Most requests whose usage is being found out; what is beyond stays in the database until the next start.
const QUEUE_SIZE: usize = 65_536;
/// Most requests that are taken over in one go.
const MOST_TAKEN_OVER: usize = 1_000;
/// Most questions to upstreams at the same time.
const PARALLEL_QUESTIONS: usize = 8;

/// A request whose usage is not known, with what it still holds in this process.
pub(crate) struct Unsettled {
    pub(crate) pending: PendingRequest,
    pub(crate) ending: Ending,
    /// `None` after a restart: its leases have ended.
    pub(crate) holds: Option<Holds>,
}

/// Takes requests whose usage is not known.
#[derive(Clone)]
pub(crate) struct Resolver(mpsc::Sender<Unsettled>);

impl Resolver {
    /// A resolver, and what [`run`] needs to work for it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Unsettled>) {
        let (sender, receiver) = mpsc::channel(QUEUE_SIZE);
        (Self(sender), receiver)
    }

    /// For how many more there is room.
    pub(crate) fn room(&self) -> usize {
        self.0.capacity()
    }

    pub(crate) fn add(&self, unsettled: Unsettled) {
        if let Err(error) = self.0.try_send(unsettled) {
            tracing::error!(%error, "too many usages to be found out; this one is taken up at the next start");
        }
    }
}

/// Works until `stop`; what is open then is in the database.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    mut queue: mpsc::Receiver<Unsettled>,
    stop: CancellationToken,
) {
    let questions = Arc::new(Semaphore::new(PARALLEL_QUESTIONS));
    let open = Arc::new(Semaphore::new(QUEUE_SIZE));
    loop {
        let Ok(place) = Arc::clone(&open).acquire_owned().await else {
            return;
        };
        let unsettled = tokio::select! {
            () = stop.cancelled() => return,
            unsettled = queue.recv() => unsettled,
        };
        let Some(unsettled) = unsettled else { return };
        let task = resolve(Arc::clone(&gateway), unsettled, Arc::clone(&questions));
        let stop = stop.clone();
        gateway.tracker.spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

async fn resolve(gateway: Arc<Gateway>, unsettled: Unsettled, questions: Arc<Semaphore>) {
    let gauge = gateway.metrics.gauge(Gauge::PendingRequests);
    gauge.inc();
    let found = find_out(&gateway, &unsettled.pending, &questions).await;
    gauge.dec();
    let Some(place) = gateway.settler.wait_for_place().await else {
        return;
    };
    let id = unsettled.pending.request.id;
    match settlement(&gateway, unsettled, found) {
        Some((event, replica)) => {
            if place.settle(replica, event, None).durable().await.is_err() {
                tracing::error!(request = %id, "a usage that was found out could not be committed");
            }
        }
        None => place.forget(id),
    }
}

/// What was found out.
enum Found {
    Record(Box<Generation>),
    /// The upstream does not know of it.
    Nothing,
}

async fn find_out(gateway: &Gateway, pending: &PendingRequest, questions: &Semaphore) -> Found {
    let Some(id) = pending.served.generation_id.as_deref() else {
        return Found::Nothing;
    };
    let mut attempts = 0;
    loop {
        let now = gateway.clock.now();
        let at = match recovery::next(pending.reason, attempts, pending.since, now) {
            Next::GiveUp => return Found::Nothing,
            Next::AskAt(at) => at,
        };
        tokio::time::sleep(Duration::from_micros(at.micros_since(now))).await;
        attempts += 1;
        let masters = gateway.masters.load_full();
        let Some(master) = masters.get(pending.served.master_account) else {
            continue;
        };
        let Ok(_turn) = questions.acquire().await else {
            return Found::Nothing;
        };
        match master.control.generation(&master.key, id).await {
            Ok(Some(generation)) => return Found::Record(Box::new(generation)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, generation = id, "a generation record could not be asked for");
            }
        }
    }
}

/// The event to commit; `None` for a failed attempt that was not billed.
fn settlement(
    gateway: &Gateway,
    unsettled: Unsettled,
    found: Found,
) -> Option<(UsageEvent, ReplicaId)> {
    let Unsettled {
        mut pending,
        ending,
        holds,
    } = unsettled;
    let (usage, priced, outcome) = match found {
        Found::Record(generation) => {
            pending.served.model = generation.model.clone().or(pending.served.model);
            pending.served.provider = generation.provider_name.clone().or(pending.served.provider);
            match priced(gateway, &pending, &generation) {
                Ok((usage, priced)) => (usage, priced, pending.reason.outcome()),
                Err(error) => {
                    tracing::error!(%error, request = %pending.request.id, "a generation record can't be priced");
                    unknown()
                }
            }
        }
        Found::Nothing if pending.reason == PendingReason::FailedAttempt => return None,
        Found::Nothing => unknown(),
    };
    if pending.reason == PendingReason::FailedAttempt && priced.list_cost.is_zero() {
        return None;
    }
    let present = gateway.replica.id();
    let (price, (charges, replica)) = match (outcome, holds) {
        (Outcome::Charged, Some(holds)) => (priced.price, holds.spend(priced.price)),
        (Outcome::Charged, None) => {
            let charges = charges_of_what_is_free(&pending, priced.price);
            (priced.price, (charges, present))
        }
        (Outcome::Lost(_), _) => (Nanos::ZERO, (Vec::new(), present)),
    };
    let mut request = pending.request;
    request.rule = request.rule_for(pending.served.model.as_deref()).clone();
    let event = UsageEvent {
        request,
        served: pending.served,
        tokens: usage.tokens,
        reported_cost: usage.reported_cost.unwrap_or(priced.list_cost),
        source: priced.source,
        inference: usage.inference,
        list_cost: priced.list_cost,
        cost: priced.cost,
        price,
        outcome,
        ending,
        finished_at: gateway.clock.now(),
        first_byte_micros: None,
        charges,
    };
    note(gateway, &event);
    Some((event, replica))
}

fn unknown() -> (Usage, Priced, Outcome) {
    let usage = Usage {
        tokens: TokenCounts::default(),
        reported_cost: Some(Decimal::ZERO),
        inference: Inference::Credits,
    };
    let priced = Priced {
        list_cost: Decimal::ZERO,
        source: CostSource::GenerationRecord,
        cost: Nanos::ZERO,
        price: Nanos::ZERO,
    };
    (usage, priced, Outcome::Lost(LossReason::Unknown))
}

fn priced(
    gateway: &Gateway,
    pending: &PendingRequest,
    generation: &Generation,
) -> Result<(Usage, Priced), PriceError> {
    let usage = usage_of(generation).ok_or(PriceError::Unpriced)?;
    let terms = Terms {
        discount: pending.served.discount,
        rule: pending.request.rule_for(pending.served.model.as_deref()),
    };
    let catalog = gateway.catalog.load();
    let served = pending
        .served
        .model
        .as_deref()
        .and_then(|id| catalog.get(id));
    let model = served
        .or_else(|| catalog.get(&pending.request.requested_model))
        .map(|entry| &entry.prices);
    let at = pending.request.admitted_at;
    let priced = pricing::price(&usage, CostSource::GenerationRecord, terms, model, at)?;
    Ok((usage, priced))
}

/// `None` when the record has an amount that is none.
fn usage_of(generation: &Generation) -> Option<Usage> {
    let amount = |number: &Option<airouter_openrouter::NumberText>| {
        number
            .as_ref()
            .map(|text| parse_decimal(text.as_str()))
            .transpose()
            .ok()
    };
    let cost = amount(&generation.total_cost)?.or(amount(&generation.usage)?);
    let inference = if generation.is_byok {
        Inference::OwnProviderKey {
            upstream_cost: amount(&generation.upstream_inference_cost)??,
        }
    } else {
        Inference::Credits
    };
    let tokens = TokenCounts {
        prompt: generation
            .native_tokens_prompt
            .or(generation.tokens_prompt)
            .unwrap_or(0),
        completion: generation
            .native_tokens_completion
            .or(generation.tokens_completion)
            .unwrap_or(0),
        cached: generation.native_tokens_cached.unwrap_or(0),
        reasoning: generation.native_tokens_reasoning.unwrap_or(0),
        ..TokenCounts::default()
    };
    Some(Usage {
        tokens,
        reported_cost: cost,
        inference,
    })
}

/// What the request takes from its budgets when its holds are gone with an earlier process: what is free.
fn charges_of_what_is_free(pending: &PendingRequest, price: Nanos) -> Vec<BudgetCharge> {
    pending
        .holds
        .iter()
        .map(|held| {
            let excess = match held.quantity {
                Quantity::Nanos => price.get(),
                Quantity::Requests => 1,
            };
            BudgetCharge {
                from_lease: 0,
                excess,
                ..*held
            }
        })
        .collect()
}

fn note(gateway: &Gateway, event: &UsageEvent) {
    let (catalog, masters) = (gateway.catalog.load(), gateway.masters.load());
    let model = catalog
        .get(&event.request.requested_model)
        .map(|entry| Arc::clone(&entry.metrics));
    let model = model.unwrap_or_else(|| gateway.metrics.for_model(&event.request.requested_model));
    if let Some(master) = masters.get(event.served.master_account) {
        gateway.metrics.usage_booked(&model, &master.metrics, event);
    }
    let outcome = match event.outcome {
        Outcome::Charged => "charged",
        Outcome::Lost(reason) => reason.name(),
    };
    tracing::info!(
        target: "airouter::request",
        request = %event.request.id,
        payer = %event.request.payer,
        generation = event.served.generation_id,
        outcome,
        list_cost = %event.list_cost,
        cost = %event.cost,
        price = %event.price,
        "usage found out"
    );
}

impl Gateway {
    /// Takes up what replicas that have ended left open: requests that a crash cut, and usages that were not found out
    /// yet. Each goes to one replica. Returns how many there were.
    pub(crate) async fn take_over_pending(&self) -> Result<usize, StoreError> {
        let replica = self.replica.id();
        let mut count = 0;
        loop {
            let room = self.resolver.room().min(MOST_TAKEN_OVER);
            if room == 0 {
                return Ok(count);
            }
            let taken = self
                .store
                .take_over_pending(replica, u32::try_from(room).unwrap_or(u32::MAX))
                .await?;
            let is_last = taken.len() < room;
            for pending in taken {
                // It was taken for dead and begins anew: what still runs here is no business of the resolver's.
                if self.in_flight.runs(pending.request.id) {
                    continue;
                }
                count += 1;
                let ending = match pending.reason {
                    PendingReason::InFlight => Ending::Interrupted,
                    PendingReason::UsageUnknown => Ending::Complete,
                    PendingReason::FailedAttempt => Ending::UpstreamFailed,
                };
                self.resolver.add(Unsettled {
                    pending,
                    ending,
                    holds: None,
                });
            }
            if is_last {
                return Ok(count);
            }
        }
    }
}
