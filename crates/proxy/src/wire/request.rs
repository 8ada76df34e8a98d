//! A chat request's body: the few fields that authentication, admission, choice and metering need. All others pass
//! unread.

use std::borrow::Cow;

use rust_decimal::Decimal;

pub use super::cost_raising::CostRaisingUse;
use super::cost_raising::cost_raising_uses;
use super::fields::Fields;
pub use super::fields::RequestError;
use super::json::{self, Member, Text};
use super::media::{self, PromptShape};

/// The deepest nesting of a body.
pub const NESTING_MAX: usize = 128;

/// The most models that one request may name.
pub const MODELS_MAX: usize = 32;

/// Upper bounds of what the upstream may charge, in USD: `provider.max_price` (OpenRouter: Provider Routing).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxPrice {
    /// Per million input tokens.
    pub prompt: Option<Decimal>,
    /// Per million output tokens.
    pub completion: Option<Decimal>,
    /// Per request.
    pub request: Option<Decimal>,
    /// Per image.
    pub image: Option<Decimal>,
    /// Per unit of audio.
    pub audio: Option<Decimal>,
}

impl MaxPrice {
    /// The bounds by the names they have in a body.
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, Option<Decimal>); 5] {
        [
            ("prompt", self.prompt),
            ("completion", self.completion),
            ("request", self.request),
            ("image", self.image),
            ("audio", self.audio),
        ]
    }
}

/// How the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// In one piece.
    Whole,
    /// As a stream.
    Stream {
        /// What of usage the client wants to see.
        usage: StreamUsage,
    },
}

/// `stream_options.include_usage`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamUsage {
    /// Asked for.
    Included,
    /// Not asked for.
    Omitted,
}

/// A chat request.
#[derive(Debug, Clone)]
pub struct ChatRequest<'a> {
    /// The model, if one is named; never empty.
    pub model: Option<Cow<'a, str>>,
    /// `models`: what to fall back on, in order; at most [`MODELS_MAX`], none empty.
    pub models: Vec<Cow<'a, str>>,
    /// How the answer is wanted.
    pub delivery: Delivery,
    /// `max_tokens`, at least 1; beyond 64 bits `u64::MAX`.
    pub max_tokens: Option<u64>,
    /// `max_completion_tokens`, likewise.
    pub max_completion_tokens: Option<u64>,
    /// `reasoning.max_tokens`: how much of the output may be reasoning.
    pub reasoning_max_tokens: Option<u64>,
    /// What the client calls its user.
    pub user: Option<Cow<'a, str>>,
    /// `provider.max_price`: what the client is ready to pay.
    pub max_price: MaxPrice,
    /// What raises the cost beyond tokens and their prices.
    pub cost_raising: Vec<CostRaisingUse>,
    /// How large the prompt is.
    pub prompt: PromptShape,
    pub(crate) members: Vec<Member<'a>>,
    pub(crate) body_bytes: usize,
}

impl<'a> ChatRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`RequestError`], for the client.
    pub fn parse(body: &'a [u8]) -> Result<Self, RequestError> {
        if json::nests_deeper_than(body, NESTING_MAX) {
            return Err(RequestError::TooDeep { limit: NESTING_MAX });
        }
        let members = json::members_of(body).map_err(RequestError::Unreadable)?;
        let fields = Fields::new(&members, "");
        refuse_several_choices(&fields)?;
        refuse_presets(&fields)?;
        Ok(Self {
            model: model(&fields)?,
            models: models(&fields)?,
            delivery: delivery(&fields)?,
            max_tokens: fields.positive("max_tokens")?,
            max_completion_tokens: fields.positive("max_completion_tokens")?,
            reasoning_max_tokens: reasoning_max_tokens(&fields)?,
            user: fields.string("user")?,
            max_price: max_price(&fields)?,
            cost_raising: cost_raising_uses(&fields)?,
            prompt: prompt(&fields, body.len())?,
            body_bytes: body.len(),
            members,
        })
    }

    /// The client's own limit of the output in tokens: the lower one if it gives both.
    #[must_use]
    pub fn output_limit(&self) -> Option<u64> {
        self.max_tokens
            .into_iter()
            .chain(self.max_completion_tokens)
            .min()
    }
}

/// A preset is the operator's: it can choose another model and switch on tools that cost extra (OpenRouter: Presets).
fn refuse_presets(fields: &Fields<'_, '_>) -> Result<(), RequestError> {
    match fields.value("preset")? {
        Some(_) => Err(fields.invalid("preset", "left out: presets are not available")),
        None => Ok(()),
    }
}

