//! The spool of this process: where usage waits while the database is away.

use std::path::Path;
use std::sync::Arc;

use airouter_spool::{Limits, Spool};
use anyhow::Context as _;

/// Opens the spool in the data directory, and tells what an earlier process left there.
pub(crate) fn open(data_dir: &Path) -> anyhow::Result<Arc<Spool>> {
    let (spool, opened) = Spool::open(&data_dir.join("spool"), Limits::default())
        .context("the spool in the data directory can't be opened")?;
    if opened.records > 0 {
        tracing::warn!(
            batches = opened.records,
            bytes = opened.bytes,
            "usage was spooled before and has not landed yet"
        );
    }
    if opened.torn_bytes > 0 {
        tracing::warn!(
            bytes = opened.torn_bytes,
            "a crash cut the last record of the spool, which was never acknowledged"
        );
    }
    for damage in &opened.damaged {
        tracing::error!(?damage, "the spool is damaged: usage may be missing");
    }
    if opened.set_aside > 0 {
        tracing::error!(
            files = opened.set_aside,
            "damaged files of the spool were set aside and wait to be looked at"
        );
    }
    Ok(Arc::new(spool))
}
