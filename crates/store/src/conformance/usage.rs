//! Sums of what was used are those of the requests, however far they are summed up already.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use airouter_billing::correction::Answers;
use airouter_billing::event::{Ending, LossReason, ModelName};
use airouter_billing::{
    ApiKeyId, MasterAccountId, Nanos, Outcome, Period, RequestId, Timestamp, TokenCounts,
    UsageEvent,
};
use rust_decimal::{Decimal, RoundingStrategy};

use super::refunds;
use super::workload::Choices;
use super::world::{Client, START, World, charge, lost, new_key, new_master, told};
use crate::Store;
use crate::rollups::Folded;
use crate::settlements::CommitBatch;
use crate::usage::{
    Lines, OperatorPart, OperatorQuery, PayerPart, PayerQuery, QuarterHour, UsagePeriod, UsageRow,
    UsageSums,
};

/// More looks than are needed until transactions of other tests have ended.
const MOST_LOOKS: u32 = 20_000;
/// Days before and after [`START`] in which requests are finished.
const DAYS: i64 = 3;
/// No request counts as longer: a day.
const LONGEST_MICROS: u64 = 86_400_000_000;
const MODELS: [&str; 3] = ["test/one", "test/two", "=test/three"];

/// A request as it stands.
struct Standing {
    event: UsageEvent,
    uncollected: Nanos,
    refunded: Nanos,
}

impl Standing {
    fn price(&self) -> Nanos {
        self.event.price.saturating_sub(self.refunded)
    }

    fn charged(&self) -> Nanos {
        self.price().saturating_sub(self.uncollected)
    }
}

/// Clients and what they did.
struct Business {
    world: World,
    clients: Vec<Client>,
    masters: Vec<MasterAccountId>,
    choices: Choices,
    standing: HashMap<RequestId, Standing>,
}

impl Business {
    async fn new(store: Arc<dyn Store>) -> Self {
        let world = World::new(store).await;
        let mut clients = Vec::new();
        for credit in [1_000_000, 2_000] {
            let client = world.prepaid(credit).await;
            let key = new_key(Vec::new());
            let created = world
                .store
                .create_key(client.account, None, &key, START)
                .await;
            created.unwrap();
            clients.push(client);
            clients.push(Client {
                key: key.id,
                hash: key.hash,
                ..client
            });
        }
        let other = new_master("beef");
        world
            .store
            .add_master_account(&other, &told())
            .await
            .unwrap();
        Self {
            masters: vec![world.master, other.id],
            world,
            clients,
            choices: Choices(0xF01D),
            standing: HashMap::new(),
        }
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        let index = usize::try_from(self.choices.below(of.len().try_into().unwrap())).unwrap();
        of[index].clone()
    }

    /// Some time, now and then the first moment of a quarter of an hour.
    fn time(&mut self) -> Timestamp {
        let seconds = self.choices.below(2 * DAYS * 86_400) - DAYS * 86_400;
        let at = START.plus_seconds(seconds);
        match self.choices.below(4) {
            0 => QuarterHour::containing(at).begins(),
            _ => at,
        }
    }

    fn event(&mut self) -> UsageEvent {
        let clients = self.clients.clone();
        let client = self.one_of(&clients);
        let digits = self.choices.below(1_000_000);
        let list_cost = format!("0.000000{digits:06}");
        let at = self.time();
        let mut event = self.world.event_at(&client, &list_cost, at);
        let masters = self.masters.clone();
        event.served.master_account = self.one_of(&masters);
        event.served.model = Some(self.one_of(&MODELS).to_owned());
        if self.choices.below(3) == 0 {
            event.request.names = vec![ModelName {
                model: event.served.model.clone().unwrap(),
                name: "an alias".to_owned(),
            }];
        }
        event.ending = self.one_of(&Ending::ALL);
        event.tokens.prompt = self.choices.below(10_000).unsigned_abs();
        event.tokens.reasoning = self.choices.below(100).unsigned_abs();
        event.first_byte_micros = match self.choices.below(3) {
            0 => None,
            _ => Some(self.choices.below(5_000_000).unsigned_abs()),
        };
        event.charges = vec![charge(client.balance(), 0, event.price.get())];
        match self.choices.below(6) {
            0 => lost(event, LossReason::Crash),
            1 => lost(event, LossReason::Unknown),
            2 => lost(event, LossReason::FailedAttempt),
            _ => event,
        }
    }

