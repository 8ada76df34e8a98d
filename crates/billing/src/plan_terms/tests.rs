use super::*;
use crate::cost_raising::{CostRaisingKind, CostRaisingUse};
use crate::disconnect::{HangingUp, OnDisconnect};
use crate::plan::{ModelChoice, NotInPlan};
use proptest::prelude::*;

/// What the first version of the default plan says, in every database that there is.
const FIRST_POLICY: &str =
    r#"{"cost_raising_cap":500000000,"media_cap":50000000,"max_price_tolerance":"1.25"}"#;

const WHOLE: &str = r#"{
    "rule": {"rule": "percent_of_list", "factor": "0.9"},
    "overrides": {"a/b": {"rule": "markup_on_cost", "markup": "0.5"}},
    "policy": {
        "cost_raising_cap": 100000000,
        "max_price_tolerance": "1.5",
        "allowed_models": ["a/*", "mine"],
        "cost_raising": {
            "plugins": {"otherwise": "refuse", "by_id": {"web": {"cap": 20000000}, "fusion": "allow"}},
            "online": {"otherwise": "refuse"}
        },
        "disconnect": {"otherwise": "drain", "providers": {"Groq": "cancel"}, "cap": {"bytes": 1000000, "seconds": 60}}
    }
}"#;

fn faults(json: &str) -> Vec<PlanFault> {
    PlanTerms::from_json(json).unwrap_err().0
}

fn with_policy(policy: &str) -> String {
    format!(r#"{{"rule":{{"rule":"percent_of_list","factor":"0.8"}},"policy":{policy}}}"#)
}

#[test]
fn old_versions_mean_what_they_meant() {
    let policy: PlanPolicy = serde_json::from_str(FIRST_POLICY).unwrap();
    assert_eq!(policy, PlanPolicy::default());
    assert_eq!(serde_json::to_string(&policy).unwrap(), FIRST_POLICY);
}

#[test]
fn a_plan_is_read_and_written_again() {
    let terms = PlanTerms::from_json(WHOLE).unwrap();
    assert_eq!(terms.policy.media_cap, PlanPolicy::default().media_cap);
    assert_eq!(
        terms
            .policy
            .disconnect
            .decide("Azure", HangingUp::StopsBilling),
        OnDisconnect::Drain
    );
    let text = serde_json::to_string(&terms).unwrap();
    assert_eq!(PlanTerms::from_json(&text).unwrap(), terms);
}

#[test]
fn caps_are_summed_and_what_the_plan_refuses_is_named() {
    let policy = PlanTerms::from_json(WHOLE).unwrap().policy;
    let used = |kind, id: &str| CostRaisingUse::new(kind, id);
    let web = used(CostRaisingKind::Plugins, "web");
    let fusion = used(CostRaisingKind::Plugins, "fusion");
    let tool = used(CostRaisingKind::ServerTools, "openrouter:web_search");
    let all = [web.clone(), web, fusion, tool];
    let caps = policy.caps_of(&all, ModelChoice::Limited);
    assert_eq!(caps, Ok(Nanos::new(220_000_000)));
    for refused in [
        used(CostRaisingKind::Plugins, "file-parser"),
        used(CostRaisingKind::Online, ""),
        // Under a list of models nothing may ask other ones.
        used(CostRaisingKind::ServerTools, "openrouter:subagent"),
        used(CostRaisingKind::ServerTools, "of tomorrow"),
    ] {
        let found = policy.caps_of(std::slice::from_ref(&refused), ModelChoice::Limited);
        assert_eq!(found, Err(NotInPlan(refused)));
    }
    let open = PlanPolicy::default();
    let subagent = [used(CostRaisingKind::ServerTools, "openrouter:subagent")];
    assert_eq!(
        open.caps_of(&subagent, ModelChoice::Free),
        Ok(open.cost_raising_cap)
    );
    assert!(open.caps_of(&subagent, ModelChoice::Limited).is_err());
}

#[test]
fn every_fault_is_named() {
    for (policy, fault) in [
        (
            r#"{"cost_raising_cap":-1}"#,
            PlanFault::Cap("cost_raising_cap".to_owned()),
        ),
        (
            r#"{"media_cap":1000000000001}"#,
            PlanFault::Cap("media_cap".to_owned()),
        ),
        (r#"{"max_price_tolerance":"0.99"}"#, PlanFault::Tolerance),
        (r#"{"max_price_tolerance":"11"}"#, PlanFault::Tolerance),
        (
            r#"{"allowed_models":["a*b"]}"#,
            PlanFault::Entry {
                list: "allowed_models",
                entry: "a*b".to_owned(),
            },
        ),
        (
            r#"{"cost_raising":{"plugins":{"otherwise":{"cap":-5}}}}"#,
            PlanFault::Cap("cost_raising of plugins".to_owned()),
        ),
        (
            r#"{"disconnect":{"cap":{"tokens":0}}}"#,
            PlanFault::EmptyDrain,
        ),
        (
            r#"{"disconnect":{"cap":{"list_cost":0}}}"#,
            PlanFault::EmptyDrain,
        ),
        (
            r#"{"disconnect":{"providers":{" ":"drain"}}}"#,
            PlanFault::Entry {
                list: "disconnect.providers",
                entry: " ".to_owned(),
            },
        ),
    ] {
        assert_eq!(faults(&with_policy(policy)), [fault], "{policy}");
    }
    let both = r#"{"rule":{"rule":"percent_of_list","factor":"-1"},"overrides":{"x":{"rule":"markup_on_cost","markup":"1001"}}}"#;
    assert_eq!(
        faults(both),
        [
            PlanFault::Rule("rule".to_owned()),
            PlanFault::Rule("overrides.x".to_owned())
        ]
    );
}

#[test]
fn what_is_misspelt_or_floating_point_is_refused() {
    for json in [
        "",
        "[]",
        "{}",
        &with_policy(r#"{"alowed_models":[]}"#),
        &with_policy(r#"{"cost_raising":{"plugin":{}}}"#),
        &with_policy(r#"{"cost_raising":{"plugins":{"else":"refuse"}}}"#),
        &with_policy(r#"{"cost_raising":{"plugins":{"otherwise":"forbid"}}}"#),
        &with_policy(r#"{"disconnect":{"cap":{"minutes":1}}}"#),
        &with_policy(r#"{"max_price_tolerance":1.25}"#),
        &with_policy(r#"{"cost_raising_cap":0.5}"#),
        r#"{"rule":{"rule":"percent_of_list","factor":0.8}}"#,
        r#"{"rule":{"rule":"free"}}"#,
        r#"{"rule":{"rule":"percent_of_list","factor":"0.8"},"polcy":{}}"#,
    ] {
        assert!(
            matches!(faults(json)[..], [PlanFault::Unreadable(_)]),
            "{json}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,80}", policy in "\\PC{0,40}") {
        let _ = PlanTerms::from_json(&text);
        let _ = PlanTerms::from_json(&with_policy(&policy));
    }
}
