//! What the simulated model answers, and to what it comes: model, provider, content, tokens, price.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    books::{Admission, Settings},
    catalog::{self, Model, OnCancel, OutputLimit},
    directives::{Directives, UsageMode},
    errors::ApiError,
    meter::{Charging, RecordDelay},
    money::Picodollars,
    request::{ChatRequest, MaximumPrice},
    schema,
    speaks::{self, Speaks},
    tariff::{self, Charge, Tariff, Tokens, WEB_SEARCH},
};

/// Output tokens when the request doesn't say.
const DEFAULT_COMPLETION_TOKENS: u64 = 16;
/// Bytes of text that count as one token.
const BYTES_A_TOKEN: usize = 4;

/// What is said.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// The word "word", as often as there are tokens.
    Words,
    Text(String),
    ToolCall {
        name: String,
        arguments: String,
    },
}

/// One answer, complete, before it is put into bytes.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) speaks: Speaks,
    /// Whether a stream tells its usage.
    pub(crate) tells_usage: bool,
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) model: Cow<'static, str>,
    pub(crate) provider: Cow<'static, str>,
    pub(crate) content: Content,
    pub(crate) tokens: Tokens,
    pub(crate) finish_reason: &'static str,
    pub(crate) charging: Charging,
    /// The prices, to split the cost into its parts.
    pub(crate) tariff: Tariff,
    pub(crate) on_cancel: OnCancel,
    pub(crate) record: RecordDelay,
}

/// The model that answers and the prices that hold.
pub(crate) struct Served {
    requested: &'static Model,
    /// Where a router sends it; what the request's price limit applies to.
    routed: &'static Model,
    /// Whose prices hold.
    priced: &'static Model,
    name: Cow<'static, str>,
}

impl Served {
    pub(crate) fn provider(&self) -> &'static str {
        self.priced.provider
    }
}

/// Finds the model: the first one of those wanted that exists.
pub(crate) fn choose_model(request: &ChatRequest<'_>, speaks: Speaks) -> Result<Served, ApiError> {
    let find = |id: &str| catalog::find(speaks, id);
    let Some(first) = request.wanted().next() else {
        return Err(ApiError::bad_request("No models provided"));
    };
    let requested = request
        .wanted()
        .find_map(find)
        .ok_or_else(|| match speaks {
            Speaks::OpenRouter => ApiError::bad_request(format!("{first} is not a valid model ID")),
            Speaks::Compatible => {
                ApiError::not_found(format!("The model `{first}` does not exist"))
            }
        })?;
    let routed = requested.routes_to.and_then(find).unwrap_or(requested);
    Ok(match &request.x_sim.model {
        None => Served {
            requested,
            routed,
            priced: routed,
            name: Cow::Borrowed(routed.id),
        },
        Some(name) => Served {
            requested,
            routed,
            priced: find(name).unwrap_or(routed),
            name: Cow::Owned(name.clone()),
        },
    })
}

/// Plans the answer to an admitted request, or refuses it as the upstream would.
pub(crate) fn plan(
    request: &ChatRequest<'_>,
    served: &Served,
    admission: &Admission,
    body_bytes: usize,
    (id, speaks): (String, Speaks),
) -> Result<Answer, ApiError> {
    check_messages(request)?;
    check_limit_field(request, served.requested)?;
    check_maximum_price(request, served.routed)?;
    let directives = &request.x_sim;
    let mut tokens = Tokens {
        prompt: prompt_tokens(request, &admission.settings, body_bytes),
        ..Tokens::default()
    };
    let context = served.requested.context_length;
    if tokens.prompt > context {
        return Err(ApiError::context_too_long(context, tokens.prompt));
    }
    tokens.cached = u64::from(directives.cached_tokens).min(tokens.prompt);
    tokens.cache_write =
        u64::from(directives.cache_write_tokens).min(tokens.prompt - tokens.cached);
    let tariff = Tariff::of(served.priced, tokens.prompt, images(request), web(request));
    check_credit(request, served, admission, &tariff, &tokens)?;

    let limit = match served.requested.output_limit {
        OutputLimit::Supported | OutputLimit::CompletionTokensOnly => request.output_limit(),
        OutputLimit::Ignored => None,
    };
    let (content, finish_reason) = content(request, limit, &mut tokens)?;
    tokens.reasoning = u64::from(directives.reasoning_tokens).min(tokens.completion);
    tokens.image = u64::from(directives.image_tokens).min(tokens.completion);
    let provider = match &directives.provider {
        Some(provider) => Cow::Owned(provider.clone()),
        None => Cow::Borrowed(served.priced.provider),
    };
    let on_cancel = match request.streamed() {
        true => catalog::on_cancel(&provider),
        false => OnCancel::RunsOn,
    };
    let tells_usage = speaks == Speaks::OpenRouter || speaks::wants_usage(request.stream_options);
    Ok(Answer {
        speaks,
        tells_usage,
        id,
        created: admission.started_at / 1_000_000,
        model: served.name.clone(),
        provider,
        content,
        tokens,
        finish_reason,
        charging: charging(directives, tariff),
        tariff,
        on_cancel,
        record: record_delay(directives, &admission.settings),
    })
}

