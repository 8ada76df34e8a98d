//! Where things are kept.

use std::path::PathBuf;

use super::environment::Reader;

/// Where things are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    /// The database by default, and generated secrets.
    pub(crate) data_dir: PathBuf,
    /// The SQLite file.
    pub(crate) database: PathBuf,
}

impl Storage {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let data_dir = PathBuf::from(
            reader
                .text("AIROUTER_DATA_DIR")
                .unwrap_or_else(|| "./data".to_owned()),
        );
        let database = reader
            .secret("DATABASE_URL")
            .and_then(|url| sqlite_path(reader, secrecy::ExposeSecret::expose_secret(&url)))
            .unwrap_or_else(|| data_dir.join("airouter.db"));
        Self { data_dir, database }
    }
}

/// The file of a `sqlite:` URL. Another URL may hold a password: it is not repeated.
fn sqlite_path(reader: &mut Reader<'_>, url: &str) -> Option<PathBuf> {
    let Some(path) = url.strip_prefix("sqlite:") else {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        reader.fault(
            "DATABASE_URL",
            format!("{scheme:?} databases are not supported by this build; expected sqlite://PATH"),
        );
        return None;
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(['?', '#']) || path.starts_with(':') {
        reader.fault(
            "DATABASE_URL",
            "is not the path of a file; expected sqlite://PATH, without options",
        );
        return None;
    }
    Some(PathBuf::from(path))
}
