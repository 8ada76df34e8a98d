//! The terms of a plan as an operator writes them: read from JSON, and checked before they become a version.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::access::{ModelAccess, is_pattern};
use crate::cost_raising::CostRaisingRule;
use crate::money::Nanos;
use crate::plan::{Plan, PlanPolicy, PriceRule};

/// No cap of a plan is higher: $1,000.
const HIGHEST_CAP: Nanos = Nanos::new(1_000_000_000_000);
/// The upstream may choose no price beyond this many times the price book.
const HIGHEST_TOLERANCE: Decimal = Decimal::TEN;
/// Most entries of any list in a plan.
const MOST_ENTRIES: usize = 1_000;
/// The longest text in a list of a plan, in bytes.
const LONGEST_TEXT: usize = 256;
/// The largest file that is read.
const LARGEST_FILE: usize = 1 << 20;

/// What a plan says: the content of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanTerms {
    /// The rule for every model that has none of its own.
    pub rule: PriceRule,
    /// Rules by model.
    #[serde(default)]
    pub overrides: BTreeMap<String, PriceRule>,
    /// What the plan allows, and its bounds.
    #[serde(default)]
    pub policy: PlanPolicy,
}

/// Why a plan can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// The text can't be read.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// A price rule has a number that no price can be made of.
    #[error("{0}: every number must be from 0 to 1000 with at most 12 decimal places")]
    Rule(String),
    /// A cap is negative, or too high.
    #[error("{0}: must be from 0 to {highest} USD, in nano-dollars", highest = HIGHEST_CAP)]
    Cap(String),
    /// The tolerance is out of range.
    #[error("max_price_tolerance: must be from 1 to {highest} with at most 6 decimal places", highest = HIGHEST_TOLERANCE)]
    Tolerance,
    /// A list has something in it that it can't have.
    #[error("{list}: '{entry}' is not possible there")]
    Entry {
        /// The list.
        list: &'static str,
        /// What is wrong.
        entry: String,
    },
    /// A list is too long.
    #[error("{0}: has more than {most} entries", most = MOST_ENTRIES)]
    TooMany(&'static str),
    /// A cap of zero on what is drained.
    #[error("disconnect.cap: a cap of 0 drains nothing; use \"cancel\" for that")]
    EmptyDrain,
}

/// All that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PlanFaults(pub Vec<PlanFault>);

impl PlanTerms {
    /// Reads and checks a plan. Prices and factors are texts, amounts whole nano-dollars: no number is floating point.
    pub fn from_json(text: &str) -> Result<Self, PlanFaults> {
        let unreadable = |reason: String| PlanFaults(vec![PlanFault::Unreadable(reason)]);
        if text.len() > LARGEST_FILE {
            return Err(unreadable(format!("it has more than {LARGEST_FILE} bytes")));
        }
        let terms: Self =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        let faults = terms.faults();
        if faults.is_empty() {
            Ok(terms)
        } else {
            Err(PlanFaults(faults))
        }
    }

    /// All that is wrong with it.
    pub fn faults(&self) -> Vec<PlanFault> {
        let mut faults = Vec::new();
        if !self.rule.is_valid() {
            faults.push(PlanFault::Rule("rule".to_owned()));
        }
        check_entries("overrides", self.overrides.keys(), &mut faults);
        for (model, rule) in &self.overrides {
            if !rule.is_valid() {
                faults.push(PlanFault::Rule(format!("overrides.{model}")));
            }
        }
        self.check_bounds(&mut faults);
        self.check_cost_raising(&mut faults);
        self.check_disconnect(&mut faults);
        faults
    }

    fn check_bounds(&self, faults: &mut Vec<PlanFault>) {
        let policy = &self.policy;
        check_cap("cost_raising_cap", policy.cost_raising_cap, faults);
        check_cap("media_cap", policy.media_cap, faults);
        let tolerance = policy.max_price_tolerance;
        if !(Decimal::ONE..=HIGHEST_TOLERANCE).contains(&tolerance) || tolerance.scale() > 6 {
            faults.push(PlanFault::Tolerance);
        }
        if let ModelAccess::Only(patterns) = &policy.allowed_models {
            let list = "allowed_models";
            if patterns.len() > MOST_ENTRIES {
                faults.push(PlanFault::TooMany(list));
            }
            for entry in patterns.iter().filter(|pattern| !is_pattern(pattern)) {
                let entry = shortened(entry);
                faults.push(PlanFault::Entry { list, entry });
            }
        }
    }

    fn check_cost_raising(&self, faults: &mut Vec<PlanFault>) {
        for (kind, rules) in &self.policy.cost_raising.0 {
            check_entries("cost_raising", rules.by_id.keys(), faults);
            for rule in rules.by_id.values().chain([&rules.otherwise]) {
                if let CostRaisingRule::Cap(cap) = rule {
                    check_cap(&format!("cost_raising of {}", kind.field()), *cap, faults);
                }
            }
        }
    }

    fn check_disconnect(&self, faults: &mut Vec<PlanFault>) {
        let policy = &self.policy.disconnect;
        check_entries("disconnect.providers", policy.providers.keys(), faults);
        let cap = policy.cap;
        if let Some(list_cost) = cap.list_cost {
            check_cap("disconnect.cap.list_cost", list_cost, faults);
        }
        let list_cost = cap.list_cost.map(|cost| u64::from(cost > Nanos::ZERO));
        let caps = [cap.seconds, cap.bytes, cap.tokens, list_cost];
        if caps.contains(&Some(0)) {
            faults.push(PlanFault::EmptyDrain);
        }
    }
}

impl From<&Plan> for PlanTerms {
    fn from(plan: &Plan) -> Self {
        Self {
            rule: plan.rule.clone(),
            overrides: plan
                .overrides
                .iter()
                .map(|(model, rule)| (model.clone(), rule.clone()))
                .collect(),
            policy: plan.policy.clone(),
        }
    }
}

fn check_cap(name: &str, cap: Nanos, faults: &mut Vec<PlanFault>) {
    if !(Nanos::ZERO..=HIGHEST_CAP).contains(&cap) {
        faults.push(PlanFault::Cap(name.to_owned()));
    }
}

fn check_entries<'a>(
    list: &'static str,
    entries: impl ExactSizeIterator<Item = &'a String>,
    faults: &mut Vec<PlanFault>,
) {
    if entries.len() > MOST_ENTRIES {
        faults.push(PlanFault::TooMany(list));
    }
    for entry in entries {
        if entry.trim().is_empty() || entry.len() > LONGEST_TEXT || entry.contains(char::is_control)
        {
            let entry = shortened(entry);
            faults.push(PlanFault::Entry { list, entry });
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests;
