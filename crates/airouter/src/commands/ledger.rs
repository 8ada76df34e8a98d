//! `airouter ledger verify`.

use std::process::ExitCode;

use airouter_store::ledger::{Finding, Verification};
use airouter_store_sqlite::OpenMode;

use crate::config::Config;
use crate::usd::usd;
use crate::{database, output};

pub(super) const HELP: &str = "\
Runs beside a server. Each line of what does not add up names the rule, where it is broken, and by how much in USD.
Exit code: 0 when everything adds up, 1 when something does not.

Example:
  airouter ledger verify";

/// Proves that everything adds up, or prints what does not.
pub(super) async fn verify(config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, OpenMode::Tool).await?;
    let verification = store.verify().await?;
    for line in report(&verification) {
        output::result(&line)?;
    }
    Ok(
        if verification.findings.is_empty() && verification.more_findings == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        },
    )
}

fn report(verification: &Verification) -> Vec<String> {
    let count = u64::try_from(verification.findings.len()).unwrap_or(u64::MAX);
    let mut lines = vec![
        format!("events={}", verification.events),
        format!("transactions={}", verification.transactions),
        format!(
            "findings={}",
            count.saturating_add(verification.more_findings)
        ),
    ];
    lines.extend(verification.findings.iter().map(line));
    if verification.more_findings > 0 {
        lines.push(format!("and {} more", verification.more_findings));
    }
    lines
}

fn line(finding: &Finding) -> String {
    format!(
        "check={} subject={} expected={} found={} difference={}",
        finding.check.name(),
        finding.subject,
        usd(finding.expected),
        usd(finding.found),
        usd(finding.found.saturating_sub(finding.expected)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use airouter_store::ledger::Check;

    #[test]
    fn a_finding_says_where_and_by_how_much() {
        let verification = Verification {
            events: 3,
            transactions: 2,
            findings: vec![Finding {
                check: Check::ClientBalance,
                subject: "account 7".to_owned(),
                expected: 5_000_000_000,
                found: 4_999_999_999,
            }],
            more_findings: 1,
        };
        assert_eq!(
            report(&verification),
            [
                "events=3",
                "transactions=2",
                "findings=2",
                "check=client_balance subject=account 7 expected=5 found=4.999999999 difference=-0.000000001",
                "and 1 more",
            ]
        );
    }
}
