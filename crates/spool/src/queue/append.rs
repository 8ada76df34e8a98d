//! Appending: on the disk before it is acknowledged.

use super::Queue;
use crate::error::SpoolError;
use crate::format::{
    HEADER_BYTES, MAX_RECORD_BYTES, RECORD_HEAD_BYTES, SegmentName, write_header, write_record,
};
use crate::segment::Segment;

impl Queue {
    /// Appends all of `records` durably. After an error none of them is acknowledged.
    pub(crate) fn append(&mut self, records: &[&[u8]]) -> Result<(), SpoolError> {
        if records.is_empty() {
            return Ok(());
        }
        if let Some(large) = records
            .iter()
            .find(|record| record.len() > MAX_RECORD_BYTES)
        {
            return Err(SpoolError::TooLarge { bytes: large.len() });
        }
        let bytes: usize = records
            .iter()
            .map(|record| RECORD_HEAD_BYTES + record.len())
            .sum();
        self.make_room(bytes as u64)?;
        let result = if self.tail.is_some() {
            self.append_to_tail(records, bytes)
        } else {
            self.begin_segment().and_then(|()| {
                self.append_to_tail(records, bytes)?;
                self.disk
                    .sync_names()
                    .map_err(SpoolError::disk("make a new segment durable"))
            })
        };
        match result {
            Ok(()) => self.acknowledge(records.len() as u64),
            Err(_) => self.give_tail_up(),
        }
        result
    }

    /// Closes the last segment if `bytes` more are too many for it, and refuses what is too much for all.
    fn make_room(&mut self, bytes: u64) -> Result<(), SpoolError> {
        if let Some(segment) = self.segments.back()
            && segment.file_bytes.saturating_add(bytes) > self.limits.segment_bytes
        {
            self.tail = None;
        }
        let header = if self.tail.is_some() {
            0
        } else {
            HEADER_BYTES as u64
        };
        let after = self.bytes().saturating_add(header).saturating_add(bytes);
        if after > self.limits.total_bytes {
            return Err(SpoolError::Full {
                limit: self.limits.total_bytes,
            });
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), SpoolError> {
        let name = SegmentName::random(self.next_serial, self.next_number);
        self.next_serial = self.next_serial.saturating_add(1);
        let file = self
            .disk
            .create(&name.to_string())
            .map_err(SpoolError::disk("create a segment"))?;
        self.tail = Some(file);
        self.segments.push_back(Segment::empty(name));
        Ok(())
    }

    fn append_to_tail(&mut self, records: &[&[u8]], bytes: usize) -> Result<(), SpoolError> {
        let (Some(file), Some(segment)) = (self.tail.as_mut(), self.segments.back_mut()) else {
            return Ok(());
        };
        let start = segment.acknowledged.end;
        let mut text = Vec::with_capacity(HEADER_BYTES + bytes);
        if start == 0 {
            write_header(&segment.name, &mut text);
        }
        for (number, record) in (self.next_number..).zip(records) {
            let offset = start + text.len() as u64;
            write_record(&segment.name, offset, number, record, &mut text);
        }
        segment.file_bytes = start + text.len() as u64;
        file.append(&text)
            .map_err(SpoolError::disk("write to a segment"))?;
        file.sync().map_err(SpoolError::disk("sync a segment"))
    }

    fn acknowledge(&mut self, records: u64) {
        if let Some(segment) = self.segments.back_mut() {
            segment.acknowledged.records += records;
            segment.acknowledged.end = segment.file_bytes;
            self.next_number += records;
        }
    }

    /// Ends the last segment with what is acknowledged of it. It is never appended to again: after a failed sync
    /// nobody knows what of the rest is on the disk.
    fn give_tail_up(&mut self) {
        let (Some(mut file), Some(segment)) = (self.tail.take(), self.segments.back_mut()) else {
            return;
        };
        let end = segment.acknowledged.end;
        let undone = if end == 0 {
            self.disk.remove(&segment.name.to_string())
        } else {
            file.truncate(end)
        };
        match undone {
            Ok(()) if end == 0 => {
                self.segments.pop_back();
            }
            Ok(()) => segment.file_bytes = end,
            Err(error) => {
                tracing::warn!(segment = %segment.name, %error, "the rest of a failed append stays in the spool");
            }
        }
    }
}
