//! Everything that can be wrong with a request, and how the client is told: the one place that turns errors of the data
//! plane into answers.

use std::time::Duration;

use airouter_billing::cost_raising::{CostRaisingKind, CostRaisingUse};
use airouter_billing::{Nanos, RequestId};
use airouter_limits::{LimitKind, RateLimited};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::answer_headers;
use crate::body::AnswerBody;
use crate::metrics::Refusal;
use crate::rate_headers;
use crate::route::Surface;
use crate::wire::fields::RequestError;

/// `x-should-retry`: what the OpenAI SDKs obey before any status (wire-contract §2.2).
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request is not answered.
#[derive(Debug, Clone)]
pub enum Problem {
    /// No key came.
    MissingKey,
    /// A key came, but not in `Authorization: Bearer`.
    MisplacedKey,
    /// What came is no key of ours: mistyped or unknown.
    InvalidKey(&'static str),
    /// The key was revoked, or has expired.
    EndedKey(&'static str),
    /// The account was disabled.
    AccountDisabled,
    /// The key may not be used from where the request comes.
    AddressNotAllowed,
    /// The budgets don't cover what the request may cost.
    InsufficientQuota {
        /// How many tokens of an answer they do cover.
        affordable_tokens: u64,
    },
    /// The budget of requests is spent; seconds until it starts anew.
    RequestBudgetSpent {
        /// `None`: never.
        retry_after_seconds: Option<u64>,
    },
    /// A rate limit.
    RateLimited(RateLimited),
    /// No model was named, and there is no default.
    MissingModel,
    /// The model is not on sale.
    UnknownModel(String),
    /// Nobody who has the models does what the request asks for beside.
    NotServable,
    /// The key may not use the model.
    ModelNotAllowed(String),
    /// The plan does not include something that raises the cost.
    NotInPlan(CostRaisingUse),
    /// The body is no chat request.
    InvalidRequest(RequestError),
    /// The body is too large.
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The body did not come in time.
    BodyTooSlow,
    /// The body broke off.
    BodyBroken,
    /// The body is compressed.
    EncodedBody,
    /// The Idempotency-Key can't be one.
    InvalidIdempotencyKey,
    /// The Idempotency-Key came with another request before.
    IdempotencyKeyReused,
    /// The request with this Idempotency-Key runs.
    RequestRunning {
        /// Which.
        request: RequestId,
    },
    /// The request with this Idempotency-Key was answered, and the answer is not kept.
    RequestFinished {
        /// Which.
        request: RequestId,
        /// What the client was charged.
        price: Nanos,
    },
    /// There is no such path.
    UnknownPath,
    /// The path has no such method.
    WrongMethod(&'static str),
    /// The request has passed so many AI Routers that it must be going in a circle.
    TooManyHops,
    /// The upstream finds the request itself wrong.
    Rejected {
        /// The upstream's status.
        status: u16,
        /// What is wrong.
        message: String,
    },
    /// No generation of the client has this id.
    UnknownGeneration,
    /// The account has no credit: it pays later, without a limit.
    NoCredit,
    /// What a generation of the client cost is not known yet.
    GenerationPending,
    /// No upstream can serve now.
    Unavailable {
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// Every upstream limits the rate.
    UpstreamLimited {
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// The quota of free models is used up, or this tenant's part of it.
    FreeQuotaSpent {
        /// When to try again.
        retry_after: Duration,
    },
    /// The upstream took too long.
    UpstreamTimeout,
    /// The database is away, or nothing can be made durable.
    StoreUnavailable,
    /// There is no memory for more.
    Busy,
    /// The server stops.
    ShuttingDown,
    /// The usage could not be made durable.
    NotDurable,
}

/// How a problem is told.
struct Told {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl Told {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            code: Some(code),
            param: None,
            message: message.into(),
        }
    }

    fn about(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }
}

#[derive(Serialize)]
struct OpenAiEnvelope<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct OpenRouterEnvelope<'a> {
    error: OpenRouterError<'a>,
}

#[derive(Serialize)]
struct OpenRouterError<'a> {
    code: u16,
    message: &'a str,
    metadata: OpenRouterMetadata<'a>,
}

#[derive(Serialize)]
struct OpenRouterMetadata<'a> {
    error_type: &'a str,
}

impl Problem {
    /// The answer, in the form of the surface on which the client asked.
    pub fn into_response(self, surface: Surface) -> Response<AnswerBody> {
        let told = self.tell();
        let mut response = Response::new(AnswerBody::whole(envelope(&told, surface)));
        *response.status_mut() = told.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if told.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(advice) = self.retry_advice() {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static(advice));
        }
        if let Self::RateLimited(limited) = &self {
            rate_headers::add_refusal(limited, headers);
        }
        if let Self::RequestRunning { request } = self {
            answer_headers::add_earlier(request, None, headers);
        }
        if let Self::RequestFinished { request, price } = self {
            answer_headers::add_earlier(request, Some(price), headers);
        }
        if let Self::WrongMethod(allowed) = self {
            headers.insert(http::header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }

    /// An error event for a stream that has begun.
    pub fn into_event(self, surface: Surface) -> Bytes {
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&envelope(&self.tell(), surface));
        event.extend_from_slice(b"\n\n");
        event.into()
    }

