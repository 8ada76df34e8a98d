//! `airouter master-accounts list`.

use std::io;

use airouter_billing::Timestamp;
use airouter_store::master_accounts::{CreditReading, MasterAccount, MostShare};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::output;

/// How they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Json,
}

/// A master account for people and programs: money as decimal texts in USD, times in UTC.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: String,
    name: &'a str,
    status: &'static str,
    kind: &'static str,
    base_url: &'a str,
    keys: Vec<&'a str>,
    has_management_key: bool,
    discount_percent: String,
    discount_basis: &'static str,
    weight: u16,
    most_share_percent: Option<u8>,
    credit_usd: Option<String>,
    credit_days_left: Option<i64>,
    credit_seen_at: Option<String>,
    agreement: Option<&'a str>,
    agreement_ends_on: Option<String>,
    agreement_has_ended: bool,
}

const HEADINGS: [&str; 13] = [
    "NAME",
    "STATUS",
    "KIND",
    "UPSTREAM",
    "KEYS",
    "DISCOUNT",
    "WEIGHT",
    "MOST",
    "CREDIT",
    "DAYS",
    "SEEN",
    "AGREEMENT",
    "ENDS",
];

/// Prints them.
pub(super) fn print(accounts: &[MasterAccount], form: Form, now: Timestamp) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = accounts
        .iter()
        .map(|account| Row::of(account, now))
        .collect();
    match form {
        Form::Json => output::result(&serde_json::to_string_pretty(&rows)?)?,
        Form::Table => print_table(&rows)?,
    }
    Ok(())
}

impl<'a> Row<'a> {
    fn of(account: &'a MasterAccount, now: Timestamp) -> Self {
        let credit = account.credit.as_ref();
        let ends_at = account.agreement.ends_at;
        Self {
            id: account.id.to_string(),
            name: &account.name,
            status: account.status.name(),
            kind: account.kind.name(),
            base_url: &account.base_url,
            keys: account
                .keys
                .iter()
                .map(|key| key.key.short_fingerprint())
                .collect(),
            has_management_key: account.management_key.is_some(),
            discount_percent: (account.discount.fraction() * Decimal::ONE_HUNDRED)
                .normalize()
                .to_string(),
            discount_basis: account.discount.basis().name(),
            weight: account.weight.get(),
            most_share_percent: account.most_share.map(MostShare::get),
            credit_usd: credit.map(|credit| credit.left().to_string()),
            credit_days_left: credit.and_then(CreditReading::days_left),
            credit_seen_at: credit.and_then(|credit| minute(credit.seen_at)),
            agreement: account.agreement.reference.as_deref(),
            agreement_ends_on: ends_at.and_then(|ends| Some(ends.to_utc()?.date().to_string())),
            agreement_has_ended: ends_at.is_some_and(|ends| ends <= now),
        }
    }

    fn cells(&self) -> [String; HEADINGS.len()] {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        [
            self.name.to_owned(),
            self.status.to_owned(),
            self.kind.to_owned(),
            self.base_url.to_owned(),
            self.keys.join(","),
            format!("{}%", self.discount_percent),
            self.weight.to_string(),
            text(self.most_share_percent.map(|share| format!("{share}%"))),
            text(self.credit_usd.clone()),
            text(self.credit_days_left.map(|days| days.to_string())),
            text(self.credit_seen_at.clone()),
            text(self.agreement.map(str::to_owned)),
            text(self.agreement_ends_on.as_ref().map(|day| {
                let ended = if self.agreement_has_ended {
                    " (ended)"
                } else {
                    ""
                };
                format!("{day}{ended}")
            })),
        ]
    }
}

/// RFC 3339 to the minute.
fn minute(at: Timestamp) -> Option<String> {
    let at = at.to_utc()?;
    Some(format!(
        "{}T{:02}:{:02}Z",
        at.date(),
        at.hour(),
        at.minute()
    ))
}

fn print_table(rows: &[Row<'_>]) -> io::Result<()> {
    let headings = HEADINGS.map(str::to_owned);
    let lines: Vec<[String; HEADINGS.len()]> = std::iter::once(headings)
        .chain(rows.iter().map(Row::cells))
        .collect();
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        output::result(padded.join("  ").trim_end())?;
    }
    Ok(())
}
