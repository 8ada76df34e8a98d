//! The few things that a spool asks of a disk.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// One directory of files, each known by its name.
pub(crate) trait Disk: fmt::Debug + Send {
    /// The files and their lengths.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Creates a file; one that is there is not touched.
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;
    /// Reads a file from `offset`.
    fn read(&self, name: &str, offset: u64) -> io::Result<Box<dyn Read>>;
    /// Makes what a file holds durable.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names of the files durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file that is written at its end.
pub(crate) trait AppendFile: fmt::Debug + Send {
    /// Writes all of `bytes`; after an error any part of them may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable. After an error nothing since the last success may be relied on, even if a
    /// later call succeeds.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file off.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A directory of the local file system, for its owner only.
#[derive(Debug)]
pub(crate) struct LocalDisk {
    directory: PathBuf,
}

impl LocalDisk {
    /// The directory, created durably if it is not there.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        if !directory.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
            let parent = directory
                .parent()
                .filter(|path| !path.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }
}

impl Disk for LocalDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.directory.join(name))?;
        Ok(Box::new(LocalFile(file)))
    }

    fn read(&self, name: &str, offset: u64) -> io::Result<Box<dyn Read>> {
        let mut file = File::open(self.directory.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.directory.join(name))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

#[derive(Debug)]
struct LocalFile(File);

impl AppendFile for LocalFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
