//! Batches as records of the spool.

use std::sync::Arc;

use airouter_billing::correction::Answers;
use airouter_spool::{Position, Spool, SpoolError};
use airouter_store::leases::ReplicaId;
use airouter_store::settlements::CommitBatch;
use serde::{Deserialize, Serialize};

/// Most bytes of records that land together.
const MOST_BYTES: usize = 4 << 20;

/// A batch, and under which number of a replica its charges were held.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SpooledBatch {
    pub(super) replica: ReplicaId,
    pub(super) batch: CommitBatch,
}

/// What could not be spooled, or read back.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolingError {
    /// A batch can't be written as a record.
    #[error("a batch can't be written down: {0}")]
    Encode(#[from] serde_json::Error),
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The process stops.
    #[error("the work on the spool was cut off: {0}")]
    CutOff(#[from] tokio::task::JoinError),
}

/// Makes a batch durable on the local disk.
pub(super) async fn append(spool: &Arc<Spool>, batch: &SpooledBatch) -> Result<(), SpoolingError> {
    let record = serde_json::to_vec(batch)?;
    let spool = Arc::clone(spool);
    tokio::task::spawn_blocking(move || spool.append(&[&record])).await??;
    Ok(())
}

/// What lands next: the oldest records, as far as they have one replica, as one batch.
pub(super) struct Next {
    pub(super) batch: SpooledBatch,
    /// Up to where these are.
    pub(super) up_to: Position,
}

/// Reads what lands next, of at most so many records. `None` when nothing waits. What was spooled is acknowledged: the
/// ends of its answers were sent. A record that is no batch is announced and passed over.
pub(super) async fn next(
    spool: &Arc<Spool>,
    most_records: usize,
) -> Result<Option<Next>, SpoolingError> {
    let reader = Arc::clone(spool);
    let waiting =
        tokio::task::spawn_blocking(move || reader.oldest(most_records, MOST_BYTES)).await??;
    let mut next: Option<Next> = None;
    for record in waiting {
        let batch = match serde_json::from_slice::<SpooledBatch>(&record.record) {
            Ok(mut batch) => {
                batch.batch.answers = Answers::Acknowledged;
                batch
            }
            Err(error) => {
                tracing::error!(%error, record = %String::from_utf8_lossy(&record.record), "a spooled record can't be read");
                SpooledBatch {
                    replica: next
                        .as_ref()
                        .map_or(ReplicaId::new(0), |next| next.batch.replica),
                    batch: CommitBatch {
                        answers: Answers::Acknowledged,
                        ..CommitBatch::default()
                    },
                }
            }
        };
        match &mut next {
            None => {
                next = Some(Next {
                    batch,
                    up_to: record.position,
                });
            }
            Some(next) if next.batch.replica == batch.replica => {
                next.batch.batch.events.extend(batch.batch.events);
                next.batch.batch.pending.extend(batch.batch.pending);
                next.batch.batch.forgotten.extend(batch.batch.forgotten);
                let claims = batch.batch.finished_claims;
                next.batch.batch.finished_claims.extend(claims);
                next.up_to = record.position;
            }
            Some(_) => break,
        }
    }
    Ok(next)
}

/// Lets go of what has landed.
pub(super) async fn landed(spool: &Arc<Spool>, up_to: Position) -> Result<(), SpoolingError> {
    let spool = Arc::clone(spool);
    tokio::task::spawn_blocking(move || spool.landed(up_to)).await??;
    Ok(())
}
