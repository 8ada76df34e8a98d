//! What an upstream says of a master account: by day, and of single requests.

use std::time::Duration;

use airouter_billing::decimal::parse_decimal;
use airouter_billing::reconciliation::{About, Spend};
use airouter_billing::{Discount, MasterAccountId, Timestamp, UtcDay};
use airouter_openrouter::{ActivityRow, ControlClient, ControlError, Generation, NumberText};
use airouter_store::master_accounts::UpstreamKind;
use rust_decimal::Decimal;
use secrecy::SecretString;

use crate::config::Upstream;
use crate::master_accounts::{OpenedMasterAccount, fingerprint};
use crate::masters::control_client;

/// An upstream that has nothing of a day by so long after it says so.
const LATEST_SECONDS: i64 = 86_400;
/// The longest wait when an upstream wants to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// What it is left alone for when it doesn't say.
const USUAL_WAIT: Duration = Duration::from_secs(5);
/// How often it is asked for one record.
const ATTEMPTS: u32 = 3;

/// A master account as its upstream is asked about it.
pub(crate) struct AskedUpstream {
    pub(crate) id: MasterAccountId,
    pub(crate) name: String,
    pub(crate) discount: Discount,
    control: ControlClient,
    keys: Vec<SecretString>,
    management_key: Option<SecretString>,
}

/// What an upstream says of a day.
pub(crate) enum DayUsage {
    Told(Spend),
    Untold(String),
}

/// What an upstream says of a request.
pub(crate) enum Record {
    /// What it took for it.
    Told(Spend),
    /// Its record says nothing of money.
    Untold,
    /// It knows of no such request.
    Unknown,
}

impl AskedUpstream {
    /// The account as it can be asked about; an error says why it can't.
    pub(crate) fn of(opened: OpenedMasterAccount, upstream: &Upstream) -> Result<Self, String> {
        let account = opened.account;
        if account.kind != UpstreamKind::OpenRouter {
            return Err("its upstream tells nothing of what it billed".to_owned());
        }
        let control =
            control_client(&account.base_url, upstream).map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            id: account.id,
            name: account.name,
            discount: account.discount,
            control,
            keys: opened.keys.into_iter().map(|(_, key)| key).collect(),
            management_key: opened.management_key,
        })
    }

    /// Whether its upstream says what it took by day.
    pub(super) const fn tells_days(&self) -> bool {
        self.management_key.is_some()
    }

    /// What it took on a day that is over.
    pub(super) async fn used_on(&self, day: UtcDay, now: Timestamp) -> DayUsage {
        let Some(key) = &self.management_key else {
            return DayUsage::Untold("it has no management key".to_owned());
        };
        let day_text = day.to_string();
        let rows = match self.control.activity(key, &day_text).await {
            Ok(rows) => rows,
            Err(error) => return DayUsage::Untold(error.to_string()),
        };
        let of_day: Vec<_> = rows.iter().filter(|row| row.is_of(&day_text)).collect();
        if of_day.is_empty() && now < day.ends().plus_seconds(LATEST_SECONDS) {
            return DayUsage::Untold("the upstream has nothing of this day yet".to_owned());
        }
        sum_of(&of_day).map_or_else(
            || DayUsage::Untold("its amounts can't be read".to_owned()),
            DayUsage::Told,
        )
    }

    /// What it ever took, by the account's credit if there is a management key, else by its inference keys; and of what
    /// that is the sum.
    pub(super) async fn used_ever(&self) -> Result<(String, Spend), String> {
        let said = |error: ControlError| error.to_string();
        let unreadable = || "its amounts can't be read".to_owned();
        if let Some(key) = &self.management_key {
            let credits = self.control.credits(key).await.map_err(said)?;
            let used = Spend {
                credits: amount(Some(&credits.total_usage)).ok_or_else(unreadable)?,
                at_provider: Decimal::ZERO,
            };
            return Ok((About::Credits.kind().to_owned(), used));
        }
        let mut sum = Spend::default();
        let mut fingerprints = Vec::new();
        for key in &self.keys {
            let status = self.control.key(key).await.map_err(said)?;
            let used = Spend {
                credits: status
                    .usage
                    .as_ref()
                    .and_then(|usage| amount(Some(usage)))
                    .ok_or_else(unreadable)?,
                at_provider: amount(status.byok_usage.as_ref()).ok_or_else(unreadable)?,
            };
            sum = sum.plus(used).map_err(|error| error.to_string())?;
            let fingerprint = fingerprint(key);
            fingerprints.push(fingerprint.get(..12).unwrap_or_default().to_owned());
        }
        fingerprints.sort_unstable();
        let source = format!("{} {}", About::Keys.kind(), fingerprints.join(" "));
        Ok((source, sum))
    }

    /// Which of its sums is read.
    pub(super) const fn sum(&self) -> About {
        match self.management_key {
            Some(_) => About::Credits,
            None => About::Keys,
        }
    }

    /// What it took for a request.
    pub(super) async fn record(&self, generation: &str) -> Result<Record, ControlError> {
        for key in &self.keys {
            if let Some(record) = self.ask(key, generation).await? {
                return Ok(spend_of(&record).map_or(Record::Untold, Record::Told));
            }
        }
        Ok(Record::Unknown)
    }

    async fn ask(
        &self,
        key: &SecretString,
        generation: &str,
    ) -> Result<Option<Generation>, ControlError> {
        for _ in 1..ATTEMPTS {
            match self.control.generation(key, generation).await {
                Err(ControlError::RateLimited { retry_after }) => {
                    let wait = retry_after.unwrap_or(USUAL_WAIT).min(LONGEST_WAIT);
                    tokio::time::sleep(wait).await;
                }
                answered => return answered,
            }
        }
        self.control.generation(key, generation).await
    }
}

/// `None` when an amount can't be read or summed.
fn sum_of(rows: &[&ActivityRow]) -> Option<Spend> {
    rows.iter().try_fold(Spend::default(), |sum, row| {
        let spend = Spend {
            credits: amount(Some(&row.usage))?,
            at_provider: amount(row.byok_usage_inference.as_ref())?,
        };
        sum.plus(spend).ok()
    })
}

fn spend_of(record: &Generation) -> Option<Spend> {
    let credits = record.total_cost.as_ref().or(record.usage.as_ref())?;
    let at_provider = record
        .upstream_inference_cost
        .as_ref()
        .filter(|_| record.is_byok);
    Some(Spend {
        credits: amount(Some(credits))?,
        at_provider: amount(at_provider)?,
    })
}

fn amount(text: Option<&NumberText>) -> Option<Decimal> {
    text.map_or(Some(Decimal::ZERO), |text| {
        parse_decimal(text.as_str()).ok()
    })
}
