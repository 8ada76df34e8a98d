//! Rows that many requests share: by what they were priced, and which budgets they were charged to. Each is a JSON text
//! that is stored once; a request's row has its number.

use std::collections::HashMap;
use std::sync::RwLock;

use airouter_billing::{RequestId, UsageEvent};
use airouter_store::StoreError;
use airouter_store::shared_texts::{budget_set_of, price_terms_of};
use sqlx::SqliteConnection;

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
    price_terms: RwLock<HashMap<String, i64>>,
    budget_sets: RwLock<HashMap<String, i64>>,
}

impl SharedRowCache {
    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for numbers in [&self.price_terms, &self.budget_sets] {
            if let Ok(mut numbers) = numbers.write() {
                numbers.clear();
            }
        }
    }
}

/// The numbers of the shared rows of each event; rows that are new are written first, in a transaction of their own, so
/// that a number once known stays true.
pub(crate) async fn shared_rows(
    connection: &mut SqliteConnection,
    cache: &SharedRowCache,
    events: &[&UsageEvent],
) -> Result<SharedRowsOf, StoreError> {
    let mut rows = HashMap::with_capacity(events.len());
    for event in events {
        let terms = price_terms_of(event)?;
        let slots = budget_set_of(event)?;
        let price_terms = match known(&cache.price_terms, &terms) {
            Some(id) => id,
            None => store_price_terms(connection, &cache.price_terms, terms).await?,
        };
        let budget_set = match known(&cache.budget_sets, &slots) {
            Some(id) => id,
            None => store_budget_set(connection, &cache.budget_sets, slots).await?,
        };
        let shared = SharedRows {
            price_terms,
            budget_set,
        };
        rows.insert(event.request.id, shared);
    }
    Ok(SharedRowsOf(rows))
}

fn known(cache: &RwLock<HashMap<String, i64>>, text: &str) -> Option<i64> {
    cache.read().ok()?.get(text).copied()
}

fn remember(cache: &RwLock<HashMap<String, i64>>, text: String, id: i64) {
    if let Ok(mut texts) = cache.write() {
        if texts.len() >= MOST_TEXTS {
            texts.clear();
        }
        texts.insert(text, id);
    }
}

async fn store_price_terms(
    connection: &mut SqliteConnection,
    cache: &RwLock<HashMap<String, i64>>,
    terms: String,
) -> Result<i64, StoreError> {
    sqlx::query!(
        "INSERT INTO price_terms (terms) VALUES ($1) ON CONFLICT DO NOTHING",
        terms
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let id = sqlx::query_scalar!("SELECT id FROM price_terms WHERE terms = $1", terms)
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    remember(cache, terms, id);
    Ok(id)
}

async fn store_budget_set(
    connection: &mut SqliteConnection,
    cache: &RwLock<HashMap<String, i64>>,
    slots: String,
) -> Result<i64, StoreError> {
    sqlx::query!(
        "INSERT INTO budget_sets (slots) VALUES ($1) ON CONFLICT DO NOTHING",
        slots
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let id = sqlx::query_scalar!("SELECT id FROM budget_sets WHERE slots = $1", slots)
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    remember(cache, slots, id);
    Ok(id)
}
