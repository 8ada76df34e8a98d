//! Finds out what requests cost whose usage did not come: asks for the generation record with backoff, then settles.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use airouter_billing::decimal::parse_decimal;
use airouter_billing::event::{Ending, LossReason};
use airouter_billing::pricing::{self, PriceError, Priced, Terms};
use airouter_billing::recovery::{self, Next, PendingReason};
use airouter_billing::settlement::BudgetCharge;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{
    ModelPrices, Nanos, Outcome, Quantity, RequestId, TokenCounts, Usage, UsageEvent,
};
use airouter_openrouter::{Generation, LookedUp};
use airouter_store::StoreError;
use airouter_store::idempotency::FinishedClaim;
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::PendingRequest;
use rust_decimal::Decimal;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::abandoned::Abandoned;
use crate::gateway::Gateway;
use crate::leases::Holds;
use crate::metrics::Gauge;

/// Most requests whose usage is being found out; what is beyond stays in the database until there is room.
const QUEUE_SIZE: usize = 65_536;
/// Most requests that are taken over in one go.
const MOST_TAKEN_OVER: usize = 1_000;
/// Most questions to upstreams at the same time.
const PARALLEL_QUESTIONS: usize = 8;
/// Between two questions for prices while the database is away.
const PRICES_RETRY: Duration = Duration::from_secs(1);

/// A request whose usage is not known, with what it still holds in this process.
pub(crate) struct Unsettled {
    pub(crate) pending: PendingRequest,
    pub(crate) ending: Ending,
    /// `None` after a restart: its leases have ended.
    pub(crate) holds: Option<Holds>,
    /// Set when its client had gone.
    pub(crate) abandoned: Option<Abandoned>,
}

/// Takes requests whose usage is not known.
pub(crate) struct Resolver {
    queue: mpsc::Sender<Unsettled>,
    /// Those that it was given and that are not settled yet.
    known: Mutex<HashSet<RequestId>>,
}

impl Resolver {
    /// A resolver, and what [`run`] needs to work for it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Unsettled>) {
        let (queue, receiver) = mpsc::channel(QUEUE_SIZE);
        let known = Mutex::default();
        (Self { queue, known }, receiver)
    }

    /// For how many more there is room.
    pub(crate) fn room(&self) -> usize {
        self.queue.capacity()
    }

    /// Takes a request, unless it has it already.
    pub(crate) fn add(&self, unsettled: Unsettled) {
        let id = unsettled.pending.request.id;
        if !self.lock().insert(id) {
            return;
        }
        if let Err(error) = self.queue.try_send(unsettled) {
            self.lock().remove(&id);
            tracing::error!(%error, "too many usages to be found out; this one is taken up later");
        }
    }

    /// Whether it works on a request.
    pub(crate) fn knows(&self, request: RequestId) -> bool {
        self.lock().contains(&request)
    }

    fn settled(&self, request: RequestId) {
        self.lock().remove(&request);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
        let id = unsettled.pending.request.id;
        let task = resolve(Arc::clone(&gateway), unsettled, Arc::clone(&questions));
        let (stop, owner) = (stop.clone(), Arc::clone(&gateway));
        gateway.tracker.spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => owner.resolver.settled(id),
            }
        });
    }
}

