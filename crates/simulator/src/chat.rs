//! `POST /chat/completions`: reads the request, admits it, and answers or fails as asked.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{
    answer::{self, Answer},
    body::SimulatedBody,
    books::{AccountState, Admission, Opening, SeenHeaders},
    compose::{self, LateFault},
    directives::{Directives, Fault, FaultDirective},
    errors::{ApiError, USER_ID},
    meter::{self, Bill, FailedOutput, Meter},
    request::ChatRequest,
    shared::Shared,
    speaks::{Speaks, check_fields},
};

/// The largest body that is read.
const MAXIMUM_BODY_BYTES: usize = 64 * 1024 * 1024;
const GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");
const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");

/// Headers that a proxy should or should not have forwarded; the books keep them.
const NOTABLE_HEADERS: [&str; 16] = [
    "cookie",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "forwarded",
    "via",
    "user-agent",
    "http-referer",
    "x-title",
    "x-api-key",
    "accept-encoding",
    "idempotency-key",
    "x-request-id",
    "openai-organization",
    "x-openrouter-cache",
];

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the simulated upstream closes the connection")]
pub(crate) struct Closed;

/// The bearer key of a request; a compatible server may have an account for those without.
pub(crate) fn bearer(headers: &HeaderMap, speaks: Speaks) -> Result<&str, ApiError> {
    let authorization = headers.get(header::AUTHORIZATION);
    if authorization.is_none() && speaks == Speaks::Compatible {
        return Ok("");
    }
    authorization
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(ApiError::no_credentials)
}

/// Answers one chat request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<SimulatedBody>, Closed> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAXIMUM_BODY_BYTES).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Ok(ApiError::too_large().response(shared.speaks));
        }
        Err(_) => return Err(Closed),
    };
    let parsed: Result<ChatRequest<'_>, serde_json::Error> = serde_json::from_slice(&body);
    let opened = bearer(&parts.headers, shared.speaks).and_then(|key| {
        let opening = opening(parsed.as_ref().ok(), &parts.headers, &body);
        shared.books().open(key, opening, meter::now())
    });
    let admission = match opened {
        Ok(admission) => admission,
        Err(error) => return Ok(error.response(shared.speaks)),
    };
    let meter = Meter::new(shared, &admission);
    let call = Call {
        shared,
        admission,
        body_bytes: body.len(),
    };
    if shared.speaks == Speaks::Compatible
        && let Err(error) = check_fields(&body)
    {
        return Ok(call.refuse(&error, meter));
    }
    match parsed {
        Ok(request) => call.respond(&request, meter).await,
        Err(error) => Ok(call.refuse(&ApiError::bad_request(error.to_string()), meter)),
    }
}

fn opening(request: Option<&ChatRequest<'_>>, headers: &HeaderMap, body: &Bytes) -> Opening {
    let mut opening = Opening {
        seen: seen(headers),
        headers: headers.clone(),
        body: body.clone(),
        ..Opening::default()
    };
    if let Some(request) = request {
        opening.model = request.wanted().next().unwrap_or_default().to_owned();
        opening.streamed = request.streamed();
        opening.user = request.user.as_deref().map(Box::from);
        opening.max_tokens = request.output_limit();
        let max_price = request.provider.as_ref().and_then(|p| p.max_price);
        opening.max_price = max_price.map(|raw| Box::from(raw.get()));
    }
    opening
}

fn seen(headers: &HeaderMap) -> SeenHeaders {
    NOTABLE_HEADERS
        .iter()
        .filter_map(|name| {
            let value = headers.get(*name)?;
            Some((Box::from(*name), value.to_str().ok()?.into()))
        })
        .collect()
}

/// One admitted request.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    admission: Admission,
    body_bytes: usize,
}

