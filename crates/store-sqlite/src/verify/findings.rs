//! What does not add up.

use airouter_store::StoreError;
use airouter_store::ledger::{Check, Finding};
use sqlx::SqliteConnection;

use crate::connection::failed;
use crate::convert::Column;

/// So many findings are listed, the others are counted.
const MOST_FINDINGS: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) listed: Vec<Finding>,
    pub(super) more: u64,
    /// Which of the listed are about a request, known only by its row.
    rows: Vec<(usize, i64)>,
}

impl Findings {
    /// Notes a rule that is broken.
    pub(super) fn add(
        &mut self,
        check: Check,
        subject: impl FnOnce() -> String,
        expected: i128,
        found: i128,
    ) {
        if self.listed.len() >= MOST_FINDINGS {
            self.more += 1;
            return;
        }
        self.listed.push(Finding {
            check,
            subject: subject(),
            expected,
            found,
        });
    }

    /// Notes a rule that is broken, unless the two are equal.
    pub(super) fn compare(
        &mut self,
        check: Check,
        subject: impl FnOnce() -> String,
        expected: i128,
        found: i128,
    ) {
        if expected != found {
            self.add(check, subject, expected, found);
        }
    }

    /// Like [`Findings::compare`], about the usage event in this row.
    pub(super) fn compare_event(&mut self, check: Check, row: i64, expected: i128, found: i128) {
        if expected == found {
            return;
        }
        if self.listed.len() < MOST_FINDINGS {
            self.rows.push((self.listed.len(), row));
        }
        self.add(check, String::new, expected, found);
    }

    /// Counts a rule that is broken without saying where.
    pub(super) const fn count(&mut self) {
        self.more += 1;
    }

    /// Puts the ids of requests in place of their rows.
    pub(super) async fn name_requests(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), StoreError> {
        for (position, row) in std::mem::take(&mut self.rows) {
            let id = sqlx::query_scalar!("SELECT id FROM request_logs WHERE seq = $1", row)
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
            let subject = match Column::new("request_logs", "id").uuid(&id) {
                Ok(id) => format!("request {id}"),
                Err(_) => format!("the request in row {row}"),
            };
            if let Some(finding) = self.listed.get_mut(position) {
                finding.subject = subject;
            }
        }
        Ok(())
    }
}