fn check_messages(request: &ChatRequest<'_>) -> Result<(), ApiError> {
    let filled = request.messages.is_some_and(|messages| {
        let text = messages.get();
        text.starts_with('[') && !text[1..].trim_start().starts_with(']')
    });
    if !filled {
        return Err(ApiError::bad_request(
            "Input required: specify \"messages\"",
        ));
    }
    if request.output_limit() == Some(0) {
        return Err(ApiError::bad_request("max_tokens must be at least 1"));
    }
    Ok(())
}

/// OpenAI's reasoning models refuse `max_tokens`.
fn check_limit_field(request: &ChatRequest<'_>, model: &Model) -> Result<(), ApiError> {
    if model.output_limit == OutputLimit::CompletionTokensOnly && request.max_tokens.is_some() {
        return Err(ApiError::bad_request(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ));
    }
    Ok(())
}

/// A price limit in dollars per million tokens, per request, per image.
fn check_maximum_price(request: &ChatRequest<'_>, model: &Model) -> Result<(), ApiError> {
    let Some(raw) = request.provider.as_ref().and_then(|p| p.max_price) else {
        return Ok(());
    };
    let limits: Option<MaximumPrice<'_>> = serde_json::from_str(raw.get())
        .map_err(|_| ApiError::bad_request("provider.max_price: invalid"))?;
    let Some(limits) = limits else {
        return Ok(());
    };
    let million = 1_000_000;
    let kept = [
        (model.prices.prompt, million, limits.prompt),
        (model.prices.completion, million, limits.completion),
        (model.prices.request, 1, limits.request),
        (model.prices.image, 1, limits.image),
    ]
    .into_iter()
    .map(|(price, units, limit)| Ok(tariff::within(price, units, dollars(limit)?)))
    .collect::<Result<Vec<bool>, ApiError>>()?;
    if kept.contains(&false) {
        return Err(ApiError::not_found(
            "No endpoints found that satisfy the max_price requirement.",
        ));
    }
    Ok(())
}

/// A number or a text of a number; null is no limit.
fn dollars(raw: Option<&RawValue>) -> Result<Option<Picodollars>, ApiError> {
    match raw.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(text) => Picodollars::parse_floor(text.trim_matches('"'))
            .map(Some)
            .map_err(|_| ApiError::bad_request("provider.max_price: not a price")),
    }
}

