//! Finding what an earlier process left.

use std::collections::VecDeque;

use super::Queue;
use crate::disk::Disk;
use crate::error::{Damage, SpoolError};
use crate::format::{DAMAGED, SegmentName};
use crate::segment::{Fate, Segment};
use crate::spool::{Limits, Opened};

impl Queue {
    /// Looks through everything on `disk`.
    pub(crate) fn open(disk: Box<dyn Disk>, limits: Limits) -> Result<(Self, Opened), SpoolError> {
        let files = disk.list().map_err(SpoolError::disk("list its files"))?;
        let set_aside = files.iter().filter(|(name, _)| name.ends_with(DAMAGED));
        let mut opened = Opened {
            set_aside: set_aside.clone().count(),
            ..Opened::default()
        };
        let mut names: Vec<(SegmentName, u64)> = files
            .iter()
            .filter_map(|(name, bytes)| Some((SegmentName::parse(name)?, *bytes)))
            .collect();
        names.sort_unstable_by_key(|(name, _)| name.serial());
        let last_serial = set_aside
            .filter_map(|(name, _)| SegmentName::parse(name.strip_suffix(DAMAGED)?))
            .chain(names.last().map(|(name, _)| name.clone()))
            .map(|name| name.serial())
            .max();
        let mut queue = Self {
            disk,
            limits,
            segments: VecDeque::new(),
            tail: None,
            next_serial: last_serial.map_or(0, |serial| serial.saturating_add(1)),
            next_number: 0,
        };
        for (name, bytes) in names {
            queue.take_in(name, bytes, &mut opened)?;
        }
        queue
            .disk
            .sync_names()
            .map_err(SpoolError::disk("sync its directory"))?;
        opened.records = queue.records();
        if let Err(error) = queue.retire_landed() {
            tracing::warn!(%error, "an empty segment stays in the spool");
        }
        opened.bytes = queue.bytes();
        Ok((queue, opened))
    }

    /// Puts a segment of an earlier process at the end. What that process wrote and did not sync is made durable: later
    /// segments are numbered after it.
    fn take_in(
        &mut self,
        name: SegmentName,
        bytes: u64,
        opened: &mut Opened,
    ) -> Result<(), SpoolError> {
        self.disk
            .sync(&name.to_string())
            .map_err(SpoolError::disk("sync a segment"))?;
        let (segment, survey) = Segment::found(&*self.disk, name, bytes)?;
        opened.torn_bytes += survey.torn_bytes;
        if let Some(before) = self.segments.back_mut() {
            let missing = segment.name.first().saturating_sub(self.next_number);
            if missing > 0 {
                before.fate = Fate::SetAside;
                opened.damaged_mut(before).lost_records += missing;
            }
        }
        if segment.fate == Fate::SetAside {
            let damage = opened.damaged_mut(&segment);
            damage.unreadable_bytes += survey.damaged_bytes;
            damage.lost_records += survey.lost_records;
        }
        let next = survey.last.map_or(0, |last| last.saturating_add(1));
        self.next_number = segment.name.first().max(next);
        self.segments.push_back(segment);
        Ok(())
    }
}

impl Opened {
    /// What is said of a segment's damage; said anew if nothing was yet.
    fn damaged_mut(&mut self, segment: &Segment) -> &mut Damage {
        let file = segment.name.to_string();
        let at = self.damaged.iter().position(|damage| damage.file == file);
        let at = at.unwrap_or_else(|| {
            self.damaged.push(Damage {
                file,
                unreadable_bytes: 0,
                lost_records: 0,
            });
            self.damaged.len() - 1
        });
        &mut self.damaged[at]
    }
}
