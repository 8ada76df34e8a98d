//! What replicas write at the same time, and what the database's own types keep.

mod support;

use std::str::FromStr as _;

use airouter_auth::SealedSecret;
use airouter_billing::event::Payment;
use airouter_billing::price_book::{OutputLimit, RawPricing};
use airouter_billing::{ApiKeyId, Discount, DiscountBasis, MasterAccountId, Timestamp};
use airouter_store::audit::{AuditEntry, COMMAND_LINE};
use airouter_store::clients::Clients as _;
use airouter_store::conformance::{START, World, new_person};
use airouter_store::master_accounts::{
    MasterAccounts as _, NewMasterAccount, SealedKey, UpstreamKind,
};
use airouter_store::prices::{ListedModel, PriceProvider, Prices as _};
use airouter_store::reports::Reports as _;
use futures_util::future::join_all;
use rust_decimal::Decimal;
use support::{TestDatabase, run};
use uuid::Uuid;

fn listed(number: usize) -> ListedModel {
    ListedModel {
        id: format!("vendor/model-{number:03}"),
        pricing: RawPricing {
            prices: ["prompt", "completion"]
                .map(|key| (key.to_owned(), "0.000001".to_owned()))
                .to_vec(),
            overrides: Vec::new(),
        },
        context_length: number.is_multiple_of(2).then_some(8_000),
        max_completion_tokens: None,
        output_limit: OutputLimit::Supported,
        // As the upstream wrote it: order, spaces, escapes, doubled names.
        listing: format!(r#"{{ "name":"\u0000 {number}",  "a": 1.50, "a":2e3 }}"#),
        served_as: None,
    }
}

#[tokio::test]
async fn replicas_that_record_the_same_prices_write_them_once() {
    let database = TestDatabase::new().await;
    let replicas = [database.serve().await, database.serve().await];
    let models: Vec<_> = (0..300).map(listed).collect();
    let recorded = join_all(
        replicas
            .iter()
            .map(|replica| replica.record_models(PriceProvider::OpenRouter, &models, START)),
    );
    let written: usize = recorded.await.into_iter().map(Result::unwrap).sum();
    assert_eq!(written, models.len());
    let catalog = replicas[1].catalog().await.unwrap();
    assert_eq!(catalog.len(), models.len());
    for (found, model) in catalog.iter().zip(&models) {
        assert_eq!(found.prices.id, model.id);
        assert_eq!(found.prices.context_length, model.context_length);
        assert_eq!(found.listing, model.listing);
    }
}

#[tokio::test]
async fn decimals_keep_every_digit() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    let fractions = ["0", "0.7", "0.123456"];
    for fraction in fractions {
        let fraction = Decimal::from_str(fraction).unwrap();
        let account = NewMasterAccount {
            id: MasterAccountId::new(Uuid::now_v7()),
            name: format!("main {fraction}"),
            kind: UpstreamKind::OpenRouter,
            base_url: "https://openrouter.ai/api/v1".to_owned(),
            key: SealedKey {
                sealed: SealedSecret::from_bytes(b"sealed".to_vec()),
                fingerprint: fraction.to_string(),
            },
            discount: Discount::new(fraction, DiscountBasis::InReportedCost).unwrap(),
        };
        let audit = AuditEntry::new(COMMAND_LINE, "test", account.id.get(), START);
        store.add_master_account(&account, &audit).await.unwrap();
    }
    let found: Vec<String> = store
        .master_accounts()
        .await
        .unwrap()
        .iter()
        .map(|account| account.discount.fraction().to_string())
        .collect();
    assert_eq!(found, fractions);
    let mut sql = database.sql().await;
    for decimal in [
        "0",
        "0.70",
        "0.0000000000000000000000000001",
        "0.1234567890123456789012345678",
        "79228162514264337593543950335",
    ] {
        let stored: String = sqlx::query_scalar("SELECT $1::text::numeric::text")
            .bind(Decimal::from_str_exact(decimal).unwrap().to_string())
            .fetch_one(&mut sql)
            .await
            .unwrap();
        assert_eq!(stored, decimal);
    }
}

/// Replicas note the same keys in whatever order without getting in each other's way; the latest time stays.
#[tokio::test]
async fn replicas_note_the_use_of_the_same_keys() {
    let database = TestDatabase::new().await;
    let replicas = [database.serve().await, database.serve().await];
    let world = World::new(std::sync::Arc::new(database.serve().await)).await;
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(world.prepaid(0).await.key);
    }
    let noted = |replica: usize, seconds: i64| {
        let (store, mut keys) = (&replicas[replica], keys.clone());
        if replica == 0 {
            keys.reverse();
        }
        async move {
            let used: Vec<(ApiKeyId, Timestamp)> = keys
                .iter()
                .map(|key| (*key, START.plus_seconds(seconds)))
                .collect();
            store.keys_used(&used).await
        }
    };
    for round in 0..25 {
        let (one, other) = tokio::join!(noted(0, round), noted(1, 100 - round));
        one.unwrap();
        other.unwrap();
    }
    let mut sql = database.sql().await;
    let last: Vec<time::OffsetDateTime> =
        sqlx::query_scalar("SELECT DISTINCT last_used_at FROM api_keys")
            .fetch_all(&mut sql)
            .await
            .unwrap();
    let last: Vec<Timestamp> = last.into_iter().map(Timestamp::from).collect();
    assert_eq!(last, [START.plus_seconds(100)]);
}

/// No text of the database has a NUL: what has one is not found, or refused, and nothing else comes of it.
#[tokio::test]
async fn text_that_the_database_cannot_hold_is_no_outage() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    assert_eq!(store.person_by_email("a\0b").await.unwrap(), None);
    let person = new_person(Payment::Metered);
    let found = store.generation(person.account, "gen-\0").await.unwrap();
    assert_eq!(found, None);
    let mut named = person.clone();
    named.name = "\0".to_owned();
    let refused = store.create_person(&named).await;
    assert!(matches!(
        refused,
        Err(airouter_store::StoreError::Refused(_))
    ));
    store.create_person(&person).await.unwrap();
}

/// What is append-only stays, whoever asks.
#[tokio::test]
async fn what_is_append_only_cannot_be_changed() {
    let database = TestDatabase::new().await;
    let store = database.serve().await;
    store
        .record_models(PriceProvider::OpenRouter, &[listed(0)], START)
        .await
        .unwrap();
    let mut sql = database.sql().await;
    for statement in [
        "UPDATE plan_versions SET rule = '{}'",
        "DELETE FROM plan_versions",
        "TRUNCATE request_logs",
        "TRUNCATE ledger_transactions CASCADE",
        "UPDATE model_pricing SET pricing = '{}'",
        "DELETE FROM model_pricing",
    ] {
        let refused = sqlx::query(statement).execute(&mut sql).await.unwrap_err();
        assert!(
            refused.to_string().contains("append-only"),
            "{statement}: {refused}"
        );
    }
    run(&mut sql, "UPDATE model_pricing SET is_active = false").await;
}
