//! Lists that page by cursor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::problem::Problem;

const DEFAULT_LIMIT: u16 = 50;
const MOST: u16 = 200;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// `next_cursor` of the page before; without it the list begins.
    cursor: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u16>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The objects.
    pub(crate) data: Vec<T>,
    /// Where the next page begins; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

impl PageQuery {
    /// A page of a list that has more to ask for than this.
    pub(crate) const fn new(cursor: Option<String>, limit: Option<u16>) -> Self {
        Self { cursor, limit }
    }

    /// How many objects the page has at most.
    pub(crate) fn limit(&self) -> Result<u16, Problem> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit @ 1..=MOST) => Ok(limit),
            Some(_) => Err(Problem::Invalid {
                field: "limit",
                expected: "a number from 1 to 200",
            }),
        }
    }

    /// The id of the last object of the page before.
    pub(crate) fn after(&self) -> Result<Option<Uuid>, Problem> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        BASE64
            .decode(cursor)
            .ok()
            .and_then(|bytes| Uuid::from_slice(&bytes).ok())
            .map(Some)
            .ok_or(Problem::Invalid {
                field: "cursor",
                expected: "the next_cursor of another page",
            })
    }
}

impl<T> Page<T> {
    /// A page of at most `limit` of the objects, of which one more than that was asked for.
    pub(crate) fn of<R>(
        mut rows: Vec<R>,
        limit: u16,
        id: impl Fn(&R) -> Uuid,
        shown: impl Fn(R) -> T,
    ) -> Self {
        let is_more = rows.len() > usize::from(limit);
        rows.truncate(limit.into());
        let next_cursor = rows
            .last()
            .filter(|_| is_more)
            .map(|row| BASE64.encode(id(row).as_bytes()));
        Self {
            data: rows.into_iter().map(shown).collect(),
            next_cursor,
        }
    }
}