    async fn commit(&mut self, events: Vec<UsageEvent>, answers: Answers) {
        let batch = CommitBatch {
            events: events.clone(),
            answers,
            ..CommitBatch::default()
        };
        let committed = self.world.store.commit(self.world.replica, &batch, START);
        let committed = committed.await.unwrap();
        for event in events {
            let id = event.request.id;
            let short = committed.uncollected.iter().find(|it| it.request == id);
            let uncollected = short.map_or(Nanos::ZERO, |it| it.amount);
            let standing = Standing {
                event,
                uncollected,
                refunded: Nanos::ZERO,
            };
            self.standing.insert(id, standing);
        }
    }

    async fn serve(&mut self) {
        let count = 1 + self.choices.below(6);
        let events: Vec<_> = (0..count).map(|_| self.event()).collect();
        self.commit(events, Answers::Waiting).await;
    }

    /// A loss is taken back: the request was another one than was thought.
    async fn correct(&mut self) {
        let lost = self
            .standing
            .values()
            .find_map(|it| match it.event.outcome {
                Outcome::Lost(reason) if reason.is_corrigible() => Some(it.event.request.clone()),
                _ => None,
            });
        let Some(request) = lost else { return };
        let mut event = self.event();
        event.outcome = Outcome::Charged;
        event.price = Nanos::new(7 + self.choices.below(500));
        let client = self
            .clients
            .iter()
            .find(|client| client.key == request.api_key);
        let balance = client.unwrap().balance();
        event.charges = vec![charge(balance, 0, event.price.get())];
        event.request = request;
        self.commit(vec![event], Answers::Acknowledged).await;
    }

    /// Something of a request's charge is given back.
    async fn refund(&mut self) {
        let is_charged =
            |it: &&mut Standing| it.event.outcome == Outcome::Charged && it.charged() > Nanos::ZERO;
        let Some(standing) = self.standing.values_mut().find(is_charged) else {
            return;
        };
        let amount = Nanos::new(1 + self.choices.below(standing.charged().get()));
        let order = refunds::order(standing.event.request.id, Some(amount.get()));
        let refunded = self.world.store.refund(&order).await.unwrap();
        assert_eq!(refunds::booked(refunded).amount, amount);
        standing.refunded = standing.refunded.saturating_add(amount);
    }

    fn period(&mut self) -> UsagePeriod {
        let from = QuarterHour::containing(self.time());
        let length = match self.choices.below(3) {
            0 => 96,
            1 => self.choices.below(96),
            _ => self.choices.below(96 * 2 * DAYS),
        };
        UsagePeriod {
            from,
            to: from.plus(length),
        }
    }

    /// What the requests come to that `about` gives a name.
    fn expected(
        &self,
        periods: &[UsagePeriod],
        about: impl Fn(&UsageEvent) -> Option<String>,
    ) -> BTreeMap<(usize, String), UsageSums> {
        let mut expected = BTreeMap::new();
        for standing in self.standing.values() {
            let Some(about) = about(&standing.event) else {
                continue;
            };
            let at = standing.event.finished_at;
            for (index, period) in periods.iter().enumerate() {
                if period.from.begins() <= at && at < period.to.begins() {
                    add(
                        expected.entry((index, about.clone())).or_default(),
                        standing,
                    );
                }
            }
        }
        expected
    }
}

/// Adds one request, the plain way.
fn add(sums: &mut UsageSums, standing: &Standing) {
    let event = &standing.event;
    let nanos = (event.list_cost * Decimal::from(1_000_000_000))
        .round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
    sums.list_cost = sums
        .list_cost
        .saturating_add(Nanos::new(nanos.try_into().unwrap()));
    match event.outcome {
        Outcome::Charged => {
            sums.cost = sums.cost.saturating_add(event.cost);
            sums.price = sums.price.saturating_add(standing.price());
            sums.charged = sums.charged.saturating_add(standing.charged());
            sums.losses.uncollected = sums.losses.uncollected.saturating_add(standing.uncollected);
        }
        Outcome::Lost(LossReason::Crash) => {
            sums.losses.crash = sums.losses.crash.saturating_add(event.cost)
        }
        Outcome::Lost(LossReason::Unknown) => {
            sums.losses.unknown = sums.losses.unknown.saturating_add(event.cost)
        }
        Outcome::Lost(LossReason::Uncollected) => {
            sums.losses.uncollected = sums.losses.uncollected.saturating_add(event.cost)
        }
        Outcome::Lost(LossReason::FailedAttempt) => {
            sums.losses.failed_attempt = sums.losses.failed_attempt.saturating_add(event.cost);
            sums.failed_attempts += 1;
            return;
        }
    }
    sums.requests += 1;
    match event.ending {
        Ending::Complete => {}
        Ending::ClientGone => sums.cancelled += 1,
        Ending::UpstreamFailed | Ending::Interrupted => sums.errors += 1,
    }
    let tokens = &event.tokens;
    sums.tokens = TokenCounts {
        prompt: sums.tokens.prompt + tokens.prompt,
        completion: sums.tokens.completion + tokens.completion,
        cached: sums.tokens.cached + tokens.cached,
        cache_write: sums.tokens.cache_write + tokens.cache_write,
        audio: sums.tokens.audio + tokens.audio,
        reasoning: sums.tokens.reasoning + tokens.reasoning,
        image_output: sums.tokens.image_output + tokens.image_output,
    };
    if let Some(micros) = event.first_byte_micros {
        sums.first_bytes += 1;
        sums.first_byte_micros += micros;
    }
    let duration = event.finished_at.micros_since(event.request.admitted_at);
    sums.duration_micros += duration.min(LONGEST_MICROS);
}

