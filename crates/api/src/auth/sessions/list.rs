//! `GET /v1/auth/sessions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::caller::Caller;
use crate::page::Page;
use crate::shared::Shared;
use crate::values::{Id, Time};

/// A login that goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its id.
    id: Id,
    /// Whether it is the one that asks.
    is_current: bool,
    /// Since when.
    created_at: Time,
    /// When it was refreshed last.
    refreshed_at: Time,
    /// When it ends unless it is refreshed.
    expires_at: Time,
    /// From where it was started.
    #[schema(example = "192.0.2.1")]
    address: Option<String>,
    /// With what.
    user_agent: Option<String>,
}

/// The caller's sessions, the latest first; there are never more than fit on a page.
#[utoipa::path(
    get,
    path = "/v1/auth/sessions",
    tag = "auth",
    responses((status = 200, description = "All sessions that go on", body = Page<Session>))
)]
pub(crate) async fn list_sessions(
    State(shared): State<Arc<Shared>>,
    Caller(login): Caller,
) -> Answer<Page<Session>> {
    let sessions = shared.store.sessions(login.user, shared.now()).await?;
    let shown = sessions.into_iter().map(|session| Session {
        id: Id(session.id.get()),
        is_current: session.id == login.session,
        created_at: Time(session.created_at),
        refreshed_at: Time(session.refreshed_at),
        expires_at: Time(session.expires_at),
        address: session.address,
        user_agent: session.user_agent,
    });
    Ok(Json(Page {
        data: shown.collect(),
        next_cursor: None,
    }))
}
