//! `airouter audit verify`.

use std::process::ExitCode;

use airouter_store::audit::{AuditVerification, verify_audit};

use crate::config::Config;
use crate::{database, output};

pub(super) const HELP: &str = "\
Each entry of the audit log carries a hash that covers all entries before it. Runs beside a server. Exit code: 0 when every
entry is there and as it was written, 1 when one is not.

Example:
  airouter audit verify";

/// Proves that the audit log is whole, or prints where it is not.
pub(super) async fn verify(config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let verification = verify_audit(&*store).await?;
    output::result(&report(verification))?;
    Ok(if is_whole(verification) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The line that tells what was seen.
pub(super) fn report(verification: AuditVerification) -> String {
    match verification {
        AuditVerification::Whole(entries) => format!("audit entries={entries}"),
        AuditVerification::Broken(number) => format!("audit broken_at={number}"),
    }
}

/// Whether every entry is there and as it was written.
pub(super) const fn is_whole(verification: AuditVerification) -> bool {
    matches!(verification, AuditVerification::Whole(_))
}
