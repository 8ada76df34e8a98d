//! Writing a backup.

use std::io::{self, Write};

use airouter_auth::Checksum;
use serde::Serialize;

use super::{BackupError, DATA, END, LONGEST_FRAME, MAGIC, MANIFEST, Manifest, TABLE, Table};

/// A backup that is being written.
#[derive(Debug)]
pub struct BackupWriter<W> {
    file: W,
    checksum: Checksum,
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup in an empty file.
    pub fn begin(file: W, manifest: &Manifest) -> Result<Self, BackupError> {
        let mut writer = Self {
            file,
            checksum: Checksum::default(),
        };
        writer.put(MAGIC)?;
        writer.json(MANIFEST, manifest)?;
        Ok(writer)
    }

    /// From here on data are rows of this table.
    pub fn table(&mut self, table: &Table) -> Result<(), BackupError> {
        self.json(TABLE, table)
    }

    /// More of the file, or of the table's rows.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        for part in bytes.chunks(LONGEST_FRAME) {
            self.frame(DATA, part)?;
        }
        Ok(())
    }

    /// Ends the backup. It is not flushed.
    pub fn finish(mut self) -> Result<W, BackupError> {
        let sum = self.checksum.clone().finish();
        self.frame(END, &sum)?;
        Ok(self.file)
    }

    fn json(&mut self, kind: u8, value: &impl Serialize) -> Result<(), BackupError> {
        let text = serde_json::to_vec(value).map_err(io::Error::from)?;
        self.frame(kind, &text)
    }

    fn frame(&mut self, kind: u8, bytes: &[u8]) -> Result<(), BackupError> {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|_| bytes.len() <= LONGEST_FRAME)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.put(&[kind])?;
        self.put(&length.to_be_bytes())?;
        Ok(self.put(bytes)?)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes)
    }
}
