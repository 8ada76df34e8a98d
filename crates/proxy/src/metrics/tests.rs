use std::sync::Arc;
use std::time::Duration;

use airouter_billing::event::{Delivery, Ending, LossReason, Payment, RequestFacts, Served};
use airouter_billing::ids::ModelPricingId;
use airouter_billing::usage::{CostSource, Inference};
use airouter_billing::{
    AccountId, ApiKeyId, Discount, DiscountBasis, MasterAccountId, Nanos, Outcome, PlanVersionId,
    PriceRule, RequestId, Timestamp, TokenCounts, UsageEvent,
};
use airouter_openrouter::Fault;
use prometheus::TextEncoder;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::routes::{MOST_MASTER_ACCOUNTS, MOST_MODELS};
use super::{FaultKind, Gauge, Metrics, Refusal, RequestSample, Timing};

fn text(metrics: &Metrics) -> String {
    TextEncoder::new()
        .encode_to_string(&metrics.registry().gather())
        .unwrap()
}

fn value(metrics: &Metrics, series: &str) -> Option<String> {
    text(metrics)
        .lines()
        .find_map(|line| line.strip_prefix(series).map(|rest| rest.trim().to_owned()))
}

/// The example of the design: list $0.010, discount 70 %, factor 80 %.
fn event(outcome: Outcome) -> UsageEvent {
    UsageEvent {
        request: RequestFacts {
            id: RequestId::new(Uuid::from_u128(1)),
            api_key: ApiKeyId::new(Uuid::from_u128(2)),
            payer: AccountId::new(Uuid::from_u128(3)),
            payment: Payment::Prepaid,
            requested_model: "a/b".to_owned(),
            model_pricing: Some(ModelPricingId::new(1)),
            plan_version: PlanVersionId::new(1),
            rule: PriceRule::PercentOfList {
                factor: Decimal::new(8, 1),
            },
            fallback_rules: Vec::new(),
            names: Vec::new(),
            delivery: Delivery::Streamed,
            admitted_at: Timestamp::from_micros(0),
            hold: Nanos::new(20_000_000),
        },
        served: Served {
            master_account: MasterAccountId::new(Uuid::from_u128(4)),
            discount: Discount::from_percent(
                Decimal::from(70),
                DiscountBasis::CreditsBoughtBelowPar,
            )
            .unwrap(),
            generation_id: None,
            model: None,
            provider: None,
        },
        tokens: TokenCounts {
            prompt: 600,
            completion: 400,
            cached: 100,
            reasoning: 50,
            ..TokenCounts::default()
        },
        reported_cost: Decimal::new(1, 2),
        source: CostSource::Reported,
        inference: Inference::Credits,
        list_cost: Decimal::new(1, 2),
        cost: Nanos::new(3_000_000),
        price: Nanos::new(8_000_000),
        outcome,
        ending: Ending::Complete,
        finished_at: Timestamp::from_micros(1),
        first_byte_micros: None,
        charges: Vec::new(),
    }
}

#[test]
fn every_series_is_there_at_zero_before_the_first_request() {
    let metrics = Metrics::new().unwrap();
    metrics.for_master("openrouter-1");
    metrics.for_model("a/b");
    for series in [
        r#"airouter_requests_total{delivery="streamed",ending="client_gone",master_account="openrouter-1",model="a/b"}"#,
        r#"airouter_price_nanodollars_total{master_account="openrouter-1",model="a/b"}"#,
        r#"airouter_tokens_total{kind="reasoning",model="a/b"}"#,
        r#"airouter_refusals_total{reason="insufficient_funds"}"#,
        r#"airouter_upstream_faults_total{kind="no_credit",master_account="openrouter-1"}"#,
        r#"airouter_alarms_total{kind="free_output"}"#,
        r#"airouter_loss_nanodollars_total{reason="crash"}"#,
        "airouter_added_latency_first_byte_seconds_count",
        "airouter_ready",
    ] {
        assert_eq!(value(&metrics, series).as_deref(), Some("0"), "{series}");
    }
}