const MODEL_EXPECTED: &str = "the id of a model";

fn model<'a>(fields: &Fields<'_, 'a>) -> Result<Option<Cow<'a, str>>, RequestError> {
    match fields.string("model")? {
        Some(model) if model.trim().is_empty() => Err(fields.invalid("model", MODEL_EXPECTED)),
        model => Ok(model),
    }
}

fn models<'a>(fields: &Fields<'_, 'a>) -> Result<Vec<Cow<'a, str>>, RequestError> {
    let mut models = Vec::new();
    let Some(array) = fields.value("models")? else {
        return Ok(models);
    };
    let seen = json::each_element(array, |Text(model): Text<'a>| {
        if models.len() <= MODELS_MAX {
            models.push(model);
        }
    });
    if seen.is_err()
        || models.len() > MODELS_MAX
        || models.iter().any(|model| model.trim().is_empty())
    {
        return Err(fields.invalid("models", "an array of at most 32 model ids"));
    }
    Ok(models)
}

fn delivery(fields: &Fields<'_, '_>) -> Result<Delivery, RequestError> {
    let options = fields.object("stream_options")?.unwrap_or_default();
    let usage = match Fields::new(&options, "stream_options.").boolean("include_usage")? {
        Some(true) => StreamUsage::Included,
        Some(false) | None => StreamUsage::Omitted,
    };
    Ok(match fields.boolean("stream")? {
        Some(true) => Delivery::Stream { usage },
        Some(false) | None => Delivery::Whole,
    })
}

fn reasoning_max_tokens(fields: &Fields<'_, '_>) -> Result<Option<u64>, RequestError> {
    let Some(reasoning) = fields.object("reasoning")? else {
        return Ok(None);
    };
    let reasoning = Fields::new(&reasoning, "reasoning.");
    let Some(value) = reasoning.value("max_tokens")? else {
        return Ok(None);
    };
    json::unsigned(value)
        .map(Some)
        .ok_or_else(|| reasoning.invalid("max_tokens", "an integer that is not negative"))
}

fn max_price(fields: &Fields<'_, '_>) -> Result<MaxPrice, RequestError> {
    let Some(provider) = fields.object("provider")? else {
        return Ok(MaxPrice::default());
    };
    let prices = Fields::new(&provider, "provider.")
        .object("max_price")?
        .unwrap_or_default();
    let prices = Fields::new(&prices, "provider.max_price.");
    Ok(MaxPrice {
        prompt: prices.price("prompt")?,
        completion: prices.price("completion")?,
        request: prices.price("request")?,
        image: prices.price("image")?,
        audio: prices.price("audio")?,
    })
}

fn prompt(fields: &Fields<'_, '_>, body_bytes: usize) -> Result<PromptShape, RequestError> {
    let messages = fields.value("messages")?.ok_or(RequestError::Missing {
        param: Cow::Borrowed("messages"),
        expected: "a non-empty array of messages",
    })?;
    media::measure(messages, body_bytes as u64)
}

