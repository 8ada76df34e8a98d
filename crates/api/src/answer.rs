//! How handlers answer.

use axum::Json;
use http::StatusCode;

use crate::problem::Problem;

/// JSON, or what is wrong.
pub(crate) type Answer<T> = Result<Json<T>, Problem>;

/// 201 with what was created, or what is wrong.
pub(crate) type Created<T> = Result<(StatusCode, Json<T>), Problem>;

/// 204, or what is wrong.
pub(crate) type Done = Result<StatusCode, Problem>;

/// 201.
pub(crate) const fn created<T>(value: T) -> Created<T> {
    Ok((StatusCode::CREATED, Json(value)))
}
