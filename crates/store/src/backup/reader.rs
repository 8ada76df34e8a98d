//! Reading a backup: nothing in it is believed but what its checksum covers.

use std::io::{ErrorKind, Read};

use airouter_auth::Checksum;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{
    BackupError, DATA, END, FORMAT, LONGEST_FRAME, MAGIC, MANIFEST, Manifest, Part, TABLE,
};

/// A backup that is being read.
#[derive(Debug)]
pub struct BackupReader<R> {
    file: R,
    checksum: Checksum,
    manifest: Manifest,
}

/// What every form of a manifest has.
#[derive(Deserialize)]
struct Form {
    format: u32,
}

struct Frame {
    kind: u8,
    bytes: Vec<u8>,
}

impl<R: Read> BackupReader<R> {
    /// Reads what it is a backup of. Whether that is as it was written is known when all parts were read.
    pub fn begin(mut file: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
            Ok(()) if magic == *MAGIC => {}
            _ => return Err(BackupError::NotABackup),
        }
        let mut checksum = Checksum::default();
        checksum.update(&magic);
        let frame = frame(&mut file, &mut checksum)?;
        if frame.kind != MANIFEST {
            return Err(BackupError::Damaged);
        }
        if json::<Form>(&frame.bytes)?.format > FORMAT {
            return Err(BackupError::Newer);
        }
        Ok(Self {
            manifest: json(&frame.bytes)?,
            file,
            checksum,
        })
    }

    /// What it is a backup of.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next part; `None` after the last one, when all of it was as it was written.
    pub fn next_part(&mut self) -> Result<Option<Part>, BackupError> {
        let sum = self.checksum.clone().finish();
        let frame = frame(&mut self.file, &mut self.checksum)?;
        match frame.kind {
            TABLE => Ok(Some(Part::Table(json(&frame.bytes)?))),
            DATA => Ok(Some(Part::Data(frame.bytes))),
            END if frame.bytes == sum && self.is_at_end()? => Ok(None),
            _ => Err(BackupError::Damaged),
        }
    }

    fn is_at_end(&mut self) -> Result<bool, BackupError> {
        Ok(self.file.read(&mut [0])? == 0)
    }
}

fn frame(file: &mut impl Read, checksum: &mut Checksum) -> Result<Frame, BackupError> {
    let mut head = [0; 5];
    fill(file, &mut head)?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length))
        .ok()
        .filter(|length| *length <= LONGEST_FRAME)
        .ok_or(BackupError::Damaged)?;
    let mut bytes = vec![0; length];
    fill(file, &mut bytes)?;
    checksum.update(&head);
    checksum.update(&bytes);
    Ok(Frame { kind, bytes })
}

fn fill(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => BackupError::Damaged,
        _ => BackupError::File(error),
    })
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BackupError> {
    serde_json::from_slice(bytes).map_err(|_| BackupError::Damaged)
}
