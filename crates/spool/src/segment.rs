//! One segment, as far as the queue knows it.

use std::io::{self, Read};

use crate::disk::Disk;
use crate::error::{Damage, SpoolError};
use crate::format::{Found, GapKind, Scanner, SegmentName};

/// What becomes of a segment when all its records have landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its file is removed.
    Remove,
    /// Its file is kept under another name, for whoever looks into the damage.
    SetAside,
}

/// How far a segment was read or has landed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Readable records up to there.
    pub(crate) records: u64,
    /// Where the last of them ends in the file.
    pub(crate) end: u64,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    /// Its readable records, those that have landed among them, and where what is acknowledged ends.
    pub(crate) acknowledged: Progress,
    pub(crate) landed: Progress,
    /// What the file takes on the disk.
    pub(crate) file_bytes: u64,
    /// Where gaps begin that were reported.
    pub(crate) known_gaps: Vec<u64>,
    pub(crate) fate: Fate,
    /// How often its records were counted anew because of damage; positions from before don't count any more.
    pub(crate) recounts: u32,
}

/// What a look through a segment found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) records: u64,
    /// The number of the last record.
    pub(crate) last: Option<u64>,
    /// Numbers that are missing between records.
    pub(crate) lost_records: u64,
    pub(crate) torn_bytes: u64,
    pub(crate) damaged_bytes: u64,
    pub(crate) gaps: Vec<u64>,
}

impl Segment {
    /// A segment in which nothing is acknowledged yet.
    pub(crate) fn empty(name: SegmentName) -> Self {
        Self {
            name,
            acknowledged: Progress::default(),
            landed: Progress::default(),
            file_bytes: 0,
            known_gaps: Vec::new(),
            fate: Fate::Remove,
            recounts: 0,
        }
    }

    /// The segment `name` of an earlier process, and what a look through it found.
    pub(crate) fn found(
        disk: &dyn Disk,
        name: SegmentName,
        file_bytes: u64,
    ) -> Result<(Self, Survey), SpoolError> {
        let mut segment = Self::empty(name);
        segment.file_bytes = file_bytes;
        segment.acknowledged.end = file_bytes;
        let survey = segment.survey(disk)?;
        segment.acknowledged.records = survey.records;
        segment.known_gaps.clone_from(&survey.gaps);
        if survey.damaged_bytes > 0 || survey.lost_records > 0 {
            segment.fate = Fate::SetAside;
        }
        Ok((segment, survey))
    }

    /// Records that have not landed.
    pub(crate) fn waiting(&self) -> u64 {
        self.acknowledged
            .records
            .saturating_sub(self.landed.records)
    }

    /// Reads on from what has landed. A file that somebody has removed reads as if it were empty.
    pub(crate) fn scanner(&self, disk: &dyn Disk) -> Result<Scanner<impl Read>, SpoolError> {
        let start = self.landed.end;
        let file = match disk.read(&self.name.to_string(), start) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Box::new(io::empty()),
            opened => opened.map_err(SpoolError::disk("open a segment"))?,
        };
        let rest = file.take(self.acknowledged.end.saturating_sub(start));
        Ok(Scanner::new(rest, self.name.clone(), start))
    }

    /// Looks through what has not landed.
    fn survey(&self, disk: &dyn Disk) -> Result<Survey, SpoolError> {
        let mut survey = Survey::default();
        let mut scanner = self.scanner(disk)?;
        let mut expected = (self.landed.records == 0).then(|| self.name.first());
        while let Some(found) = scanner.next_found().map_err(read_failed())? {
            match found {
                Found::Record { number, .. } => {
                    survey.records += 1;
                    survey.lost_records += number.saturating_sub(expected.unwrap_or(number));
                    survey.last = Some(number);
                    expected = Some(number.saturating_add(1));
                }
                Found::Gap { start, bytes, kind } => {
                    survey.gaps.push(start);
                    match kind {
                        GapKind::Torn => survey.torn_bytes += bytes,
                        GapKind::Damaged => survey.damaged_bytes += bytes,
                    }
                }
                Found::NewerFormat { version } => {
                    return Err(SpoolError::NewerFormat {
                        file: self.name.to_string(),
                        version,
                    });
                }
            }
        }
        Ok(survey)
    }

    /// Looks again at a segment that is not what it was, so that reading can go on with what is left of it.
    pub(crate) fn damaged_since(&mut self, disk: &dyn Disk) -> Result<Damage, SpoolError> {
        let survey = self.survey(disk)?;
        let lost_records = self.waiting().saturating_sub(survey.records);
        self.acknowledged.records = self.landed.records + survey.records;
        self.fate = Fate::SetAside;
        self.known_gaps = survey.gaps;
        self.recounts = self.recounts.saturating_add(1);
        Ok(Damage {
            file: self.name.to_string(),
            unreadable_bytes: survey.damaged_bytes + survey.torn_bytes,
            lost_records,
        })
    }
}

pub(crate) fn read_failed() -> impl FnOnce(io::Error) -> SpoolError {
    SpoolError::disk("read a segment")
}