async fn resolve(gateway: Arc<Gateway>, unsettled: Unsettled, questions: Arc<Semaphore>) {
    let gauge = gateway.metrics.gauge(Gauge::PendingRequests);
    gauge.inc();
    let found = find_out(&gateway, &unsettled.pending, &questions).await;
    let prices = match &found {
        Found::Record(generation) if generation.reports_no_cost() => {
            prices_of_admission(&gateway, &unsettled.pending, generation).await
        }
        Found::Record(_) | Found::Nothing => None,
    };
    gauge.dec();
    let Some(place) = gateway.settler.wait_for_place().await else {
        return;
    };
    let id = unsettled.pending.request.id;
    let claim = unsettled.pending.claim;
    let claim = claim.map(|claim| FinishedClaim {
        claim,
        answer: None,
    });
    match settlement(&gateway, unsettled, found, prices.as_ref()) {
        Some((event, replica)) => {
            if place
                .settle(replica, event, None, claim)
                .durable()
                .await
                .is_err()
            {
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
    let (mut attempts, mut denied_since) = (0, None);
    loop {
        let now = gateway.clock.now();
        let at = match recovery::next(pending.reason, attempts, pending.since, now) {
            Next::GiveUp => return Found::Nothing,
            Next::AskAt(at) => at,
        };
        let wait = Duration::from_micros(at.micros_since(now));
        tokio::time::sleep(match denied_since {
            Some(_) => wait.min(recovery::DENYING_ROUTER_ASKED_EVERY),
            None => wait,
        })
        .await;
        attempts += 1;
        let masters = gateway.masters.load_full();
        let Some(master) = masters.get(pending.served.master_account) else {
            continue;
        };
        let Ok(_turn) = questions.acquire().await else {
            return Found::Nothing;
        };
        let key = master.key(gateway.replica.steady_now());
        match master.control.look_generation_up(key, id).await {
            Ok(LookedUp::Found(generation)) => return Found::Record(generation),
            Ok(LookedUp::Unknown) if master.is_a_router() => {
                let since = *denied_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= recovery::ROUTER_DENIES_FOR {
                    return Found::Nothing;
                }
            }
            Ok(LookedUp::NotYet | LookedUp::Unknown) => denied_since = None,
            Err(error) => {
                denied_since = None;
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
    prices: Option<&ModelPrices>,
) -> Option<(UsageEvent, ReplicaId)> {
    let Unsettled {
        mut pending,
        ending,
        holds,
        abandoned,
    } = unsettled;
    let (usage, priced, outcome) = match found {
        Found::Record(generation) => {
            pending.served.model = generation.model.clone().or(pending.served.model);
            pending.served.provider = generation.provider_name.clone().or(pending.served.provider);
            match priced(&pending, &generation, prices) {
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
    note(gateway, &event, abandoned);
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
    pending: &PendingRequest,
    generation: &Generation,
    prices: Option<&ModelPrices>,
) -> Result<(Usage, Priced), PriceError> {
    let usage = usage_of(generation).ok_or(PriceError::Unpriced)?;
    let terms = Terms {
        discount: pending.served.discount,
        rule: pending.request.rule_for(pending.served.model.as_deref()),
    };
    let at = pending.request.admitted_at;
    let priced = pricing::price(&usage, CostSource::GenerationRecord, terms, prices, at)?;
    Ok((usage, priced))
}

/// By what the tokens of a record without a cost are priced: what the model that served cost when the request was
/// admitted, else the version that it was admitted by. Waits while the database is away.
async fn prices_of_admission(
    gateway: &Gateway,
    pending: &PendingRequest,
    generation: &Generation,
) -> Option<ModelPrices> {
    loop {
        match look_prices_up(gateway, pending, generation).await {
            Ok(prices) => return prices,
            Err(error) if error.is_transient() => tokio::time::sleep(PRICES_RETRY).await,
            Err(error) => {
                tracing::error!(%error, request = %pending.request.id, "the prices of its admission can't be read");
                return None;
            }
        }
    }
}

async fn look_prices_up(
    gateway: &Gateway,
    pending: &PendingRequest,
    generation: &Generation,
) -> Result<Option<ModelPrices>, StoreError> {
    let facts = &pending.request;
    let served = generation.model.as_ref().or(pending.served.model.as_ref());
    if let Some(served) = served.filter(|served| **served != facts.requested_model)
        && let Some(prices) = gateway
            .store
            .model_prices_at(served, facts.admitted_at)
            .await?
    {
        return Ok(Some(prices));
    }
    match facts.model_pricing {
        Some(version) => gateway.store.model_prices(version).await,
        None => Ok(None),
    }
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

fn note(gateway: &Gateway, event: &UsageEvent, abandoned: Option<Abandoned>) {
    let (catalog, masters) = (gateway.catalog.load(), gateway.masters.load());
    let name = event.request.first_model();
    let entry = catalog.priced(name);
    let model = entry.map(|entry| Arc::clone(&entry.metrics));
    let model = model.unwrap_or_else(|| gateway.metrics.for_model(name));
    if let (Some(abandoned), Some(entry)) = (abandoned, entry) {
        abandoned.tell(event, &entry.prices, &gateway.metrics);
    }
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
            let limit = u32::try_from(room).unwrap_or(u32::MAX);
            let taken = self.store.take_over_pending(replica, limit).await;
            if matches!(taken, Err(StoreError::InDoubt(_))) {
                // They may be this replica's own by now, and nobody else looks after them.
                self.strays.suspect();
            }
            let taken = taken?;
            let is_last = taken.len() < room;
            for pending in taken {
                // It was taken for dead and begins anew: what still runs here is no business of the resolver's.
                if self.in_flight.runs(pending.request.id) {
                    continue;
                }
                count += 1;
                self.take_up(pending);
            }
            if is_last {
                return Ok(count);
            }
        }
    }

    /// Finds out what a request cost of which nothing is left here but its record.
    pub(crate) fn take_up(&self, pending: PendingRequest) {
        let ending = match pending.reason {
            PendingReason::InFlight => Ending::Interrupted,
            PendingReason::UsageUnknown => Ending::Complete,
            PendingReason::FailedAttempt => Ending::UpstreamFailed,
        };
        self.resolver.add(Unsettled {
            pending,
            ending,
            holds: None,
            abandoned: None,
        });
    }
}
