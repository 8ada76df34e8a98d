//! The meter: what an answer says of what it cost, the last word counting.

use airouter_billing::decimal::parse_decimal;
use airouter_billing::usage::Inference;
use airouter_billing::{TokenCounts, Usage};

use crate::wire::usage::UsageReport;

/// What is known of an answer so far.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The upstream's id of the generation.
    pub(crate) generation_id: Option<String>,
    /// The model that answers.
    pub(crate) model: Option<String>,
    /// The provider that answers.
    pub(crate) provider: Option<String>,
    usage: Reading,
}

/// What was read of usage.
#[derive(Debug, Default)]
enum Reading {
    #[default]
    Nothing,
    Report(Box<UsageReport>),
    Unreadable,
}

/// What the meter says at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metered {
    /// This was used.
    Usage(Usage),
    /// Nothing was reported: the generation record must be asked.
    Missing,
    /// What was reported is no amount (negative, not a number): the generation record must be asked.
    Unreadable,
}

impl Meter {
    /// Reads a usage object. The last one of an answer counts: they are cumulative (wire-contract §4.2).
    pub(crate) fn read(&mut self, usage: &str) {
        self.usage = match UsageReport::parse(usage) {
            Ok(report) => Reading::Report(Box::new(report)),
            Err(_) => Reading::Unreadable,
        };
    }

    /// What the answer used.
    pub(crate) fn finish(&self) -> Metered {
        match &self.usage {
            Reading::Nothing => Metered::Missing,
            Reading::Unreadable => Metered::Unreadable,
            Reading::Report(report) => metered(report),
        }
    }
}

fn metered(report: &UsageReport) -> Metered {
    if report.cost.is_none() && report.prompt_tokens.is_none() && report.completion_tokens.is_none()
    {
        return Metered::Missing;
    }
    let cost = report.cost.as_deref().map(parse_decimal).transpose();
    let upstream_cost = report
        .upstream_inference_cost
        .as_deref()
        .map(parse_decimal)
        .transpose();
    let (Ok(reported_cost), Ok(upstream_cost)) = (cost, upstream_cost) else {
        return Metered::Unreadable;
    };
    let inference = match (report.is_byok, upstream_cost) {
        (Some(true), Some(upstream_cost)) => Inference::OwnProviderKey { upstream_cost },
        // Only a fee is reported; what the provider billed is not.
        (Some(true), None) => return Metered::Missing,
        (Some(false) | None, _) => Inference::Credits,
    };
    Metered::Usage(Usage {
        tokens: tokens(report),
        reported_cost,
        inference,
    })
}

fn tokens(report: &UsageReport) -> TokenCounts {
    TokenCounts {
        prompt: report.prompt_tokens.unwrap_or(0),
        completion: report.completion_tokens.unwrap_or(0),
        cached: report.cached_tokens,
        cache_write: report.cache_write_tokens,
        audio: report.prompt_audio_tokens,
        reasoning: report.reasoning_tokens,
        image_output: report.completion_image_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(usages: &[&str]) -> Metered {
        let mut meter = Meter::default();
        for usage in usages {
            meter.read(usage);
        }
        meter.finish()
    }

    #[test]
    fn the_last_usage_counts_and_costs_are_read_exactly() {
        let metered = finish(&[
            r#"{"prompt_tokens":1,"completion_tokens":1,"cost":1}"#,
            r#"{"prompt_tokens":10,"completion_tokens":5,"cost":7.1e-05,"completion_tokens_details":{"reasoning_tokens":3}}"#,
        ]);
        let Metered::Usage(usage) = metered else {
            panic!("{metered:?}")
        };
        assert_eq!(usage.reported_cost, Some("0.000071".parse().unwrap()));
        assert_eq!(
            (
                usage.tokens.prompt,
                usage.tokens.completion,
                usage.tokens.reasoning
            ),
            (10, 5, 3)
        );
    }

    #[test]
    fn what_is_missing_is_asked_for_and_never_taken_for_nothing() {
        assert_eq!(finish(&[]), Metered::Missing);
        assert_eq!(finish(&["{}"]), Metered::Missing);
        assert_eq!(
            finish(&[r#"{"prompt_tokens":1,"cost":-1}"#]),
            Metered::Unreadable
        );
        assert_eq!(
            finish(&[r#"{"prompt_tokens":-1,"cost":1}"#]),
            Metered::Unreadable
        );
        assert_eq!(
            finish(&[r#"{"prompt_tokens":1,"cost":0.0005,"is_byok":true}"#]),
            Metered::Missing
        );
    }

    #[test]
    fn with_an_own_key_the_providers_cost_is_kept_beside_the_fee() {
        let usage = r#"{"prompt_tokens":1,"cost":0.0005,"is_byok":true,"cost_details":{"upstream_inference_cost":0.01}}"#;
        let Metered::Usage(usage) = finish(&[usage]) else {
            panic!("no usage")
        };
        assert_eq!(
            usage.inference,
            Inference::OwnProviderKey {
                upstream_cost: "0.01".parse().unwrap()
            }
        );
    }
}
