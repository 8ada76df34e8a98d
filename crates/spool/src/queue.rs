//! The queue: segments in their order, the last of which is appended to.

mod append;
mod open;
mod read;

use std::collections::VecDeque;
use std::io;

use crate::disk::{AppendFile, Disk};
use crate::error::SpoolError;
use crate::segment::{Fate, Segment};
use crate::spool::Limits;

#[derive(Debug)]
pub(crate) struct Queue {
    disk: Box<dyn Disk>,
    limits: Limits,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The file of the last segment, if it is appended to.
    tail: Option<Box<dyn AppendFile>>,
    next_serial: u64,
    next_number: u64,
}

impl Queue {
    /// Records that have not landed.
    pub(crate) fn records(&self) -> u64 {
        self.segments.iter().map(Segment::waiting).sum()
    }

    /// What the segments take on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    /// Takes the files of segments away of which nothing is waiting, from the oldest on. Each is gone for good before
    /// the next one goes, so that a crash leaves no hole in the row.
    fn retire_landed(&mut self) -> Result<(), SpoolError> {
        while let Some(segment) = self.segments.front()
            && segment.waiting() == 0
        {
            let file = segment.name.to_string();
            let taken_away = match segment.fate {
                Fate::Remove => self.disk.remove(&file),
                Fate::SetAside => self.disk.rename(&file, &segment.name.damaged()),
            };
            match taken_away {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(SpoolError::disk("take a landed segment away")(error));
                }
                Ok(()) | Err(_) => {}
            }
            self.segments.pop_front();
            if self.segments.is_empty() {
                self.tail = None;
            }
            self.disk
                .sync_names()
                .map_err(SpoolError::disk("make it durable that a segment is gone"))?;
        }
        Ok(())
    }
}
