use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use super::*;
use crate::budget::{BudgetId, BudgetSlot, Quantity};
use crate::discount::DiscountBasis;

/// Every digit that a decimal can hold: up to 28 places, trailing zeros too.
fn decimal() -> impl Strategy<Value = Decimal> {
    (any::<[u32; 3]>(), 0..=28_u32).prop_map(|([low, middle, high], scale)| {
        Decimal::from_parts(low, middle, high, false, scale)
    })
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn nanos() -> impl Strategy<Value = Nanos> {
    any::<i64>().prop_map(Nanos::new)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

fn rule() -> impl Strategy<Value = PriceRule> {
    prop_oneof![
        decimal().prop_map(|factor| PriceRule::PercentOfList { factor }),
        decimal().prop_map(|markup| PriceRule::MarkupOnCost { markup }),
        (decimal(), decimal(), decimal()).prop_map(|(prompt, completion, request)| {
            PriceRule::OwnPrices {
                prompt,
                completion,
                request,
            }
        }),
    ]
}

fn fallback() -> impl Strategy<Value = ModelRule> {
    (any::<String>(), rule()).prop_map(|(model, rule)| ModelRule { model, rule })
}

fn model_name() -> impl Strategy<Value = ModelName> {
    (any::<String>(), any::<String>()).prop_map(|(model, name)| ModelName { model, name })
}

prop_compose! {
    fn request()(
        (id, api_key, payer) in (uuid(), uuid(), uuid()),
        payment in select(vec![Payment::Prepaid, Payment::Metered]),
        requested_model in any::<String>(),
        (pricing, plan) in (option::of(any::<i64>()), any::<i64>()),
        rule in rule(),
        (fallback_rules, names) in (vec(fallback(), 0..3), vec(model_name(), 0..3)),
        delivery in select(vec![Delivery::Whole, Delivery::Streamed]),
        admitted_at in timestamp(),
        hold in nanos(),
    ) -> RequestFacts {
        RequestFacts {
            id: RequestId::new(id),
            api_key: ApiKeyId::new(api_key),
            payer: AccountId::new(payer),
            payment,
            requested_model,
            model_pricing: pricing.map(ModelPricingId::new),
            plan_version: PlanVersionId::new(plan),
            rule,
            fallback_rules,
            names,
            delivery,
            admitted_at,
            hold,
        }
    }
}

prop_compose! {
    fn served()(
        master_account in uuid(),
        (millionths, basis) in (
            0..1_000_000_i64,
            select(vec![DiscountBasis::CreditsBoughtBelowPar, DiscountBasis::InReportedCost]),
        ),
        generation_id in option::of(any::<String>()),
        model in option::of(any::<String>()),
        provider in option::of(any::<String>()),
    ) -> Served {
        Served {
            master_account: MasterAccountId::new(master_account),
            discount: Discount::new(Decimal::new(millionths, 6), basis).unwrap(),
            generation_id,
            model,
            provider,
        }
    }
}

fn tokens() -> impl Strategy<Value = TokenCounts> {
    any::<[u64; 7]>().prop_map(
        |[
            prompt,
            completion,
            cached,
            cache_write,
            audio,
            reasoning,
            image_output,
        ]| TokenCounts {
            prompt,
            completion,
            cached,
            cache_write,
            audio,
            reasoning,
            image_output,
        },
    )
}

fn inference() -> impl Strategy<Value = Inference> {
    prop_oneof![
        Just(Inference::Credits),
        decimal().prop_map(|upstream_cost| Inference::OwnProviderKey { upstream_cost }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Charged),
        select(LossReason::ALL.to_vec()).prop_map(Outcome::Lost),
    ]
}

prop_compose! {
    fn charge()(
        (id, balance, period_start) in (uuid(), any::<bool>(), timestamp()),
        quantity in select(vec![Quantity::Nanos, Quantity::Requests]),
        (from_lease, excess) in any::<(i64, i64)>(),
    ) -> BudgetCharge {
        let id = if balance {
            BudgetId::Balance(AccountId::new(id))
        } else {
            BudgetId::Cap(id)
        };
        BudgetCharge { slot: BudgetSlot { id, period_start }, quantity, from_lease, excess }
    }
}

prop_compose! {
    fn event()(
        (request, served, tokens) in (request(), served(), tokens()),
        (reported_cost, list_cost) in (decimal(), decimal()),
        source in select(vec![
            CostSource::Reported,
            CostSource::GenerationRecord,
            CostSource::PriceBook,
        ]),
        inference in inference(),
        (cost, price) in (nanos(), nanos()),
        outcome in outcome(),
        ending in select(Ending::ALL.to_vec()),
        finished_at in timestamp(),
        first_byte_micros in option::of(any::<u64>()),
        charges in vec(charge(), 0..4),
    ) -> UsageEvent {
        UsageEvent {
            request,
            served,
            tokens,
            reported_cost,
            source,
            inference,
            list_cost,
            cost,
            price,
            outcome,
            ending,
            finished_at,
            first_byte_micros,
            charges,
        }
    }
}

proptest! {
    #[test]
    fn an_event_written_down_reads_the_same(event in event()) {
        let text = serde_json::to_vec(&event).unwrap();
        let read: UsageEvent = serde_json::from_slice(&text).unwrap();
        // Two decimals that differ in trailing zeros are equal, but not written the same.
        prop_assert_eq!(format!("{:?}", read), format!("{:?}", &event));
        prop_assert_eq!(read, event);
    }
}

#[test]
fn decimals_are_text_and_names_are_in_snake_case() {
    let cost = Inference::OwnProviderKey {
        upstream_cost: Decimal::new(1230, 5),
    };
    for (written, expected) in [
        (
            serde_json::to_string(&cost),
            r#"{"own_provider_key":{"upstream_cost":"0.01230"}}"#,
        ),
        (serde_json::to_string(&Inference::Credits), r#""credits""#),
        (
            serde_json::to_string(&Outcome::Lost(LossReason::FailedAttempt)),
            r#"{"lost":"failed_attempt"}"#,
        ),
        (serde_json::to_string(&Outcome::Charged), r#""charged""#),
    ] {
        assert_eq!(written.unwrap(), expected);
    }
}
