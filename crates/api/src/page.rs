//! Lists that page by cursor.

use airouter_store::usage::Lines;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::problem::Problem;

const DEFAULT_LIMIT: u16 = 50;
const MOST: u16 = 200;
const UNKNOWN_CURSOR: Problem = Problem::Invalid {
    field: "cursor",
    expected: "the next_cursor of another page",
};
/// No list has more lines.
const MOST_SKIPPED: u32 = 1_000_000_000;
/// Longer texts are in no list.
const LONGEST_SEARCH: usize = 254;
/// Of a page as CSV.
const MOST_LINES: u16 = 2_000;

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

    /// How many lines the page has at most as CSV.
    pub(crate) fn csv_limit(&self) -> Result<u16, Problem> {
        match self.limit {
            None => Ok(MOST_LINES),
            Some(limit @ 1..=MOST_LINES) => Ok(limit),
            Some(_) => Err(Problem::Invalid {
                field: "limit",
                expected: "a number from 1 to 2000",
            }),
        }
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
            .ok_or(UNKNOWN_CURSOR)
    }

    /// The number of the last object of the page before.
    pub(crate) fn after_number(&self) -> Result<Option<i64>, Problem> {
        let number = self.cursor.as_deref().map(str::parse);
        number.transpose().map_err(|_| UNKNOWN_CURSOR)
    }
}

/// What is looked for in texts: no longer than any of them may be.
pub(crate) fn search(text: Option<String>) -> Result<String, Problem> {
    let text = text.unwrap_or_default();
    if text.chars().count() > LONGEST_SEARCH {
        return Err(Problem::Invalid {
            field: "search",
            expected: "at most 254 characters",
        });
    }
    Ok(text)
}

/// The key in a cursor.
fn decode(cursor: &str) -> Result<String, Problem> {
    BASE64
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(UNKNOWN_CURSOR)
}

/// A page of a list that is made anew with each question, in an order of its own: a cursor is how many lines were before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberedPage {
    skip: u32,
    limit: u16,
}

impl NumberedPage {
    /// The page after the one with this `next_cursor`.
    pub(crate) fn of(cursor: Option<&str>, limit: Option<u16>) -> Result<Self, Problem> {
        let skip = match cursor {
            None => 0,
            Some(cursor) => cursor
                .parse()
                .ok()
                .filter(|skip| *skip <= MOST_SKIPPED)
                .ok_or(UNKNOWN_CURSOR)?,
        };
        let limit = PageQuery::new(None, limit).limit()?;
        Ok(Self { skip, limit })
    }

    /// Which lines to ask for: one more than the page has, to see whether there is another.
    pub(crate) fn lines(self) -> Lines {
        Lines {
            skip: self.skip,
            limit: u32::from(self.limit) + 1,
        }
    }

    /// Cuts off what is beyond the page; the cursor of the next one.
    pub(crate) fn cut<R>(self, rows: &mut Vec<R>) -> Option<String> {
        let is_more = rows.len() > usize::from(self.limit);
        rows.truncate(self.limit.into());
        is_more.then(|| (self.skip + u32::from(self.limit)).to_string())
    }
}

impl<T> Page<T> {
    /// A page of a list that is whole in memory and sorted by `key`.
    pub(crate) fn of_sorted<R>(
        rows: impl IntoIterator<Item = R>,
        query: &PageQuery,
        key: impl Fn(&R) -> String,
        shown: impl Fn(R) -> T,
    ) -> Result<Self, Problem> {
        let limit = usize::from(query.limit()?);
        let after = query.cursor.as_deref().map(decode).transpose()?;
        let is_after = |row: &R| after.as_ref().is_none_or(|after| key(row) > *after);
        let mut rows: Vec<R> = rows
            .into_iter()
            .filter(is_after)
            .take(limit.saturating_add(1))
            .collect();
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| is_more);
        Ok(Self {
            next_cursor: last.map(|row| BASE64.encode(key(row))),
            data: rows.into_iter().map(shown).collect(),
        })
    }

    /// A page of a list by numbers, of which one more than `limit` was asked for.
    pub(crate) fn of_numbered<R>(
        mut rows: Vec<R>,
        limit: u16,
        number: impl Fn(&R) -> i64,
        shown: impl Fn(R) -> T,
    ) -> Self {
        let is_more = rows.len() > usize::from(limit);
        rows.truncate(limit.into());
        let last = rows.last().filter(|_| is_more);
        Self {
            next_cursor: last.map(|row| number(row).to_string()),
            data: rows.into_iter().map(shown).collect(),
        }
    }

    /// A page of at most `limit` of the objects, of which one more than that was asked for.
    pub(crate) fn of<R>(
        mut rows: Vec<R>,
        limit: u16,
        id: impl Fn(&R) -> Uuid,
        shown: impl Fn(R) -> T,
    ) -> Self {
        let is_more = rows.len() > usize::from(limit);
        rows.truncate(limit.into());
        let next_cursor = rows.last().filter(|_| is_more).map(|row| cursor(id(row)));
        Self {
            data: rows.into_iter().map(shown).collect(),
            next_cursor,
        }
    }
}

/// The cursor of the page that begins after this object.
pub(crate) fn cursor(last: Uuid) -> String {
    BASE64.encode(last.as_bytes())
}