#[test]
fn a_charged_request_counts_its_tokens_and_its_money() {
    let metrics = Metrics::new().unwrap();
    let (model, master) = (metrics.for_model("a/b"), metrics.for_master("m"));
    metrics.usage_booked(&model, &master, &event(Outcome::Charged));
    let of = |name: &str| {
        value(
            &metrics,
            &format!(r#"airouter_{name}_nanodollars_total{{master_account="m",model="a/b"}}"#),
        )
        .unwrap()
    };
    let money = ["list_cost", "cost", "price", "margin", "deficit"].map(of);
    assert_eq!(money, ["10000000", "3000000", "8000000", "5000000", "0"]);
    for (kind, tokens) in [
        ("prompt", "600"),
        ("completion", "400"),
        ("cached", "100"),
        ("reasoning", "50"),
    ] {
        let series = format!(r#"airouter_tokens_total{{kind="{kind}",model="a/b"}}"#);
        assert_eq!(value(&metrics, &series).as_deref(), Some(tokens));
    }
}

#[test]
fn a_lost_request_counts_as_a_loss_and_not_as_a_sale() {
    let metrics = Metrics::new().unwrap();
    let (model, master) = (metrics.for_model("a/b"), metrics.for_master("m"));
    metrics.usage_booked(&model, &master, &event(Outcome::Lost(LossReason::Crash)));
    for (series, expected) in [
        (
            r#"airouter_loss_nanodollars_total{reason="crash"}"#,
            "3000000",
        ),
        (r#"airouter_losses_total{reason="crash"}"#, "1"),
        (
            r#"airouter_cost_nanodollars_total{master_account="m",model="a/b"}"#,
            "0",
        ),
        (
            r#"airouter_list_cost_nanodollars_total{master_account="m",model="a/b"}"#,
            "10000000",
        ),
    ] {
        assert_eq!(
            value(&metrics, series).as_deref(),
            Some(expected),
            "{series}"
        );
    }
}

#[test]
fn a_price_below_the_cost_is_a_deficit() {
    let metrics = Metrics::new().unwrap();
    let (model, master) = (metrics.for_model("a/b"), metrics.for_master("m"));
    let below_cost = UsageEvent {
        price: Nanos::new(1_000_000),
        ..event(Outcome::Charged)
    };
    metrics.usage_booked(&model, &master, &below_cost);
    let of = |name: &str| {
        value(
            &metrics,
            &format!(r#"airouter_{name}_nanodollars_total{{master_account="m",model="a/b"}}"#),
        )
        .unwrap()
    };
    assert_eq!([of("margin"), of("deficit")], ["0", "2000000"]);
}

#[test]
fn a_finished_request_is_counted_and_timed() {
    let metrics = Metrics::new().unwrap();
    let (model, master) = (metrics.for_model("a/b"), metrics.for_master("m"));
    metrics.request_finished(&RequestSample {
        model: &model,
        master: &master,
        delivery: Delivery::Whole,
        ending: Ending::UpstreamFailed,
        timing: Timing {
            added_first_byte: Some(Duration::from_micros(60)),
            whole: Duration::from_secs(2),
            ..Timing::default()
        },
    });
    for (series, expected) in [
        (
            r#"airouter_requests_total{delivery="whole",ending="upstream_failed",master_account="m",model="a/b"}"#,
            "1",
        ),
        (
            r#"airouter_added_latency_first_byte_seconds_bucket{le="0.00005"}"#,
            "0",
        ),
        (
            r#"airouter_added_latency_first_byte_seconds_bucket{le="0.0001"}"#,
            "1",
        ),
        ("airouter_added_latency_last_byte_seconds_count", "0"),
        ("airouter_request_duration_seconds_count", "1"),
    ] {
        assert_eq!(
            value(&metrics, series).as_deref(),
            Some(expected),
            "{series}"
        );
    }
}

#[test]
fn names_beyond_the_bound_share_one_label() {
    let metrics = Metrics::new().unwrap();
    for index in 0..MOST_MODELS {
        metrics.for_model(&format!("a/{index}"));
    }
    for index in 0..MOST_MASTER_ACCOUNTS {
        metrics.for_master(&format!("m{index}"));
    }
    let (model, master) = (metrics.for_model("one/more"), metrics.for_master("last"));
    assert!(Arc::ptr_eq(&model, &metrics.for_model("and/another")));
    assert!(Arc::ptr_eq(
        &metrics.for_model("a/7"),
        &metrics.for_model("a/7")
    ));
    metrics.usage_booked(&model, &master, &event(Outcome::Charged));
    let series = r#"airouter_price_nanodollars_total{master_account="other",model="other"}"#;
    assert_eq!(value(&metrics, series).as_deref(), Some("8000000"));
    assert!(!text(&metrics).contains("one/more"));
}

#[test]
fn what_is_in_flight_ends_with_its_guard() {
    let metrics = Metrics::new().unwrap();
    let first = metrics.request_started();
    let second = metrics.request_started();
    assert_eq!(metrics.gauge(Gauge::RequestsInFlight).get(), 2);
    drop((first, second));
    assert_eq!(metrics.gauge(Gauge::RequestsInFlight).get(), 0);
}

#[test]
fn refusals_faults_and_commits_are_counted_by_kind() {
    let metrics = Metrics::new().unwrap();
    let master = metrics.for_master("m");
    metrics.request_refused(Refusal::TokenRate);
    metrics.upstream_fault(&master, Fault::NoCredit);
    metrics.upstream_fault(&master, FaultKind::Connect);
    metrics.commit_batch(3);
    metrics.settled_after(Duration::from_millis(2));
    for (series, expected) in [
        (r#"airouter_refusals_total{reason="token_rate"}"#, "1"),
        (
            r#"airouter_upstream_faults_total{kind="no_credit",master_account="m"}"#,
            "1",
        ),
        (
            r#"airouter_upstream_faults_total{kind="connect",master_account="m"}"#,
            "1",
        ),
        ("airouter_commit_batch_events_sum", "3"),
        ("airouter_settlement_lag_seconds_count", "1"),
    ] {
        assert_eq!(
            value(&metrics, series).as_deref(),
            Some(expected),
            "{series}"
        );
    }
}
