//! `airouter ledger verify` and `airouter ledger book-refused`.

use std::process::ExitCode;

use airouter_proxy::clock::Clock as _;
use airouter_store::leases::ReplicaId;
use airouter_store::ledger::{Finding, Verification};

use crate::clock::SystemClock;
use crate::config::Config;
use crate::usd::usd;
use crate::{database, output};

pub(super) const HELP: &str = "\
Runs beside a server. Each line of what does not add up names the rule, where it is broken, and by how much in USD.
Exit code: 0 when everything adds up, 1 when something does not.

Example:
  airouter ledger verify";

pub(super) const BOOK_REFUSED_HELP: &str = "\
Usage that the database refused was set aside; ledger verify counts it. When the cause is gone, this books it: the client
pays as far as its budgets have it free. Runs beside a server. Exit code: 1 when something is refused again.

Example:
  airouter ledger book-refused";

/// Most events that are booked in one go.
const MOST_REFUSED: u32 = 10_000;
/// Whoever held what these requests cost has long let go of it.
const NO_REPLICA: ReplicaId = ReplicaId::new(0);

/// Proves that everything adds up, or prints what does not.
pub(super) async fn verify(config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let verification = store.verify().await?;
    for line in report(&verification) {
        output::result(&line)?;
    }
    Ok(if adds_up(&verification) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether nothing was found.
pub(super) fn adds_up(verification: &Verification) -> bool {
    verification.findings.is_empty() && verification.more_findings == 0
}

/// Books what can be booked by now; prints how much that was and what is left.
pub(super) async fn book_refused(config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let (mut booked, mut left) = (0, 0);
    for refused in store.refused(MOST_REFUSED).await? {
        let request = refused.event.request.id;
        let batch = refused.into_batch();
        match store.commit(NO_REPLICA, &batch, SystemClock.now()).await {
            Ok(_) => booked += 1,
            Err(error) => {
                left += 1;
                output::remark(&format!("request {request}: {error}"));
            }
        }
    }
    output::result(&format!("booked={booked}"))?;
    output::result(&format!("left={left}"))?;
    Ok(if left == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The lines that tell what was seen.
pub(super) fn report(verification: &Verification) -> Vec<String> {
    let count = u64::try_from(verification.findings.len()).unwrap_or(u64::MAX);
    let mut lines = vec![
        format!("events={}", verification.events),
        format!("corrections={}", verification.corrections),
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
            corrections: 1,
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
                "corrections=1",
                "transactions=2",
                "findings=2",
                "check=client_balance subject=account 7 expected=5 found=4.999999999 difference=-0.000000001",
                "and 1 more",
            ]
        );
    }
}
