//! What the client's and the operator's lists of requests have in common.

pub(crate) mod worked_out;

use airouter_billing::event::Ending;
use airouter_billing::{ApiKeyId, RequestId};
use airouter_store::requests::{RequestFilter, RequestPage, RequestQuery, RequestRecord};
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::csv::{self, Format};
use crate::page::{self, Page, PageQuery};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::values::Time;

/// Model names are no longer.
const LONGEST_MODEL: usize = 256;

/// How a request ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HowItEnded {
    /// The answer came whole.
    Complete,
    /// The client went away first.
    ClientGone,
    /// The upstream broke off.
    UpstreamFailed,
    /// The server broke off.
    Interrupted,
}

impl From<HowItEnded> for Ending {
    fn from(ended: HowItEnded) -> Self {
        match ended {
            HowItEnded::Complete => Self::Complete,
            HowItEnded::ClientGone => Self::ClientGone,
            HowItEnded::UpstreamFailed => Self::UpstreamFailed,
            HowItEnded::Interrupted => Self::Interrupted,
        }
    }
}

impl From<Ending> for HowItEnded {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Complete => Self::Complete,
            Ending::ClientGone => Self::ClientGone,
            Ending::UpstreamFailed => Self::UpstreamFailed,
            Ending::Interrupted => Self::Interrupted,
        }
    }
}

/// What both lists can be filtered by.
#[derive(Debug, Default)]
pub(crate) struct Common {
    pub(crate) key_id: Option<Uuid>,
    pub(crate) model: Option<String>,
    pub(crate) ending: Option<HowItEnded>,
    pub(crate) from: Option<Time>,
    pub(crate) to: Option<Time>,
}

impl Common {
    /// As a filter of the store, with nothing else in it.
    pub(crate) fn filter(self) -> Result<RequestFilter, Problem> {
        Ok(RequestFilter {
            key: self.key_id.map(ApiKeyId::new),
            model: model("model", self.model)?,
            ending: self.ending.map(Ending::from),
            from: self.from.map(|Time(at)| at),
            to: self.to.map(|Time(at)| at),
            ..RequestFilter::default()
        })
    }
}

/// A model to look for.
pub(crate) fn model(field: &'static str, name: Option<String>) -> Result<Option<String>, Problem> {
    match name {
        Some(name) if name.len() > LONGEST_MODEL => Err(Problem::Invalid {
            field,
            expected: "at most 256 bytes",
        }),
        name => Ok(name),
    }
}

/// Which page, in which form.
pub(crate) struct Wanted {
    pub(crate) page: PageQuery,
    pub(crate) format: Format,
}

impl Wanted {
    pub(crate) fn new(page: PageQuery, format: Option<Format>, headers: &HeaderMap) -> Self {
        Self {
            page,
            format: Format::of(format, headers),
        }
    }

    /// Reads the page.
    pub(crate) async fn read(
        &self,
        shared: &Shared,
        filter: RequestFilter,
    ) -> Result<RequestPage, Problem> {
        let query = RequestQuery {
            filter,
            after: self.page.after()?.map(RequestId::new),
            limit: match self.format {
                Format::Json => self.page.limit()?,
                Format::Csv => self.page.csv_limit()?,
            },
        };
        Ok(shared.store.requests(&query).await?)
    }

    /// Writes it; `columns` are the fields of a row.
    pub(crate) fn write<Row: Serialize + From<RequestRecord>>(
        &self,
        columns: &[&str],
        page: RequestPage,
    ) -> Result<Response, Problem> {
        let next_cursor = page.next.map(|last| page::cursor(last.get()));
        let data: Vec<Row> = page.requests.into_iter().map(Row::from).collect();
        match self.format {
            Format::Json => Ok(Json(Page { data, next_cursor }).into_response()),
            Format::Csv => csv::csv("requests", columns, &data, next_cursor.as_deref()),
        }
    }
}

/// Milliseconds from admission to the end.
pub(crate) fn duration_ms(request: &RequestRecord) -> u64 {
    request.finished_at.micros_since(request.admitted_at) / 1_000
}
