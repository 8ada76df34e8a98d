//! Answers one request: finds the route, authenticates, hands over, and tells what went wrong.

use std::net::IpAddr;
use std::sync::Arc;

use airouter_auth::KeyHash;
use airouter_billing::RequestId;
use airouter_store::clients::{Access, KeySnapshot};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use uuid::Uuid;

use crate::body::AnswerBody;
use crate::client_address::Peer;
use crate::gateway::Gateway;
use crate::hops::Hops;
use crate::problem::Problem;
use crate::route::{self, Route, Surface};
use crate::{account, chat, health, models, quote};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where keys of other services go.
const OTHER_KEY_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// A request by its id, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) id: RequestId,
    pub(crate) client: IpAddr,
    pub(crate) hops: Hops,
}

/// Answers a request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(
    gateway: Arc<Gateway>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let origins = gateway.settings.allowed_origins.as_ref();
    let page = origins.map(|origins| origins.page(request.headers()));
    let preflight = page
        .as_ref()
        .and_then(|page| page.preflight(request.method(), request.headers()));
    if let Some(answer) = preflight {
        return answer;
    }
    let client = gateway
        .settings
        .trusted_proxies
        .client(peer, request.headers());
    let id = RequestId::new(Uuid::now_v7());
    let hops = Hops::of(request.headers());
    let caller = Caller { id, client, hops };
    let uri = request.uri().clone();
    let (surface, route) = route::find(request.method(), uri.path(), uri.query());
    let answered = match route {
        Ok(route) => hand_over(&gateway, caller, surface, route, request).await,
        Err(Problem::UnknownPath) if gateway.control_plane.serves(uri.path()) => {
            let answer = gateway.control_plane.answer(request, client).await;
            Ok(answer.map(AnswerBody::whole))
        }
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(|problem| {
        note_refusal(&gateway, caller, &problem);
        problem.into_response(surface)
    });
    // A UUID is always a header value.
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if let Some(page) = page {
        page.mark(response.headers_mut());
    }
    response
}

/// Counts a request that is not answered, and writes its line.
pub(crate) fn note_refusal(gateway: &Gateway, caller: Caller, problem: &Problem) {
    gateway.metrics.request_refused(problem.refusal());
    tracing::info!(
        target: "airouter::request",
        request = %caller.id,
        client = %caller.client,
        status = problem.status().as_u16(),
        code = problem.code(),
        "refused"
    );
}

async fn hand_over(
    gateway: &Arc<Gateway>,
    caller: Caller,
    surface: Surface,
    route: Route<'_>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    match route {
        Route::Health => return Ok(health::service(gateway)),
        Route::DatabaseHealth => return Ok(health::database(gateway).await),
        _ => {}
    }
    let snapshot = authenticate(gateway, caller, request.headers(), request.uri().query()).await?;
    match route {
        Route::ChatCompletions => {
            chat::complete(gateway, caller, surface, &snapshot, request).await
        }
        Route::Quote => quote::quote(gateway, &snapshot, request).await,
        Route::Models => Ok(models::list(gateway, surface, &snapshot)),
        Route::Model(model) => models::one(gateway, surface, &snapshot, &model),
        Route::Key => account::key(gateway, &snapshot).await,
        Route::Credits => account::credits(gateway, &snapshot).await,
        Route::Generation(generation) => {
            account::generation(gateway, &snapshot, generation.as_deref()).await
        }
        Route::Health | Route::DatabaseHealth => Err(Problem::UnknownPath),
    }
}

async fn authenticate(
    gateway: &Gateway,
    caller: Caller,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Arc<KeySnapshot>, Problem> {
    let hash = KeyHash::of_presented(presented(headers, query)?).map_err(|_| {
        Problem::InvalidKey("This is no API key of this service: it begins with 'sk-air-' and one character is wrong at least.")
    })?;
    let snapshot = match gateway.keys.get(&hash).await {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) => return Err(Problem::InvalidKey("This API key does not exist.")),
        Err(error) => {
            tracing::warn!(%error, "a key could not be looked up");
            return Err(Problem::StoreUnavailable);
        }
    };
    let now = gateway.clock.now();
    match snapshot.access {
        Access::Granted => {}
        Access::Revoked => return Err(Problem::EndedKey("This API key was revoked.")),
        Access::Disabled => return Err(Problem::AccountDisabled),
    }
    if snapshot.expires_at.is_some_and(|expiry| now >= expiry) {
        return Err(Problem::EndedKey("This API key has expired."));
    }
    if !snapshot.addresses.allows(caller.client) {
        return Err(Problem::AddressNotAllowed);
    }
    gateway.keys_used.note(snapshot.key, now);
    Ok(snapshot)
}

/// The key that came as `Authorization: Bearer`.
fn presented<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<&'a [u8], Problem> {
    let Some(authorization) = headers.get(AUTHORIZATION) else {
        let in_header = OTHER_KEY_HEADERS
            .iter()
            .any(|name| headers.contains_key(*name));
        let in_query = query.is_some_and(|query| query.contains("sk-air-"));
        return Err(if in_header || in_query {
            Problem::MisplacedKey
        } else {
            Problem::MissingKey
        });
    };
    let value = authorization.as_bytes();
    let scheme_length = "bearer ".len();
    match value.get(..scheme_length) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"bearer ") => {
            Ok(value.get(scheme_length..).unwrap_or_default().trim_ascii())
        }
        _ => Err(Problem::MisplacedKey),
    }
}
