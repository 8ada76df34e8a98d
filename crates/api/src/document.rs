//! The OpenAPI document, made from the routes, and the route that shows it.

use std::sync::Arc;

use airouter_store::operator_tokens::Scope;
use axum::extract::State;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::problem::{MEDIA_TYPE, ProblemDocument};
use crate::routes::{self, Group};
use crate::shared::Shared;

/// Where it is.
pub(crate) const PATH: &str = "/openapi.json";
/// The ways to say who calls.
const LOGIN: &str = "access_token";
const OPERATOR: &str = "operator_token";
const NO_SCOPES: [&str; 0] = [];

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "document",
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json", body = Object))
)]
pub(crate) async fn openapi(
    State(shared): State<Arc<Shared>>,
) -> ([(HeaderName, HeaderValue); 1], Bytes) {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], shared.document.clone())
}

/// The whole document.
pub(crate) fn document() -> OpenApi {
    let mut document = routes::public().into_openapi();
    let logged_in = [SecurityRequirement::new(LOGIN, NO_SCOPES)];
    document.merge(guarded(routes::logins(), &logged_in));
    document.merge(guarded(routes::admins(), &logged_in));
    for scope in Scope::ALL {
        let either = [
            SecurityRequirement::new(LOGIN, NO_SCOPES),
            SecurityRequirement::new(OPERATOR, [scope.name()]),
        ];
        document.merge(guarded(routes::operators(scope), &either));
    }
    document.info = InfoBuilder::new()
        .title("AI Router")
        .description(Some("The control plane: logins, keys, accounts. Money is a decimal text in USD, times are RFC 3339 in UTC, errors are problem documents (RFC 9457)."))
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    for item in document.paths.paths.values_mut() {
        for operation in operations_mut(item) {
            operation
                .responses
                .responses
                .insert("default".to_owned(), RefOr::T(problem()));
        }
    }
    let components = document.components.get_or_insert_default();
    components.schemas.insert(
        ProblemDocument::name().into_owned(),
        ProblemDocument::schema(),
    );
    let bearer = || HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let login = bearer().bearer_format("JWT").build();
    components.add_security_scheme(LOGIN, SecurityScheme::Http(login));
    let operator = bearer().bearer_format("sk-air-op-…").build();
    components.add_security_scheme(OPERATOR, SecurityScheme::Http(operator));
    document
}

/// A group's routes with a mark that they need one of these.
fn guarded(group: Group, security: &[SecurityRequirement]) -> OpenApi {
    let mut document = group.into_openapi();
    for item in document.paths.paths.values_mut() {
        for operation in operations_mut(item) {
            operation.security = Some(security.to_vec());
        }
    }
    document
}

fn problem() -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name(ProblemDocument::name());
    ResponseBuilder::new()
        .description("What is wrong")
        .content(
            MEDIA_TYPE,
            ContentBuilder::new().schema(Some(schema)).build(),
        )
        .build()
}

/// Every route of a document, as method and path.
pub(crate) fn routes(document: &OpenApi) -> Vec<String> {
    let mut routes: Vec<String> = document
        .paths
        .paths
        .iter()
        .flat_map(|(path, item)| methods(item).map(move |method| format!("{method} {path}")))
        .collect();
    routes.sort();
    routes
}

fn methods(item: &PathItem) -> impl Iterator<Item = &'static str> {
    [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ]
    .into_iter()
    .filter(|(_, operation)| operation.is_some())
    .map(|(method, _)| method)
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}
