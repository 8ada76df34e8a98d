//! Lists as CSV (RFC 4180), for spreadsheets and scripts.

use axum::body::Body;
use axum::response::Response;
use csv::{ReaderBuilder, WriterBuilder};
use http::HeaderMap;
use http::header::{
    ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue, InvalidHeaderValue, VARY,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "text/csv";
/// What begins so is a formula to a spreadsheet.
const FORMULA_SIGNS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// Where the next page begins; a CSV file has no place for it.
pub(crate) const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// In which form a list is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// JSON.
    #[default]
    Json,
    /// CSV.
    Csv,
}

impl Format {
    /// What the query asks for, or else the header `Accept`.
    pub(crate) fn of(asked: Option<Self>, headers: &HeaderMap) -> Self {
        let accepts_csv = || {
            let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
            accepted.is_some_and(|accepted| {
                let first = accepted.split([',', ';']).next().unwrap_or_default();
                first.trim().eq_ignore_ascii_case(MEDIA_TYPE)
            })
        };
        match asked {
            Some(format) => format,
            None if accepts_csv() => Self::Csv,
            None => Self::Json,
        }
    }
}

/// Rows as a file of this name. A row is a struct whose fields, `columns` by name, are texts, numbers or nothing. The first
/// line names them, also where there are no rows.
pub(crate) fn csv<Row: Serialize>(
    file_name: &str,
    columns: &[&str],
    rows: &[Row],
    next_cursor: Option<&str>,
) -> Result<Response, Problem> {
    let text = text(columns, rows).map_err(|error| {
        tracing::error!(%error, "a list could not be written as CSV");
        Problem::Internal
    })?;
    with_headers(Response::new(Body::from(text)), file_name, next_cursor)
        .map_err(|_| Problem::Internal)
}

fn with_headers(
    mut response: Response,
    file_name: &str,
    next_cursor: Option<&str>,
) -> Result<Response, InvalidHeaderValue> {
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(VARY, HeaderValue::from_static("accept"));
    let disposition = format!("attachment; filename=\"{file_name}.csv\"");
    headers.insert(CONTENT_DISPOSITION, disposition.parse()?);
    if let Some(cursor) = next_cursor {
        headers.insert(NEXT_CURSOR, cursor.parse()?);
    }
    Ok(response)
}

/// Written twice: once by the types of the columns, and then with what a spreadsheet would take for a formula made a text.
fn text<Row: Serialize>(columns: &[&str], rows: &[Row]) -> Result<Vec<u8>, csv::Error> {
    let mut plain = WriterBuilder::new().from_writer(Vec::new());
    for row in rows {
        plain.serialize(row)?;
    }
    let plain = plain
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))?;
    let mut guarded = WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    guarded.write_record(columns)?;
    let mut reader = ReaderBuilder::new().from_reader(plain.as_slice());
    if !rows.is_empty() && reader.headers()? != columns {
        let error = std::io::Error::other("the columns are not those of the rows");
        return Err(error.into());
    }
    for record in reader.records() {
        guarded.write_record(record?.iter().map(guard))?;
    }
    guarded
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

/// A field that a spreadsheet won't calculate. Numbers stay what they are.
fn guard(field: &str) -> String {
    if field.starts_with(FORMULA_SIGNS) && field.parse::<Decimal>().is_err() {
        format!("'{field}")
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        amount: &'static str,
        count: Option<u64>,
    }

    async fn written(rows: &[Row]) -> (HeaderMap, String) {
        let response = csv("requests", &["name", "amount", "count"], rows, Some("abc")).unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn formulas_are_texts_and_numbers_are_numbers() {
        let row = |name, amount, count| Row {
            name,
            amount,
            count,
        };
        let rows = [
            row("=HYPERLINK(\"x\")", "-0.5", Some(1)),
            row("-1+2", "+3", None),
            row("@a,b", "\tx", Some(2)),
        ];
        let (headers, text) = written(&rows).await;
        let expected = "name,amount,count\r\n\"'=HYPERLINK(\"\"x\"\")\",-0.5,1\r\n'-1+2,+3,\r\n\"'@a,b\",'\tx,2\r\n";
        assert_eq!(text, expected);
        assert_eq!(headers[NEXT_CURSOR], "abc");
        assert_eq!(
            headers[CONTENT_DISPOSITION],
            "attachment; filename=\"requests.csv\""
        );
    }

    #[tokio::test]
    async fn without_rows_there_are_columns() {
        assert_eq!(written(&[]).await.1, "name,amount,count\r\n");
    }

    #[test]
    fn the_query_goes_before_the_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(Format::of(None, &headers), Format::Json);
        headers.insert(ACCEPT, HeaderValue::from_static("text/csv, */*;q=0.1"));
        assert_eq!(Format::of(None, &headers), Format::Csv);
        assert_eq!(Format::of(Some(Format::Json), &headers), Format::Json);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        assert_eq!(Format::of(None, &headers), Format::Json);
    }
}