fn prompt_tokens(request: &ChatRequest<'_>, settings: &Settings, body_bytes: usize) -> u64 {
    if let Some(tokens) = request.x_sim.prompt_tokens {
        return tokens.into();
    }
    let messages = request.messages.map_or(0, |messages| messages.get().len());
    match settings.prompt_tokens_per_byte {
        Some(tokens) => length(body_bytes) * u64::from(tokens),
        None => length(messages.div_ceil(BYTES_A_TOKEN)),
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Input images among the parts of the messages.
fn images(request: &ChatRequest<'_>) -> u64 {
    let text = request.messages.map_or("", RawValue::get);
    if memchr::memmem::find(text.as_bytes(), b"image_url").is_none() {
        return 0;
    }
    let messages: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let parts = messages
        .iter()
        .filter_map(|message| message.get("content")?.as_array());
    length(
        parts
            .flatten()
            .filter(|part| part["type"] == "image_url")
            .count(),
    )
}

fn web(request: &ChatRequest<'_>) -> Picodollars {
    #[derive(Deserialize)]
    struct Plugin {
        id: String,
    }
    let online = request.wanted().any(|model| model.ends_with(":online"));
    let plugins: Vec<Plugin> = request
        .plugins
        .and_then(|plugins| serde_json::from_str(plugins.get()).ok())
        .unwrap_or_default();
    if online || plugins.iter().any(|plugin| plugin.id == "web") {
        WEB_SEARCH
    } else {
        Picodollars::ZERO
    }
}

/// The upstream's own pre-flight check: the credit must cover the output limit, or else the model's maximum.
fn check_credit(
    request: &ChatRequest<'_>,
    served: &Served,
    admission: &Admission,
    tariff: &Tariff,
    prompt: &Tokens,
) -> Result<(), ApiError> {
    if admission.credit_left == Picodollars::ZERO {
        return Err(ApiError::no_credit());
    }
    let requested = request
        .output_limit()
        .or(served.requested.max_completion_tokens)
        .unwrap_or(served.requested.context_length);
    let affordable = tariff.affordable_output(prompt, admission.credit_left);
    if affordable < requested {
        return Err(ApiError::cannot_afford(requested, affordable));
    }
    Ok(())
}

/// What is said, cut to the limit; sets the completion tokens.
fn content(
    request: &ChatRequest<'_>,
    limit: Option<u64>,
    tokens: &mut Tokens,
) -> Result<(Content, &'static str), ApiError> {
    let mut content = wanted_content(request)?;
    let natural = match (&content, request.x_sim.completion_tokens) {
        (_, Some(tokens)) => tokens.into(),
        (Content::Words, None) => DEFAULT_COMPLETION_TOKENS,
        (Content::Text(text), None) => length(text.len().div_ceil(BYTES_A_TOKEN)).max(1),
        (Content::ToolCall { arguments, .. }, None) => {
            length(arguments.len().div_ceil(BYTES_A_TOKEN)).max(1)
        }
    };
    let limit = limit.unwrap_or(u64::MAX);
    tokens.completion = natural.min(limit);
    if natural > limit {
        if let Content::Text(text) = &mut content {
            let share =
                u128::try_from(text.len()).unwrap_or(0) * u128::from(limit) / u128::from(natural);
            let keep = usize::try_from(share).unwrap_or(text.len());
            text.truncate(text.floor_char_boundary(keep));
        }
        return Ok((content, "length"));
    }
    let finish_reason = match content {
        Content::ToolCall { .. } => "tool_calls",
        Content::Words | Content::Text(_) => "stop",
    };
    Ok((content, finish_reason))
}

fn wanted_content(request: &ChatRequest<'_>) -> Result<Content, ApiError> {
    if let Some(call) = tool_call(request)? {
        return Ok(call);
    }
    if let Some(text) = &request.x_sim.text {
        return Ok(Content::Text(text.clone()));
    }
    let Some(format) = request.response_format else {
        return Ok(Content::Words);
    };
    let format: Value = serde_json::from_str(format.get())
        .map_err(|_| ApiError::bad_request("response_format: invalid"))?;
    Ok(match format["type"].as_str() {
        Some("json_schema") => {
            Content::Text(schema::sample(&format["json_schema"]["schema"]).to_string())
        }
        Some("json_object") => Content::Text(r#"{"answer":"word"}"#.to_owned()),
        _ => Content::Words,
    })
}

/// A call of the named tool, or of the first one where one is required.
fn tool_call(request: &ChatRequest<'_>) -> Result<Option<Content>, ApiError> {
    let Some(tools) = request.tools else {
        return Ok(None);
    };
    let choice: Value = request
        .tool_choice
        .and_then(|choice| serde_json::from_str(choice.get()).ok())
        .unwrap_or(Value::Null);
    let named = choice["function"]["name"].as_str();
    if !request.x_sim.tool_call && named.is_none() && choice != "required" {
        return Ok(None);
    }
    let tools: Vec<Value> = serde_json::from_str(tools.get())
        .map_err(|_| ApiError::bad_request("tools: expected array"))?;
    let functions = tools.iter().map(|tool| &tool["function"]);
    let function = match named {
        Some(name) => functions
            .into_iter()
            .find(|function| function["name"] == *name),
        None => functions.into_iter().next(),
    };
    let function =
        function.ok_or_else(|| ApiError::bad_request("tool_choice: no such function"))?;
    Ok(Some(Content::ToolCall {
        name: function["name"].as_str().unwrap_or_default().to_owned(),
        arguments: schema::sample(&function["parameters"]).to_string(),
    }))
}

fn charging(directives: &Directives, tariff: Tariff) -> Charging {
    let amount = |text: &str| Picodollars::parse(text).unwrap_or(Picodollars::ZERO);
    if let Some(byok) = &directives.byok {
        return Charging::Fixed(Charge {
            cost: amount(&byok.fee),
            provider: amount(&byok.upstream),
        });
    }
    if let Some(cost) = &directives.cost {
        return Charging::Fixed(Charge {
            cost: amount(cost),
            ..Charge::default()
        });
    }
    match directives.usage {
        UsageMode::ZeroCost => Charging::Fixed(Charge::default()),
        _ => Charging::Tariff(tariff),
    }
}

fn record_delay(directives: &Directives, settings: &Settings) -> RecordDelay {
    if directives.generation_never {
        return RecordDelay::Never;
    }
    match directives.generation_delay_ms {
        Some(delay) => RecordDelay::Milliseconds {
            whole: delay,
            aborted: delay,
        },
        None => RecordDelay::Milliseconds {
            whole: settings.generation_delay_ms,
            aborted: settings.generation_delay_after_abort_ms,
        },
    }
}