    /// An error as the body of an answer whose head is sent.
    pub fn into_body(self, surface: Surface) -> Bytes {
        envelope(&self.tell(), surface).into()
    }

    /// The status with which it is answered.
    pub fn status(&self) -> StatusCode {
        self.tell().status
    }

    /// Its code, for logs and metrics.
    pub fn code(&self) -> &'static str {
        self.tell().code.unwrap_or("upstream_rejected")
    }

    /// What the client is told, in words.
    pub fn message(&self) -> String {
        self.tell().message
    }

    /// What it counts as in the metrics.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::MissingKey | Self::MisplacedKey => Refusal::KeyMissing,
            Self::InvalidKey(_) => Refusal::KeyUnknown,
            Self::EndedKey(_) | Self::AccountDisabled => Refusal::KeyRevoked,
            Self::AddressNotAllowed => Refusal::AddressNotAllowed,
            Self::InsufficientQuota { .. } => Refusal::InsufficientFunds,
            Self::RequestBudgetSpent { .. } => Refusal::RequestBudget,
            Self::RateLimited(limited) => match limited.which {
                LimitKind::Requests => Refusal::RequestRate,
                LimitKind::Tokens => Refusal::TokenRate,
                LimitKind::Concurrency => Refusal::Concurrency,
            },
            Self::UnknownModel(_) | Self::NotServable => Refusal::ModelNotFound,
            Self::ModelNotAllowed(_) => Refusal::ModelNotAllowed,
            Self::NotInPlan(_) => Refusal::NotInPlan,
            Self::BodyTooLarge { .. } => Refusal::BodyTooLarge,
            Self::BodyTooSlow => Refusal::BodyTimeout,
            Self::UnknownPath
            | Self::WrongMethod(_)
            | Self::UnknownGeneration
            | Self::NoCredit
            | Self::GenerationPending => Refusal::RouteNotFound,
            Self::MissingModel
            | Self::InvalidRequest(_)
            | Self::BodyBroken
            | Self::EncodedBody
            | Self::InvalidIdempotencyKey
            | Self::TooManyHops
            | Self::Rejected { .. } => Refusal::BadRequest,
            Self::IdempotencyKeyReused
            | Self::RequestRunning { .. }
            | Self::RequestFinished { .. } => Refusal::IdempotencyKey,
            Self::Unavailable { .. } | Self::UpstreamLimited { .. } | Self::UpstreamTimeout => {
                Refusal::NoUpstream
            }
            Self::FreeQuotaSpent { .. } => Refusal::FreeQuota,
            Self::StoreUnavailable | Self::Busy | Self::ShuttingDown | Self::NotDurable => {
                Refusal::NotReady
            }
        }
    }

    fn retry_after_seconds(&self) -> Option<u64> {
        let seconds = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        match self {
            Self::RateLimited(limited) => limited.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1)),
            Self::RequestBudgetSpent {
                retry_after_seconds,
            } => *retry_after_seconds,
            Self::Unavailable { retry_after } | Self::UpstreamLimited { retry_after } => {
                Some(retry_after.map_or(1, seconds).clamp(1, 60))
            }
            Self::FreeQuotaSpent { retry_after } => Some(seconds(*retry_after).max(1)),
            Self::StoreUnavailable
            | Self::Busy
            | Self::ShuttingDown
            | Self::NotDurable
            | Self::GenerationPending => Some(1),
            Self::RequestRunning { .. } => Some(2),
            _ => None,
        }
    }

    /// What SDKs should do where the status alone would mislead them.
    fn retry_advice(&self) -> Option<&'static str> {
        match self {
            Self::RequestBudgetSpent { .. }
            | Self::NotDurable
            | Self::BodyTooSlow
            | Self::TooManyHops
            | Self::RequestFinished { .. } => Some("false"),
            Self::RateLimited(limited) if limited.retry_after_ms.is_none() => Some("false"),
            _ => None,
        }
    }

    fn tell(&self) -> Told {
        self.tell_about_the_key()
            .or_else(|| self.tell_about_limits())
            .or_else(|| self.tell_about_the_repeat())
            .or_else(|| self.tell_about_the_request())
            .unwrap_or_else(|| self.tell_about_the_service())
    }

    fn tell_about_the_key(&self) -> Option<Told> {
        const KIND: &str = "authentication_error";
        let unauthorized =
            |message| Told::new(StatusCode::UNAUTHORIZED, KIND, "invalid_api_key", message);
        Some(match self {
            Self::MissingKey => unauthorized(
                "No API key was sent. Send it as 'Authorization: Bearer sk-air-…'; an OpenAI SDK does so with api_key.",
            ),
            Self::MisplacedKey => unauthorized(
                "The API key came in the wrong place. Send it as 'Authorization: Bearer sk-air-…', and nowhere else.",
            ),
            Self::InvalidKey(message) | Self::EndedKey(message) => unauthorized(message),
            Self::AccountDisabled => Told::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                "account_disabled",
                "This account is disabled. Ask your provider.",
            ),
            Self::AddressNotAllowed => Told::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                "address_not_allowed",
                "This API key may not be used from this address. Send the request from where the key is allowed, or \
                 change the key's allowed_addresses.",
            ),
            _ => return None,
        })
    }

    fn tell_about_limits(&self) -> Option<Told> {
        Some(match self {
            Self::InsufficientQuota { affordable_tokens } => Told::new(
                StatusCode::PAYMENT_REQUIRED,
                "insufficient_quota",
                "insufficient_quota",
                format!(
                    "The balance or limit of this key does not cover what this request may cost. \
                     It covers an answer of {affordable_tokens} tokens: lower max_tokens, shorten the prompt, or top up."
                ),
            ),
            Self::RequestBudgetSpent { .. } => Told::new(
                StatusCode::TOO_MANY_REQUESTS,
                "insufficient_quota",
                "request_budget_spent",
                "The number of requests that this key or account may make in this period is used up.",
            ),
            Self::FreeQuotaSpent { .. } => Told::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "free_models_limited",
                "Free models take few requests, which all clients share, and for now they are used up. \
                 Try again after the time in Retry-After, or use the model without ':free'.",
            ),
            Self::RateLimited(limited) => {
                let what = match limited.which {
                    LimitKind::Requests => "requests a minute",
                    LimitKind::Tokens => "tokens a minute",
                    LimitKind::Concurrency => "requests at the same time",
                };
                let message = format!("The limit is {} {what}.", limited.limit);
                Told::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limit_error",
                    "rate_limit_exceeded",
                    message,
                )
            }
            _ => return None,
        })
    }

    fn tell_about_the_repeat(&self) -> Option<Told> {
        const KIND: &str = "idempotency_error";
        let conflict = |code, message: String| Told::new(StatusCode::CONFLICT, KIND, code, message);
        Some(match self {
            Self::InvalidIdempotencyKey => Told::new(
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                "invalid_idempotency_key",
                "Idempotency-Key must come once, with 1 to 255 visible ASCII characters and no spaces.",
            ),
            Self::IdempotencyKeyReused => Told::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                KIND,
                "idempotency_key_reused",
                "This Idempotency-Key came with another request before. Send every new request with a new key.",
            ),
            Self::RequestRunning { request } => conflict(
                "request_running",
                format!(
                    "The request with this Idempotency-Key ({request}) is not done. Repeat it later to learn what became of it."
                ),
            ),
            Self::RequestFinished { request, price } => conflict(
                "request_finished",
                format!(
                    "The request with this Idempotency-Key ({request}) was answered and cost ${price}; its answer is not \
                     kept, because it was streamed, broke off or is too large. To run it again, at its price, send it with \
                     a new key."
                ),
            ),
            _ => return None,
        })
    }

    fn tell_about_the_request(&self) -> Option<Told> {
        const KIND: &str = "invalid_request_error";
        let bad = |status, code, message: String| Told::new(status, KIND, code, message);
        Some(match self {
            Self::MissingModel => bad(
                StatusCode::BAD_REQUEST,
                "missing_model",
                "Name a model in 'model'; GET /v1/models lists them.".to_owned(),
            )
            .about("model"),
            Self::UnknownModel(model) => bad(
                StatusCode::NOT_FOUND,
                "model_not_found",
                format!(
                    "The model '{}' does not exist; GET /v1/models lists those that do.",
                    shown(model)
                ),
            )
            .about("model"),
            Self::NotServable => bad(
                StatusCode::NOT_FOUND,
                "no_endpoint",
                "No upstream that has this model supports all that the request asks for: leave out plugins, server tools, \
                 transforms, suffixes of the model's name and restrictions in 'provider', prices among them."
                    .to_owned(),
            ),
            Self::ModelNotAllowed(model) => Told::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                "model_not_allowed",
                format!("This key may not use the model '{}'.", shown(model)),
            )
            .about("model"),
            Self::NotInPlan(used) => Told::new(
                StatusCode::FORBIDDEN,
                "permission_error",
                "not_in_plan",
                not_in_plan(used),
            )
            .about(used.kind.field()),
            Self::InvalidRequest(error) => {
                let told = bad(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    error.to_string(),
                );
                match error.param() {
                    Some(param) => told.about(param),
                    None => told,
                }
            }
            Self::BodyTooLarge { limit } => bad(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                format!("The body is larger than {limit} bytes."),
            ),
            Self::BodyTooSlow => bad(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The body did not come in time.".to_owned(),
            ),
            Self::BodyBroken => bad(
                StatusCode::BAD_REQUEST,
                "incomplete_body",
                "The body broke off.".to_owned(),
            ),
            Self::EncodedBody => bad(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "Send the body without Content-Encoding.".to_owned(),
            ),
            Self::UnknownPath => bad(
                StatusCode::NOT_FOUND,
                "unknown_url",
                "There is nothing at this path.".to_owned(),
            ),
            Self::WrongMethod(allowed) => bad(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("This path takes {allowed}."),
            ),
            Self::TooManyHops => bad(
                StatusCode::LOOP_DETECTED,
                "loop_detected",
                "This request has passed too many routers: one is its own upstream.".to_owned(),
            ),
            Self::UnknownGeneration => bad(
                StatusCode::NOT_FOUND,
                "not_found",
                "No generation has this id.".to_owned(),
            ),
            Self::NoCredit => bad(
                StatusCode::NOT_FOUND,
                "not_found",
                "This account pays later, and has no limit: there is no credit to tell of."
                    .to_owned(),
            ),
            Self::GenerationPending => bad(
                StatusCode::NOT_FOUND,
                "generation_pending",
                "What this generation cost is not known yet. Ask again.".to_owned(),
            ),
            Self::Rejected { status, message } => Told {
                status: StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST),
                kind: KIND,
                code: None,
                param: None,
                message: message.clone(),
            },
            _ => return None,
        })
    }

    fn tell_about_the_service(&self) -> Told {
        let service =
            |status, code, message: &str| Told::new(status, "server_error", code, message);
        match self {
            Self::UpstreamLimited { .. } => Told::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "upstream_rate_limited",
                "The model is in high demand at the moment. Try again shortly.",
            ),
            Self::UpstreamTimeout => service(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "The model did not answer in time.",
            ),
            Self::StoreUnavailable => service(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable",
                "The service can't account for requests at the moment. Try again shortly.",
            ),
            Self::Busy => service(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "The server has no memory for a body of this size at the moment. Try again shortly.",
            ),
            Self::ShuttingDown => service(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting_down",
                "This server is stopping. Try again.",
            ),
            Self::NotDurable => service(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_recorded",
                "The answer could not be accounted for and was withheld. It was not charged twice; do not repeat it blindly.",
            ),
            _ => service(
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_unavailable",
                "No provider can serve this model at the moment. Try again shortly.",
            ),
        }
    }
}

