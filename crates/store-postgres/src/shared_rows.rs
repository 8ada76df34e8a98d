//! Rows that many requests share: by what they were priced, and which budgets they were charged to. Each is a JSON text
//! that is stored once; a request's row has its number.

use std::collections::{BTreeSet, HashMap};
use std::sync::RwLock;

use airouter_billing::{RequestId, UsageEvent};
use airouter_store::StoreError;
use airouter_store::shared_texts::{budget_set_of, price_terms_of};
use sqlx::PgConnection;

use crate::connection::failed;

/// More texts than are in use at a time; beyond that the cache starts anew.
const MOST_TEXTS: usize = 20_000;

/// The numbers of the shared rows of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedRows {
    pub(crate) price_terms: i64,
    pub(crate) budget_set: i64,
}

/// The shared rows of the requests of a batch.
#[derive(Debug, Default)]
pub(crate) struct SharedRowsOf(HashMap<RequestId, SharedRows>);

impl SharedRowsOf {
    pub(crate) fn of(&self, event: &UsageEvent) -> Result<SharedRows, StoreError> {
        let id = event.request.id;
        self.0
            .get(&id)
            .copied()
            .ok_or_else(|| StoreError::Refused(format!("request {id} has no shared rows").into()))
    }
}

/// Texts whose numbers are known.
#[derive(Debug, Default)]
pub(crate) struct SharedRowCache {
    price_terms: Numbers,
    budget_sets: Numbers,
}

impl SharedRowCache {
    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for numbers in [&self.price_terms, &self.budget_sets] {
            if let Ok(mut numbers) = numbers.0.write() {
                numbers.clear();
            }
        }
    }
}

/// The numbers of the shared rows of each event; rows that are missing are stored. To be called before a transaction
/// begins, so that a number once known stays true.
pub(crate) async fn shared_rows(
    connection: &mut PgConnection,
    cache: &SharedRowCache,
    events: &[&UsageEvent],
) -> Result<SharedRowsOf, StoreError> {
    let texts = |of: fn(&UsageEvent) -> Result<String, StoreError>| -> Result<Vec<_>, StoreError> {
        events.iter().map(|event| of(event)).collect()
    };
    let (terms, slots) = (texts(price_terms_of)?, texts(budget_set_of)?);
    let mut price_terms = cache.price_terms.known(&terms);
    let missing = price_terms.missing(&terms);
    if !missing.is_empty() {
        let stored = store_price_terms(connection, &missing).await?;
        price_terms.learn(&cache.price_terms, stored);
    }
    let mut budget_sets = cache.budget_sets.known(&slots);
    let missing = budget_sets.missing(&slots);
    if !missing.is_empty() {
        let stored = store_budget_sets(connection, &missing).await?;
        budget_sets.learn(&cache.budget_sets, stored);
    }
    let mut rows = HashMap::with_capacity(events.len());
    for ((event, terms), slots) in events.iter().zip(&terms).zip(&slots) {
        let shared = SharedRows {
            price_terms: price_terms.number(terms)?,
            budget_set: budget_sets.number(slots)?,
        };
        rows.insert(event.request.id, shared);
    }
    Ok(SharedRowsOf(rows))
}

#[derive(Debug, Default)]
struct Numbers(RwLock<HashMap<String, i64>>);

impl Numbers {
    fn known<'a>(&self, texts: &'a [String]) -> Known<'a> {
        let numbers = self.0.read().ok();
        let known = texts.iter().filter_map(|text| {
            let number = numbers.as_ref()?.get(text)?;
            Some((text.as_str(), *number))
        });
        Known {
            known: known.collect(),
            stored: HashMap::new(),
        }
    }
}

/// What a batch needs.
struct Known<'a> {
    known: HashMap<&'a str, i64>,
    stored: HashMap<String, i64>,
}

impl Known<'_> {
    /// What has to be stored, in an order that is the same everywhere.
    fn missing(&self, texts: &[String]) -> Vec<String> {
        let missing: BTreeSet<&String> = texts
            .iter()
            .filter(|text| !self.known.contains_key(text.as_str()))
            .collect();
        missing.into_iter().cloned().collect()
    }

    fn learn(&mut self, cache: &Numbers, stored: Vec<(String, i64)>) {
        self.stored = stored.into_iter().collect();
        if let Ok(mut numbers) = cache.0.write() {
            if numbers.len() >= MOST_TEXTS {
                numbers.clear();
            }
            numbers.extend(self.stored.iter().map(|(text, id)| (text.clone(), *id)));
        }
    }

    fn number(&self, text: &str) -> Result<i64, StoreError> {
        let number = self.known.get(text).or_else(|| self.stored.get(text));
        number.copied().ok_or_else(|| {
            let lost = "a shared row was not there after it was stored";
            StoreError::Unavailable(lost.into())
        })
    }
}

/// Stores texts that are not there; returns all with their numbers.
async fn store_price_terms(
    connection: &mut PgConnection,
    terms: &[String],
) -> Result<Vec<(String, i64)>, StoreError> {
    sqlx::query!(
        "INSERT INTO price_terms (terms) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING",
        terms
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let rows = sqlx::query!(
        "SELECT id, terms FROM price_terms WHERE terms = ANY ($1)",
        terms
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|row| (row.terms, row.id)).collect())
}

/// Stores texts that are not there; returns all with their numbers.
async fn store_budget_sets(
    connection: &mut PgConnection,
    slots: &[String],
) -> Result<Vec<(String, i64)>, StoreError> {
    sqlx::query!(
        "INSERT INTO budget_sets (slots) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING",
        slots
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let rows = sqlx::query!(
        "SELECT id, slots FROM budget_sets WHERE slots = ANY ($1)",
        slots
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    Ok(rows.into_iter().map(|row| (row.slots, row.id)).collect())
}