fn refuse_several_choices(fields: &Fields<'_, '_>) -> Result<(), RequestError> {
    match fields.value("n")?.map(json::unsigned) {
        None | Some(Some(1)) => Ok(()),
        Some(Some(2..)) => Err(RequestError::SeveralChoices),
        Some(_) => Err(fields.invalid("n", "1, or left out")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A good body with more fields.
    fn body(more: &str) -> String {
        format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{more}}}"#)
    }

    #[test]
    fn all_fields_are_read() {
        let body = body(
            r#","model":"a\/b","models":["c/d"],"stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":7,"n":1,"user":"me","reasoning":{"max_tokens":3},"provider":{"max_price":{"prompt":"1.5","completion":2e0}},"x":[1.0]"#,
        );
        let request = ChatRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(request.model.as_deref(), Some("a/b"));
        assert_eq!(request.models, ["c/d"]);
        assert_eq!(
            request.delivery,
            Delivery::Stream {
                usage: StreamUsage::Included
            }
        );
        assert_eq!(
            (request.max_tokens, request.max_completion_tokens),
            (Some(5), Some(7))
        );
        assert_eq!(request.output_limit(), Some(5));
        assert_eq!(request.reasoning_max_tokens, Some(3));
        assert_eq!(request.user.as_deref(), Some("me"));
        assert_eq!(request.max_price.prompt, Some(Decimal::new(15, 1)));
        assert_eq!(request.max_price.completion, Some(Decimal::TWO));
        assert_eq!(
            (request.prompt.messages, request.prompt.text_bytes),
            (1, body.len() as u64)
        );
        assert!(request.cost_raising.is_empty());
    }

    #[test]
    fn null_is_as_good_as_missing() {
        let body = body(
            r#","model":null,"stream":null,"stream_options":null,"max_tokens":null,"n":null,"user":null,"provider":null,"reasoning":null,"models":null"#,
        );
        let request = ChatRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(
            (request.model, request.delivery, request.max_tokens),
            (None, Delivery::Whole, None)
        );
    }

    #[test]
    fn bad_fields_are_named() {
        for (more, param) in [
            (r#","model":1"#, "model"),
            (r#","model":" ""#, "model"),
            (r#","preset":"the-operators""#, "preset"),
            (r#","model":"a","mod\u0065l":"b""#, "model"),
            (r#","models":"a""#, "models"),
            (r#","models":[1]"#, "models"),
            (r#","stream":"true""#, "stream"),
            (r#","stream":1"#, "stream"),
            (r#","stream_options":true"#, "stream_options"),
            (
                r#","stream_options":{"include_usage":1}"#,
                "stream_options.include_usage",
            ),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","max_tokens":-5"#, "max_tokens"),
            (r#","max_tokens":1.5"#, "max_tokens"),
            (r#","max_tokens":"5""#, "max_tokens"),
            (r#","max_completion_tokens":1e3"#, "max_completion_tokens"),
            (r#","max_tokens":1,"max_tokens":2"#, "max_tokens"),
            (r#","n":2"#, "n"),
            (r#","n":0"#, "n"),
            (r#","n":-1"#, "n"),
            (r#","user":{}"#, "user"),
            (r#","provider":[]"#, "provider"),
            (r#","provider":{"max_price":1}"#, "provider.max_price"),
            (
                r#","provider":{"max_price":{"prompt":-1}}"#,
                "provider.max_price.prompt",
            ),
            (
                r#","provider":{"max_price":{"image":"x"}}"#,
                "provider.max_price.image",
            ),
            (r#","reasoning":{"max_tokens":-1}"#, "reasoning.max_tokens"),
            (r#","messages":[]"#, "messages"),
        ] {
            let error = ChatRequest::parse(body(more).as_bytes()).unwrap_err();
            assert_eq!(error.param(), Some(param), "{more}: {error}");
        }
        let missing = ChatRequest::parse(br#"{"model":"a"}"#).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "The field `messages` is missing. Send a non-empty array of messages."
        );
        assert_eq!(
            ChatRequest::parse(body(r#","n":2"#).as_bytes()).unwrap_err(),
            RequestError::SeveralChoices
        );
    }

    #[test]
    fn an_absurd_limit_is_a_limit() {
        let body = body(r#","max_tokens":99999999999999999999999999"#);
        assert_eq!(
            ChatRequest::parse(body.as_bytes()).unwrap().max_tokens,
            Some(u64::MAX)
        );
    }

    #[test]
    fn bodies_that_are_no_json_are_refused_as_a_whole() {
        for bad in [
            &b""[..],
            b"hi",
            b"[]",
            b"{\"messages\":",
            b"{\"a\":\"\xff\"}",
            b"{} {}",
        ] {
            let error = ChatRequest::parse(bad).unwrap_err();
            assert!(
                matches!(error, RequestError::Unreadable(_)),
                "{bad:?}: {error}"
            );
            assert_eq!(error.param(), None);
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            body(&format!(
                r#","x":{}{}"#,
                "[".repeat(levels),
                "]".repeat(levels)
            ))
        };
        assert!(ChatRequest::parse(nested(NESTING_MAX - 1).as_bytes()).is_ok());
        let limit = NESTING_MAX;
        for levels in [NESTING_MAX, 1_000_000] {
            let error = ChatRequest::parse(nested(levels).as_bytes()).unwrap_err();
            assert_eq!(error, RequestError::TooDeep { limit });
        }
    }

    proptest! {
        #[test]
        fn random_bodies_are_no_panic(more in "[\\PC]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = ChatRequest::parse(&bytes);
            let _ = ChatRequest::parse(body(&format!(",{more}")).as_bytes());
        }
    }
}