/// What of a request the plan does not include, and what to do about it.
fn not_in_plan(used: &CostRaisingUse) -> String {
    let id = shown(&used.id);
    match used.kind {
        CostRaisingKind::Plugins => {
            format!("Your plan does not include the plugin '{id}': leave it out of 'plugins'.")
        }
        CostRaisingKind::ServerTools => {
            format!("Your plan does not include tools of type '{id}': leave them out of 'tools'.")
        }
        CostRaisingKind::WebSearchOptions => {
            "Your plan does not include web search: leave out 'web_search_options'.".to_owned()
        }
        CostRaisingKind::ServiceTiers => {
            format!("Your plan does not include the service tier '{id}': leave out 'service_tier'.")
        }
        CostRaisingKind::OutputModalities => {
            format!("Your plan does not include answers in '{id}': leave it out of 'modalities'.")
        }
        CostRaisingKind::ProviderOptions => {
            format!("Your plan does not include options of '{id}': leave out 'provider.options'.")
        }
        CostRaisingKind::Online => {
            "Your plan does not include web search: name the model without ':online'.".to_owned()
        }
        CostRaisingKind::Routers => {
            format!("Your plan does not include the router '{id}': name a model.")
        }
    }
}

/// A client's own text in a message, bounded.
fn shown(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(128)
        .collect()
}

fn envelope(told: &Told, surface: Surface) -> Vec<u8> {
    let json = match surface {
        Surface::OpenAi => serde_json::to_vec(&OpenAiEnvelope {
            error: OpenAiError {
                message: &told.message,
                r#type: told.kind,
                param: told.param.as_deref(),
                code: told.code,
            },
        }),
        Surface::OpenRouter => serde_json::to_vec(&OpenRouterEnvelope {
            error: OpenRouterError {
                code: told.status.as_u16(),
                message: &told.message,
                metadata: OpenRouterMetadata {
                    error_type: told.code.unwrap_or(told.kind),
                },
            },
        }),
    };
    // Serializing strings into memory can't fail.
    json.unwrap_or_default()
}