/// Compares a report with what is expected; lines are in their order.
fn compare(
    rows: Vec<UsageRow>,
    expected: BTreeMap<(usize, String), UsageSums>,
    shows: impl Fn(&UsageSums) -> bool,
) {
    let order: Vec<_> = rows
        .iter()
        .map(|row| (row.period, std::cmp::Reverse(row.sums.charged)))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    let told: BTreeMap<_, _> = rows
        .into_iter()
        .map(|row| ((row.period, row.about), row.sums))
        .collect();
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .filter(|(_, sums)| shows(sums))
        .collect();
    assert_eq!(told, expected);
}

fn shown(event: &UsageEvent) -> String {
    let served = event.served.model.as_deref();
    let shown = event.request.shown_model(served).or(served);
    shown.unwrap_or(&event.request.requested_model).to_owned()
}

async fn compare_payers(business: &mut Business) {
    let client = business.one_of(&business.clients.clone());
    let by = business.one_of(&[
        PayerPart::Whole,
        PayerPart::Model,
        PayerPart::Key,
        PayerPart::Member,
    ]);
    let somebody = business.one_of(&business.clients.clone());
    let member = business.one_of(&[None, Some(client.account), Some(somebody.account)]);
    let key = business.one_of(&[None, Some(client.key)]);
    let model = business.one_of(&[
        None,
        Some("an alias".to_owned()),
        Some(MODELS[0].to_owned()),
    ]);
    let query = PayerQuery {
        payer: client.account,
        periods: vec![business.period(), business.period()],
        key,
        member,
        model: model.clone(),
        by,
        lines: Lines::ALL,
    };
    let rows = business.world.store.payer_usage(&query).await.unwrap();
    let expected = business.expected(&query.periods, |event| {
        let is_asked = event.request.payer == client.account
            && key.is_none_or(|key| event.request.api_key == key)
            && member.is_none_or(|member| event.request.payer == member)
            && model.as_ref().is_none_or(|model| *model == shown(event));
        is_asked.then(|| match by {
            PayerPart::Whole => String::new(),
            PayerPart::Model => shown(event),
            PayerPart::Key => event.request.api_key.to_string(),
            // Everybody pays for himself here.
            PayerPart::Member => event.request.payer.to_string(),
        })
    });
    compare(rows, expected, |sums| {
        by == PayerPart::Whole || sums.requests > 0 || sums.charged > Nanos::ZERO
    });
}

async fn compare_keys(business: &mut Business) {
    let client = business.one_of(&business.clients.clone());
    let now = business.time();
    let charged_since = |start: Option<Timestamp>| {
        business
            .standing
            .values()
            .filter(|it| it.event.request.api_key == client.key)
            .filter(|it| it.event.outcome == Outcome::Charged)
            .filter(|it| start.is_none_or(|start| it.event.finished_at >= start))
            .map(Standing::charged)
            .fold(Nanos::ZERO, Nanos::saturating_add)
    };
    let told = business.world.store.key_usage(client.key, now).await;
    let told = told.unwrap();
    assert_eq!(told.total, charged_since(None));
    for (period, told) in [
        (Period::Day, told.daily),
        (Period::Week, told.weekly),
        (Period::Month, told.monthly),
    ] {
        assert_eq!(told, charged_since(Some(period.start(now))), "{period:?}");
    }
}

