//! The meter: what an answer says of what it cost, the last word counting.

use airouter_billing::decimal::parse_decimal;
use airouter_billing::event::Ending;
use airouter_billing::usage::Inference;
use airouter_billing::{TokenCounts, Usage};
use airouter_store::master_accounts::UpstreamKind;
use rust_decimal::Decimal;

use crate::wire::usage::UsageReport;

/// The longest generation id that is believed.
const GENERATION_ID_BYTES_MAX: usize = 256;
/// No request costs as much: what reports more is not believed before the generation record says so too.
const REPORTED_COST_MAX: Decimal = Decimal::from_parts(100_000, 0, 0, false, 0);

/// What is known of an answer so far.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The upstream's id of the generation, by which it can be asked for.
    pub(crate) generation_id: Option<String>,
    /// The model that answers.
    pub(crate) model: Option<String>,
    /// The provider that answers.
    pub(crate) provider: Option<String>,
    speaks: UpstreamKind,
    usage: Reading,
    finality: Finality,
}

/// Whether a usage can still grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finality {
    /// It came while the answer ran: some providers send a preview (wire-contract §4.2).
    #[default]
    Preliminary,
    /// It came with the end of the answer or behind it.
    Final,
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
    /// The meter of an answer of a compatible server, which was asked for this model of ours. What it says of itself is
    /// no concern of ours, nor of clients; it keeps no record that could be asked for.
    pub(crate) fn of_server(model: &str) -> Self {
        Self {
            model: Some(model.to_owned()),
            speaks: UpstreamKind::Compatible,
            ..Self::default()
        }
    }

    /// The model and the provider that answer.
    pub(crate) fn note_server(&mut self, model: Option<&str>, provider: Option<&str>) {
        if self.speaks == UpstreamKind::OpenRouter {
            self.model = model.map(str::to_owned).or(self.model.take());
            self.provider = provider.map(str::to_owned).or(self.provider.take());
        }
    }

    /// The upstream's id of the generation, if it is one: the first that is known counts, and one that is absurdly long is
    /// none.
    pub(crate) fn note_generation(&mut self, id: Option<&str>) {
        let is_id = |id: &&str| !id.is_empty() && id.len() <= GENERATION_ID_BYTES_MAX;
        if self.generation_id.is_none() && self.speaks == UpstreamKind::OpenRouter {
            self.generation_id = id.filter(is_id).map(str::to_owned);
        }
    }

    /// Reads a usage object. The last one of an answer counts: they are cumulative (wire-contract §4.2).
    pub(crate) fn read(&mut self, usage: &str, finality: Finality) {
        self.finality = finality;
        self.usage = match UsageReport::parse(usage) {
            Ok(report) => Reading::Report(Box::new(report)),
            Err(_) => Reading::Unreadable,
        };
    }

    /// What the answer used. Of one that was cut off only a final usage counts: a client that leaves behind a preview
    /// would ride for free.
    pub(crate) fn finish(&self, ending: Ending) -> Metered {
        if ending != Ending::Complete && self.finality == Finality::Preliminary {
            return Metered::Missing;
        }
        match &self.usage {
            Reading::Nothing => Metered::Missing,
            Reading::Unreadable => Metered::Unreadable,
            Reading::Report(report) => match self.speaks {
                UpstreamKind::OpenRouter => metered(report),
                UpstreamKind::Compatible => metered_by_tokens(report),
            },
        }
    }
}

/// The usage of a compatible server, priced by its tokens, whatever else it says. Every prompt has some.
fn metered_by_tokens(report: &UsageReport) -> Metered {
    match (report.prompt_tokens, report.completion_tokens) {
        (Some(1..), Some(_)) => Metered::Usage(Usage {
            tokens: tokens(report),
            reported_cost: None,
            inference: Inference::Credits,
        }),
        _ => Metered::Missing,
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
    if [reported_cost, upstream_cost]
        .iter()
        .flatten()
        .any(|cost| *cost > REPORTED_COST_MAX)
    {
        return Metered::Unreadable;
    }
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
            meter.read(usage, Finality::Final);
        }
        meter.finish(Ending::Complete)
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
    fn a_preview_does_not_settle_an_answer_that_was_cut_off() {
        let mut meter = Meter::default();
        let usage = r#"{"prompt_tokens":1,"completion_tokens":0,"cost":0.000001}"#;
        meter.read(usage, Finality::Preliminary);
        assert_eq!(meter.finish(Ending::ClientGone), Metered::Missing);
        assert!(matches!(meter.finish(Ending::Complete), Metered::Usage(_)));
        meter.read(usage, Finality::Final);
        assert!(matches!(
            meter.finish(Ending::ClientGone),
            Metered::Usage(_)
        ));
    }

    #[test]
    fn a_server_is_metered_by_tokens_and_known_by_our_names() {
        let of_server = |usage: &str| {
            let mut meter = Meter::of_server("our/model");
            meter.note_server(Some("gpt-x"), Some("someone"));
            meter.note_generation(Some("chatcmpl-1"));
            meter.read(usage, Finality::Final);
            assert_eq!(meter.model.as_deref(), Some("our/model"));
            assert_eq!((&meter.provider, &meter.generation_id), (&None, &None));
            meter.finish(Ending::Complete)
        };
        let metered = of_server(
            r#"{"prompt_tokens":10,"completion_tokens":0,"cost":-5,"is_byok":true,"prompt_tokens_details":{"cached_tokens":4}}"#,
        );
        let Metered::Usage(usage) = metered else {
            panic!("{metered:?}")
        };
        assert_eq!(
            (usage.reported_cost, usage.inference),
            (None, Inference::Credits)
        );
        assert_eq!((usage.tokens.prompt, usage.tokens.cached), (10, 4));
        for usage in [
            "{}",
            r#"{"cost":1}"#,
            r#"{"prompt_tokens":10}"#,
            r#"{"prompt_tokens":0,"completion_tokens":0}"#,
        ] {
            assert_eq!(of_server(usage), Metered::Missing, "{usage}");
        }
    }

    #[test]
    fn an_absurd_cost_is_not_believed() {
        assert_eq!(
            finish(&[r#"{"prompt_tokens":1,"cost":9000000000}"#]),
            Metered::Unreadable
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