impl Call<'_> {
    fn id(&self) -> String {
        self.shared
            .id(self.admission.number, self.admission.started_at)
    }

    /// An error before any output: nothing is billed.
    fn refuse(&self, error: &ApiError, mut meter: Meter) -> Response<SimulatedBody> {
        meter.fail(error.status.as_u16(), FailedOutput::Free);
        let mut response = error.response(self.shared.speaks);
        if self.shared.speaks == Speaks::OpenRouter
            && let Ok(id) = HeaderValue::try_from(self.id())
        {
            response.headers_mut().insert(GENERATION_ID, id);
        }
        response
    }

    async fn respond(
        &self,
        request: &ChatRequest<'_>,
        meter: Meter,
    ) -> Result<Response<SimulatedBody>, Closed> {
        if let Some(error) = account_fault(self.admission.state) {
            return Ok(self.refuse(&error, meter));
        }
        if self.admission.state == AccountState::Hanging {
            std::future::pending::<()>().await;
        }
        let directives = &request.x_sim;
        let served = match answer::choose_model(request, self.shared.speaks) {
            Ok(served) => served,
            Err(error) => return Ok(self.refuse(&error, meter)),
        };
        let of_account = answer_fault(self.admission.state);
        let asked_for = directives.error.as_ref().filter(|it| self.strikes(it));
        let fault = of_account.as_ref().or(asked_for);
        if let Some(error) = fault.and_then(|it| status_fault(it.kind, served.provider())) {
            tokio::time::sleep(compose::first_wait(directives)).await;
            return Ok(self.refuse(&error, meter));
        }
        let planned = answer::plan(
            request,
            &served,
            &self.admission,
            self.body_bytes,
            (self.id(), self.shared.speaks),
        );
        let answer = match planned {
            Ok(answer) => answer,
            Err(error) => return Ok(self.refuse(&error, meter)),
        };
        match fault {
            Some(fault) if early(fault, request) => {
                self.strike_early(request, &answer, fault, meter).await
            }
            fault => Ok(self.give(request, &answer, fault.map(late), meter).await),
        }
    }

    /// Whether a fault is meant for this attempt.
    fn strikes(&self, fault: &FaultDirective) -> bool {
        let this_key = fault
            .only_key
            .as_ref()
            .is_none_or(|key| key.as_str() == &*self.admission.key);
        let this_attempt = match (&fault.attempt_key, fault.first_attempts) {
            (Some(name), Some(count)) => self.shared.books().attempt(name) <= count,
            _ => true,
        };
        this_key && this_attempt
    }

    /// Faults in place of an answer.
    async fn strike_early(
        &self,
        request: &ChatRequest<'_>,
        answer: &Answer,
        fault: &FaultDirective,
        mut meter: Meter,
    ) -> Result<Response<SimulatedBody>, Closed> {
        if fault.kind == Fault::Hang {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(compose::first_wait(&request.x_sim)).await;
        meter.start(bill(answer, &request.x_sim));
        let output = match fault.billed {
            Some(true) => FailedOutput::Billed,
            _ => FailedOutput::Free,
        };
        meter.fail(200, output);
        let body = match fault.kind {
            Fault::InBody | Fault::MidStream => in_body(request, answer),
            Fault::Garbage => "<html><body>502 Bad Gateway</body></html>".to_owned(),
            Fault::Empty => String::new(),
            _ => return Err(Closed),
        };
        Ok(self.headed(request, SimulatedBody::whole(body)))
    }

    /// The answer itself, which may fail on its way.
    async fn give(
        &self,
        request: &ChatRequest<'_>,
        answer: &Answer,
        fault: Option<LateFault>,
        mut meter: Meter,
    ) -> Response<SimulatedBody> {
        let directives = &request.x_sim;
        meter.start(bill(answer, directives));
        let body = if request.streamed() {
            compose::stream(answer, directives, fault, meter)
        } else {
            if let Some(wait) = compose::short_wait(answer, directives) {
                tokio::time::sleep(wait).await;
            }
            compose::whole(answer, directives, fault, meter)
        };
        self.headed(request, body)
    }

    fn headed(&self, request: &ChatRequest<'_>, body: SimulatedBody) -> Response<SimulatedBody> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        let content_type = match request.streamed() {
            true => HeaderValue::from_static("text/event-stream"),
            false => HeaderValue::from_static("application/json"),
        };
        headers.insert(header::CONTENT_TYPE, content_type);
        let id = HeaderValue::try_from(self.id());
        if self.shared.speaks == Speaks::OpenRouter
            && let Ok(id) = id
        {
            headers.insert(GENERATION_ID, id);
        }
        headers.insert(CF_RAY, HeaderValue::from_static("9a1b2c3d4e5f6789-SIM"));
        headers.insert(
            header::SET_COOKIE,
            HeaderValue::from_static("__cf_bm=simulated; path=/; HttpOnly"),
        );
        if request.x_sim.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// What is wrong with the account, if that is answered.
pub(crate) fn account_fault(state: AccountState) -> Option<ApiError> {
    match state {
        AccountState::Ok
        | AccountState::Hanging
        | AccountState::Resetting
        | AccountState::Garbage
        | AccountState::ErrorInside => None,
        AccountState::Disabled => Some(ApiError::unauthorized()),
        AccountState::Broke => Some(ApiError::no_credit()),
        AccountState::KeyLimited => Some(ApiError::key_limit()),
        AccountState::RateLimited => Some(ApiError::rate_limited()),
        AccountState::Failing => Some(ApiError::provider_down("OpenAI")),
    }
}

/// What is wrong with the account, if that shows in place of answers.
fn answer_fault(state: AccountState) -> Option<FaultDirective> {
    match state {
        AccountState::Resetting => Some(Fault::Reset.into()),
        AccountState::Garbage => Some(Fault::Garbage.into()),
        AccountState::ErrorInside => Some(Fault::InBody.into()),
        _ => None,
    }
}

fn status_fault(fault: Fault, provider: &str) -> Option<ApiError> {
    match fault {
        Fault::Unauthorized => Some(ApiError::unauthorized()),
        Fault::NoCredit => Some(ApiError::no_credit()),
        Fault::KeyLimit => Some(ApiError::key_limit()),
        Fault::Timeout => Some(ApiError::timeout()),
        Fault::RateLimit => Some(ApiError::rate_limited()),
        Fault::ProviderRateLimit => Some(ApiError::provider_rate_limited(provider)),
        Fault::Server => Some(ApiError::server()),
        Fault::ProviderDown => Some(ApiError::provider_down(provider)),
        Fault::Overloaded => Some(ApiError::overloaded(provider)),
        _ => None,
    }
}

/// Whether a fault takes the place of the answer, rather than striking on its way.
fn early(fault: &FaultDirective, request: &ChatRequest<'_>) -> bool {
    match fault.kind {
        Fault::MidStream => !request.streamed(),
        Fault::InBody | Fault::Garbage | Fault::Empty => true,
        Fault::Reset | Fault::Hang => fault.after.is_none(),
        _ => false,
    }
}

fn late(fault: &FaultDirective) -> LateFault {
    let output = if fault.billed.unwrap_or(fault.kind.billed_by_default()) {
        FailedOutput::Billed
    } else {
        FailedOutput::Free
    };
    LateFault {
        kind: fault.kind,
        after: fault.after.unwrap_or(2),
        output,
    }
}

/// An error inside a 200: the body, or the first event.
fn in_body(request: &ChatRequest<'_>, answer: &Answer) -> String {
    let error: Value = ApiError::provider_down(&answer.provider).inner(answer.speaks);
    if !request.streamed() {
        return json!({ "error": error, "user_id": USER_ID }).to_string();
    }
    if answer.speaks == Speaks::Compatible {
        return format!("data: {}\n\n", json!({ "error": error }));
    }
    let event = json!({
        "id": answer.id, "object": "chat.completion.chunk", "created": answer.created,
        "model": answer.model, "provider": answer.provider, "choices": [], "error": error,
    });
    format!(": OPENROUTER PROCESSING\n\ndata: {event}\n\n")
}

fn bill(answer: &Answer, directives: &Directives) -> Bill {
    let wait = compose::duration(answer, directives).as_micros();
    Bill {
        model: answer.model.clone(),
        provider: answer.provider.clone(),
        tokens: answer.tokens,
        charging: answer.charging,
        on_cancel: answer.on_cancel,
        byok: directives.byok.is_some(),
        finish_reason: answer.finish_reason,
        ends_at: meter::now().saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)),
        record: answer.record,
    }
}