async fn compare_operators(business: &mut Business) {
    let by = business.one_of(&[
        OperatorPart::Whole,
        OperatorPart::Model,
        OperatorPart::MasterAccount,
    ]);
    let model = business.one_of(&[None, Some(MODELS[2].to_owned())]);
    let master_account = business.one_of(&[None, Some(business.masters[1])]);
    let query = OperatorQuery {
        periods: vec![business.period(), business.period(), business.period()],
        model: model.clone(),
        master_account,
        by,
        lines: Lines::ALL,
    };
    let rows = business.world.store.operator_usage(&query).await.unwrap();
    let expected = business.expected(&query.periods, |event| {
        let served = event.served.model.clone().unwrap();
        let is_asked = model.as_ref().is_none_or(|model| *model == served)
            && master_account.is_none_or(|account| event.served.master_account == account);
        is_asked.then(|| match by {
            OperatorPart::Whole => String::new(),
            OperatorPart::Model => served,
            OperatorPart::MasterAccount => event.served.master_account.to_string(),
        })
    });
    compare(rows, expected, |_| true);
}

async fn compare_clients(business: &mut Business) {
    let period = business.period();
    let store = &business.world.store;
    let rows = store.usage_by_client(period, Lines::ALL).await.unwrap();
    assert!(rows.iter().all(|row| row.name.as_deref() == Some("Ada")));
    if let Some(second) = rows.get(1) {
        let lines = Lines { skip: 1, limit: 1 };
        let page = store.usage_by_client(period, lines).await.unwrap();
        assert_eq!(page, std::slice::from_ref(second));
    }
    let expected = business.expected(&[period], |event| Some(event.request.payer.to_string()));
    compare(rows, expected, |_| true);
}

/// Sums up all that there is.
pub(super) async fn fold_all(store: &dyn Store) {
    for _ in 0..MOST_LOOKS {
        match store.fold_usage(1_000).await.unwrap() {
            Folded::Done => return,
            Folded::More => {}
            Folded::Waiting => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    panic!("requests are not summed up");
}

/// Reports are exact whatever was summed up in whichever steps: nothing, something or all of it.
pub async fn reports_are_the_sums_of_requests(store: Arc<dyn Store>) {
    let mut business = Business::new(store).await;
    for step in 0..120 {
        match business.choices.below(9) {
            0..4 => business.serve().await,
            4 => business.correct().await,
            5 => business.refund().await,
            6 | 7 => {
                let most = u32::try_from(1 + business.choices.below(12)).unwrap();
                business.world.store.fold_usage(most).await.unwrap();
            }
            _ => fold_all(&*business.world.store).await,
        }
        if step % 3 == 0 {
            compare_payers(&mut business).await;
            compare_keys(&mut business).await;
            compare_operators(&mut business).await;
            compare_clients(&mut business).await;
        }
    }
    fold_all(&*business.world.store).await;
    let again = business.world.store.fold_usage(1).await.unwrap();
    assert_eq!(again, Folded::Done);
    for _ in 0..10 {
        compare_payers(&mut business).await;
        compare_keys(&mut business).await;
        compare_operators(&mut business).await;
        compare_clients(&mut business).await;
    }
}

/// All sums together are what the ledger's accounts say.
pub async fn reports_are_what_the_ledger_says(store: Arc<dyn Store>) {
    let mut business = Business::new(store).await;
    for _ in 0..10 {
        business.serve().await;
        business.correct().await;
    }
    fold_all(&*business.world.store).await;
    let always = UsagePeriod {
        from: QuarterHour::containing(START.plus_seconds(-30 * 86_400)),
        to: QuarterHour::containing(START.plus_seconds(30 * 86_400)),
    };
    let query = OperatorQuery {
        periods: vec![always],
        model: None,
        master_account: None,
        by: OperatorPart::Whole,
        lines: Lines::ALL,
    };
    let rows = business.world.store.operator_usage(&query).await.unwrap();
    let sums = rows[0].sums;
    let mut spent = Nanos::ZERO;
    for client in business.clients.iter().step_by(2) {
        spent = spent.saturating_add(business.world.balance(client).await.lifetime_spent);
    }
    assert!(spent > Nanos::ZERO);
    assert_eq!(sums.charged, spent);
    assert_eq!(
        sums.price,
        sums.charged.saturating_add(sums.losses.uncollected)
    );
}

/// Who pays for a key may ask about it, and nobody else.
pub async fn a_key_is_known_to_its_payer(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (client, other) = (world.prepaid(0).await, world.prepaid(0).await);
    let is_known = async |client: &Client, key: ApiKeyId| {
        let known = world.store.is_key_of_payer(client.account, key).await;
        known.unwrap()
    };
    assert!(is_known(&client, client.key).await);
    assert!(!is_known(&other, client.key).await);
    let nobodys = new_key(Vec::new()).id;
    assert!(!is_known(&client, nobodys).await);
}
