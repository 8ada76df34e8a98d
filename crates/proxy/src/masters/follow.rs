//! What is to be known of master accounts beside requests: their credit, which their upstreams tell whoever has a
//! management key (an AI Router tells it to its client), and the ends of the agreements that they rest on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use airouter_billing::decimal::parse_decimal;
use airouter_billing::{MasterAccountId, Nanos, Timestamp};
use airouter_openrouter::Credits;
use airouter_store::master_accounts::CreditReading;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::account::Master;
use super::credit::next_reading;
use crate::gateway::Gateway;

const DAY_SECONDS: i64 = 86_400;
/// From so many days before its end an agreement is spoken of.
const SOON_DAYS: i64 = 30;

/// Follows credit and agreements until `stop`. Every replica does, slowly: whoever finds a reading in the database that is
/// young enough takes that one, so that together they ask about as often as one would, and none depends on another.
pub(crate) async fn follow(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut follower = Follower::default();
    loop {
        let every = gateway.settings.credit_every;
        tokio::select! {
            () = stop.cancelled() => return,
            () = follower.look(&gateway, every) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(every)) => {}
        }
    }
}

/// What was said already, so that it is not said every minute.
#[derive(Default)]
struct Follower {
    failing: HashSet<MasterAccountId>,
    spoken_of: HashMap<MasterAccountId, i64>,
}

impl Follower {
    async fn look(&mut self, gateway: &Gateway, every: Duration) {
        let masters = gateway.masters.load_full();
        for master in masters.known() {
            self.speak_of_agreement(master, gateway.clock.now());
        }
        let stored: HashMap<_, _> = match gateway.store.master_accounts().await {
            Ok(accounts) => accounts
                .into_iter()
                .filter_map(|account| Some((account.id, account.credit?)))
                .collect(),
            // The upstream is asked instead.
            Err(_) => HashMap::new(),
        };
        for master in masters.known() {
            let known = stored.get(&master.id).copied();
            let known = known.max_by_time(master.credit());
            match known {
                Some(reading) if is_young(&reading, every, gateway.clock.now()) => {
                    master.note_credit(reading);
                }
                _ => self.ask(gateway, master, known.as_ref()).await,
            }
        }
    }

    async fn ask(&mut self, gateway: &Gateway, master: &Master, before: Option<&CreditReading>) {
        let Some(key) = master.credit_key(gateway.replica.steady_now()) else {
            return;
        };
        let said = match master.control.credits(key).await {
            Ok(credits) => amounts(&credits).ok_or("its amounts can't be read".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match said {
            Ok(amounts) => {
                self.failing.remove(&master.id);
                let reading = next_reading(before, amounts, gateway.clock.now());
                master.note_credit(reading);
                // One that can't be written is known here all the same.
                let _ = gateway.store.record_credit(master.id, &reading).await;
            }
            Err(error) => {
                if self.failing.insert(master.id) {
                    tracing::warn!(
                        master_account = master.name,
                        error,
                        "the credit of a master account can't be followed"
                    );
                }
            }
        }
    }

    /// Once a day, from a month before the end on.
    fn speak_of_agreement(&mut self, master: &Master, now: Timestamp) {
        let Some(ends_at) = master.agreement_ends_at else {
            return;
        };
        let seconds = (ends_at.as_micros() - now.as_micros()).div_euclid(1_000_000);
        let days_left = seconds.div_euclid(DAY_SECONDS);
        master.metrics.set_agreement(days_left);
        let today = now.as_micros().div_euclid(1_000_000 * DAY_SECONDS);
        if days_left > SOON_DAYS || self.spoken_of.insert(master.id, today) == Some(today) {
            return;
        }
        if seconds <= 0 {
            tracing::warn!(
                master_account = master.name,
                "the agreement of a master account has ended; it serves all the same"
            );
        } else {
            tracing::warn!(
                master_account = master.name,
                days_left,
                "the agreement of a master account ends soon"
            );
        }
    }
}

trait Later {
    /// The later one of two readings.
    fn max_by_time(self, other: Self) -> Self;
}

impl Later for Option<CreditReading> {
    fn max_by_time(self, other: Self) -> Self {
        self.into_iter()
            .chain(other)
            .max_by_key(|reading| reading.seen_at)
    }
}

/// Whether nobody needs to ask again yet.
fn is_young(reading: &CreditReading, every: Duration, now: Timestamp) -> bool {
    u128::from(now.micros_since(reading.seen_at)) < every.as_micros() / 4 * 3
}

fn amounts(credits: &Credits) -> Option<(Nanos, Nanos)> {
    let amount = |text: &str| Nanos::round_half_even(parse_decimal(text).ok()?).ok();
    Some((
        amount(credits.total_credits.as_str())?,
        amount(credits.total_usage.as_str())?,
    ))
}

/// From 80 to 120 percent of it, so that replicas don't ask in step.
fn jittered(every: Duration) -> Duration {
    // The last byte of a UUID is random.
    let random = u32::from(Uuid::now_v7().as_bytes()[15]);
    every * (80 + random * 40 / 255) / 100
}
