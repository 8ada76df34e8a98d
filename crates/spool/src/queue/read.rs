//! Reading what waits, and letting go of what has landed.

use super::Queue;
use crate::error::SpoolError;
use crate::format::Found;
use crate::segment::{Progress, read_failed};
use crate::spool::{Position, Waiting};

impl Queue {
    /// The oldest records that have not landed: at most `max_records`, and `max_bytes` unless the first alone is
    /// larger.
    pub(crate) fn oldest(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Waiting>, SpoolError> {
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        for segment in &mut self.segments {
            let mut scanner = segment.scanner(&*self.disk)?;
            let mut read = segment.landed;
            while read.records < segment.acknowledged.records {
                match scanner.next_found().map_err(read_failed())? {
                    Some(Found::Record { end, payload, .. }) => {
                        bytes = bytes.saturating_add(payload.len());
                        let is_full = batch.len() >= max_records || bytes > max_bytes;
                        if is_full && !batch.is_empty() {
                            return Ok(batch);
                        }
                        read = Progress {
                            records: read.records + 1,
                            end,
                        };
                        batch.push(Waiting {
                            position: Position::new(segment, read),
                            record: payload.to_vec(),
                        });
                    }
                    Some(Found::Gap { start, .. }) if segment.known_gaps.contains(&start) => {}
                    _ if batch.is_empty() => {
                        drop(scanner);
                        return Err(SpoolError::Damaged(segment.damaged_since(&*self.disk)?));
                    }
                    // What was found before the damage first.
                    _ => return Ok(batch),
                }
            }
        }
        Ok(batch)
    }

    /// Lets go of everything up to and including `up_to`.
    pub(crate) fn landed(&mut self, up_to: Position) -> Result<(), SpoolError> {
        for segment in &mut self.segments {
            let landed = if segment.name.serial() < up_to.segment() {
                segment.acknowledged
            } else if let Some(landed) = up_to.progress_in(segment) {
                landed
            } else {
                break;
            };
            if landed.records > segment.landed.records {
                segment.landed = landed;
            }
        }
        self.retire_landed()
    }
}
