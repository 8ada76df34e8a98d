//! What a comparison found, as lines for people and programs.

use airouter_billing::Nanos;
use airouter_billing::reconciliation::{Finding, Judged, Purse};
use rust_decimal::Decimal;

use super::DayReport;

/// A line for each purse of a day, for what could not be compared, and for each finding that stands.
pub(crate) fn report_lines(report: &DayReport) -> Vec<String> {
    let (day, account) = (report.day, &report.account);
    let mut lines = vec![day_line(report, Purse::Credits)];
    let is_used = |spend: airouter_billing::reconciliation::Spend| !spend.at_provider.is_zero();
    let theirs = report.compared.map(|(theirs, _)| theirs);
    if is_used(report.booked) || theirs.is_some_and(is_used) {
        lines.push(day_line(report, Purse::Provider));
    }
    if let Some(readings) = &report.readings {
        lines.push(format!(
            "readings={} day={day} account={account} ours={} theirs={} difference={}",
            readings.source,
            usd(readings.booked.credits),
            usd(readings.theirs.credits),
            usd(readings.found.credits)
        ));
    }
    lines.extend(report.not_checked.iter().map(|not_checked| {
        let (what, why) = (not_checked.what, &not_checked.why);
        format!("not_checked={what} day={day} account={account} why={why}")
    }));
    lines.extend(report.standing.iter().map(|finding| {
        let is_new = report
            .entered
            .iter()
            .any(|entered| entered.key == finding.key);
        let entered = if is_new { "now" } else { "before" };
        let what = finding.what().name();
        format!("{} entered={entered}", finding_text(what, finding, account))
    }));
    lines
}

fn day_line(report: &DayReport, purse: Purse) -> String {
    let (day, account, requests) = (report.day, &report.account, report.requests);
    let ours = usd(report.booked.of(purse));
    let start = format!(
        "day={day} account={account} purse={} requests={requests} compared={} ours={ours}",
        purse.name(),
        report.compared_single
    );
    let Some((theirs, judged)) = &report.compared else {
        return start;
    };
    let Judged {
        found,
        carried,
        waiting,
    } = judged;
    format!(
        "{start} theirs={} difference={} carried={} waiting={}",
        usd(theirs.of(purse)),
        usd(found.of(purse)),
        usd(carried.of(purse)),
        usd(waiting.of(purse))
    )
}

/// A line for an entry of the list of findings.
pub(crate) fn entry_line(entry: &Finding, account: &str) -> String {
    let transaction = entry
        .transaction
        .map_or_else(|| "-".to_owned(), |transaction| transaction.to_string());
    let found_at = entry.found_at.to_utc().map(|at| at.date().to_string());
    format!(
        "{} number={} transaction={transaction} found_on={}",
        finding_text(entry_name(entry), entry, account),
        entry.number,
        found_at.unwrap_or_default()
    )
}

/// What an entry says: the first one what is wrong, later ones that it is otherwise now.
pub(super) const fn entry_name(entry: &Finding) -> &'static str {
    if entry.number > 1 {
        "changed"
    } else {
        entry.what().name()
    }
}

fn finding_text(what: &str, finding: &Finding, account: &str) -> String {
    let key = &finding.key;
    let subject = key.about.subject();
    let subject = if subject.is_empty() { "-" } else { &subject };
    let theirs = finding.theirs.map_or_else(|| "-".to_owned(), usd);
    let amount = |nanos: Nanos| crate::usd::usd(nanos.get().into());
    format!(
        "finding={what} day={} account={account} purse={} subject={subject} ours={} theirs={theirs} difference={} cost={}",
        key.day,
        key.purse.name(),
        usd(finding.ours),
        amount(finding.difference),
        amount(finding.cost)
    )
}

fn usd(amount: Decimal) -> String {
    amount.normalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use airouter_billing::reconciliation::{About, FindingKey, Spend};
    use airouter_billing::{MasterAccountId, Timestamp, UtcDay};
    use uuid::Uuid;

    use crate::reconciliation::NotChecked;

    fn day() -> UtcDay {
        "2026-11-20".parse().unwrap()
    }

    fn finding() -> Finding {
        Finding {
            key: FindingKey {
                master_account: MasterAccountId::new(Uuid::nil()),
                day: day(),
                about: About::Day,
                purse: Purse::Credits,
            },
            number: 1,
            ours: Decimal::new(10, 1),
            theirs: Some(Decimal::new(15, 1)),
            difference: Nanos::new(500_000_000),
            cost: Nanos::new(150_000_000),
            transaction: None,
            found_at: Timestamp::default(),
        }
    }

    #[test]
    fn a_day_is_told_with_what_stands_and_what_was_left_out() {
        let spend = |credits| Spend {
            credits: Decimal::new(credits, 1),
            at_provider: Decimal::ZERO,
        };
        let judged = Judged {
            found: spend(5),
            ..Judged::default()
        };
        let report = DayReport {
            day: day(),
            account: "main".to_owned(),
            requests: 3,
            booked: spend(10),
            compared: Some((spend(15), judged)),
            compared_single: 2,
            readings: None,
            not_checked: vec![NotChecked {
                what: "credits",
                why: "it was not read".to_owned(),
            }],
            standing: vec![finding()],
            entered: Vec::new(),
        };
        assert_eq!(
            report_lines(&report),
            [
                "day=2026-11-20 account=main purse=credits requests=3 compared=2 ours=1 theirs=1.5 difference=0.5 \
                 carried=0 waiting=0",
                "not_checked=credits day=2026-11-20 account=main why=it was not read",
                "finding=missing_here day=2026-11-20 account=main purse=credits subject=- ours=1 theirs=1.5 \
                 difference=0.5 cost=0.15 entered=before",
            ]
        );
    }

    #[test]
    fn a_later_entry_says_that_it_is_otherwise_now() {
        let later = Finding {
            number: 2,
            theirs: None,
            difference: Nanos::new(-500_000_000),
            cost: Nanos::ZERO,
            ..finding()
        };
        assert_eq!(
            entry_line(&later, "main"),
            "finding=changed day=2026-11-20 account=main purse=credits subject=- ours=1 theirs=- difference=-0.5 cost=0 \
             number=2 transaction=- found_on=1970-01-01"
        );
    }
}
