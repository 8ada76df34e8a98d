//! `GET /health`, `/v1/health` and `/health/database`: for load balancers and people; without a key.

use std::time::Duration;

use http::{Response, StatusCode};

use crate::body::AnswerBody;
use crate::gateway::Gateway;
use crate::models::json_answer;

/// A database that takes longer is as good as away.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether requests can be served: 200 only once a price book is in force and usage can be made durable.
pub(crate) fn service(gateway: &Gateway) -> Response<AnswerBody> {
    let models = gateway.catalog.load().all_sold().count();
    if gateway.is_ready() {
        return json_answer(format!("{{\"status\":\"ok\",\"models\":{models}}}"));
    }
    let why = if gateway.stopping.is_cancelled() {
        "stopping"
    } else if models == 0 {
        "no price book"
    } else {
        "database"
    };
    unavailable(why)
}

/// Whether the database answers.
pub(crate) async fn database(gateway: &Gateway) -> Response<AnswerBody> {
    match tokio::time::timeout(DATABASE_TIMEOUT, gateway.store.ping()).await {
        Ok(Ok(())) => json_answer("{\"status\":\"ok\"}".to_owned()),
        Ok(Err(_)) | Err(_) => unavailable("database"),
    }
}

fn unavailable(why: &str) -> Response<AnswerBody> {
    let mut response = json_answer(format!("{{\"status\":\"unavailable\",\"why\":\"{why}\"}}"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
