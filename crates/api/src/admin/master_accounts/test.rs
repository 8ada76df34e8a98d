//! `POST /v1/admin/master-accounts/{id}/test`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::one;
use crate::answer::Answer;
use crate::body::PathId;
use crate::shared::Shared;
use crate::upstreams::{Said, Tested};
use crate::values::Id;

/// What an upstream said to the keys of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestResult {
    /// Whether there is a key and all were accepted.
    all_accepted: bool,
    /// To each inference key.
    keys: Vec<TestedKey>,
    /// To the management key, if there is one.
    management_key: Option<Verdict>,
}

/// What an upstream said to an inference key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestedKey {
    /// The key.
    id: Id,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What an upstream said to a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// Whether it was accepted.
    accepted: bool,
    /// What that means.
    #[schema(example = "the upstream does not accept the key")]
    said: String,
}

impl From<Said> for Verdict {
    fn from(said: Said) -> Self {
        Self {
            accepted: said.is_accepted,
            said: said.words,
        }
    }
}

impl From<Tested> for TestResult {
    fn from(tested: Tested) -> Self {
        let all_accepted = tested.is_all_well();
        let keys = tested.keys.into_iter().map(|(id, said)| TestedKey {
            id: Id(id),
            verdict: said.into(),
        });
        Self {
            all_accepted,
            keys: keys.collect(),
            management_key: tested.management_key.map(Verdict::from),
        }
    }
}

/// Ask the upstream whether it accepts an account's keys; that costs nothing there. Whether it does is in the answer, which
/// is 200 either way.
#[utoipa::path(
    post,
    path = "/v1/admin/master-accounts/{id}/test",
    tag = "inventory",
    params(("id" = crate::values::Id, Path, description = "The account's id")),
    responses((status = 200, description = "What the upstream said", body = TestResult))
)]
pub(crate) async fn test_master_account(
    State(shared): State<Arc<Shared>>,
    PathId(id): PathId,
) -> Answer<TestResult> {
    let account = one::find(&shared, id).await?;
    Ok(Json(shared.upstreams.test(&account).await.into()))
}
