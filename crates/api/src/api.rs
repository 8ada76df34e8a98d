//! The control plane as one thing that answers requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use airouter_auth::{EncryptionKeys, PasswordError, TokenKeys};
use airouter_store::Store;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::caller::ClientAddress;
use crate::mail::Mail;
use crate::passwords::Passwords;
use crate::problem::Problem;
use crate::provider::LoginProvider;
use crate::registration::RegistrationMode;
use crate::shared::{Now, Setting, Shared};
use crate::upstreams::Upstreams;
use crate::{document, routes};

/// For so long a request may take with all its parts.
const DEADLINE: Duration = Duration::from_secs(30);
/// What begins so is the control plane's, whether there is such a route or not.
const PREFIXES: [&str; 4] = [
    "/v1/auth/",
    "/v1/client/",
    "/v1/admin/",
    "/v1/organizations/",
];
/// And these paths.
const PATHS: [&str; 2] = [document::PATH, "/v1/organizations"];

const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// What an [`Api`] is made of.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// What access tokens are signed with.
    pub tokens: TokenKeys,
    /// What second factors are sealed with.
    pub encryption: EncryptionKeys,
    /// Who may register.
    pub registration: RegistrationMode,
    /// Where people may log in who have no password here.
    pub login_provider: Option<LoginProvider>,
    /// What upstreams are asked, and what only the process knows of master accounts.
    pub upstreams: Arc<dyn Upstreams>,
    /// What takes messages to people.
    pub mail: Arc<dyn Mail>,
    /// Where people reach the pages that links lead to, without a slash at the end.
    pub public_url: String,
    /// What the server runs with, without secrets.
    pub settings: Vec<Setting>,
    /// The clock.
    pub now: Now,
}

/// Why the control plane can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No hash to compare with where there is no user.
    #[error("a password can't be hashed: {0}")]
    Password(#[from] PasswordError),
    /// The OpenAPI document can't be written.
    #[error("the OpenAPI document can't be written: {0}")]
    Document(#[from] serde_json::Error),
}

/// The control plane.
pub struct Api {
    router: Router,
}

impl Api {
    /// Computes for some tens of milliseconds.
    pub fn new(parts: Parts) -> Result<Self, StartError> {
        let document = Bytes::from(serde_json::to_vec(&document::document())?);
        let shared = Shared::new(parts, Passwords::new()?, document);
        Ok(Self {
            router: routes::router(Arc::new(shared)),
        })
    }

    /// Whether a path is the control plane's.
    pub fn serves(path: &str) -> bool {
        PATHS.contains(&path) || PREFIXES.iter().any(|prefix| path.starts_with(prefix))
    }

    /// Every route, as method and path: `GET /v1/auth/api-keys/{id}`.
    pub fn routes() -> Vec<String> {
        document::routes(&document::document())
    }

    /// Answers a request of somebody at `address`, within a bound of time.
    pub async fn answer(&self, mut request: Request<Body>, address: IpAddr) -> Response<Bytes> {
        request.extensions_mut().insert(ClientAddress(address));
        let answered = tokio::time::timeout(DEADLINE, self.whole(request)).await;
        let mut response = match answered {
            Ok(response) => response,
            Err(_) => whole(Problem::TooSlow.into_response()).await,
        };
        for (name, value) in SECURITY_HEADERS {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }

    async fn whole(&self, request: Request<Body>) -> Response<Bytes> {
        match self.router.clone().oneshot(request).await {
            Ok(response) => whole(response).await,
            Err(never) => match never {},
        }
    }
}

/// The whole of a response; handlers make nothing but bodies that are in memory.
async fn whole(response: Response<Body>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(collected) => Response::from_parts(parts, collected.to_bytes()),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_paths_are_somebody_elses() {
        for path in [
            "/v1/auth/login",
            "/v1/admin/nothing",
            "/v1/organizations",
            "/v1/organizations/nothing",
            "/openapi.json",
        ] {
            assert!(Api::serves(path), "{path}");
        }
        for path in [
            "/v1/chat/completions",
            "/v1/authentic",
            "/v1/embeddings",
            "/",
            "/v1/client",
        ] {
            assert!(!Api::serves(path), "{path}");
        }
    }

    #[test]
    fn every_route_is_within_what_is_served() {
        let routes = Api::routes();
        assert!(!routes.is_empty());
        for route in routes {
            let (_, path) = route.split_once(' ').unwrap();
            assert!(Api::serves(path), "{route}");
        }
    }
}
