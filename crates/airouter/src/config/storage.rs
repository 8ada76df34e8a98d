//! Where things are kept.

use std::fmt;
use std::path::PathBuf;

use airouter_limits::RedisBoard;
use secrecy::{ExposeSecret, SecretString};

use super::environment::Reader;

/// What a database's address looks like.
const EXPECTED: &str = "expected postgres://USER:PASSWORD@HOST/DATABASE or sqlite://PATH";

/// Where things are kept.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    /// The SQLite file by default, generated secrets, and what waits for a database that is away.
    pub(crate) data_dir: PathBuf,
    /// The database.
    pub(crate) database: DatabaseAddress,
    /// Where replicas share their rate counters; `None` when there is only one.
    pub(crate) redis: Option<SecretString>,
}

/// Which database.
#[derive(Clone, Debug)]
pub(crate) enum DatabaseAddress {
    /// A file, for one server.
    Sqlite(PathBuf),
    /// A PostgreSQL database, for any number of replicas. Its address may hold a password.
    Postgres(SecretString),
}

/// For people; without what is secret.
impl fmt::Display for DatabaseAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "sqlite://{}", path.display()),
            Self::Postgres(address) => {
                let address = address.expose_secret();
                let place = address.rsplit_once('@').map_or_else(
                    || address.split_once("://").map_or("", |(_, place)| place),
                    |(_, place)| place,
                );
                let place = place.split('?').next().unwrap_or_default();
                write!(formatter, "postgres://{place}")
            }
        }
    }
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
            .and_then(|url| address(reader, url))
            .unwrap_or_else(|| DatabaseAddress::Sqlite(data_dir.join("airouter.db")));
        Self {
            data_dir,
            database,
            redis: redis(reader),
        }
    }
}

/// The database that a URL names. One of another kind may hold a password: it is not repeated.
fn address(reader: &mut Reader<'_>, url: SecretString) -> Option<DatabaseAddress> {
    let (scheme, rest) = url.expose_secret().split_once(':').unwrap_or_default();
    match scheme {
        "sqlite" => sqlite_path(reader, rest).map(DatabaseAddress::Sqlite),
        // The latter is how SQLAlchemy writes it.
        "postgres" | "postgresql" | "postgresql+asyncpg" if rest.starts_with("//") => {
            Some(DatabaseAddress::Postgres(url))
        }
        _ => {
            reader.fault(
                "DATABASE_URL",
                format!("{scheme:?} is no database; {EXPECTED}"),
            );
            None
        }
    }
}

/// A Redis URL may hold a password: it is not repeated.
fn redis(reader: &mut Reader<'_>) -> Option<SecretString> {
    let url = reader.secret("REDIS_URL")?;
    if let Err(error) = RedisBoard::open(url.expose_secret()) {
        reader.fault("REDIS_URL", format!("is {error}"));
    }
    Some(url)
}

fn sqlite_path(reader: &mut Reader<'_>, rest: &str) -> Option<PathBuf> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.contains(['?', '#']) || path.starts_with(':') {
        reader.fault(
            "DATABASE_URL",
            "is not the path of a file; expected sqlite://PATH, without options",
        );
        return None;
    }
    Some(PathBuf::from(path))
}
