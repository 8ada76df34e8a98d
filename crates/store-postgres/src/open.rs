//! Opening the database: its schema, and the connections and tasks that a store lives on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::changes::ChangePoll;
use crate::connection::{Connector, Purpose};
use crate::dedicated::Dedicated;
use crate::grants::Grants;
use crate::hints;
use crate::key_lookup::KeyLookup;
use crate::lane::{Lane, LaneSettings};
use crate::migrate::migrate;
use crate::rollups::KnownHorizon;
use crate::shared_rows::SharedRowCache;

/// Keys that are looked up together.
const KEY_LOOKUPS: LaneSettings = LaneSettings {
    queue: 4_096,
    together: 256,
    patience: Duration::from_secs(3),
    purpose: Purpose::Requests,
};
/// There is one who follows the change log.
const CHANGE_POLLS: LaneSettings = LaneSettings {
    queue: 16,
    together: 1,
    patience: Duration::from_secs(3),
    purpose: Purpose::Requests,
};

/// Leases that are granted together.
const GRANTS: LaneSettings = LaneSettings {
    queue: 4_096,
    together: 256,
    patience: Duration::from_secs(3),
    purpose: Purpose::Together,
};
/// Leases of budgets that somebody else has locked for long.
const LOCKED_GRANTS: LaneSettings = LaneSettings {
    queue: 1_024,
    together: 1,
    patience: Duration::from_secs(3),
    purpose: Purpose::Requests,
};

/// What the database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// To serve requests, as one of any number of replicas.
    Serve,
    /// To look or to change something beside them.
    Tool,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address can't be read. It is not repeated: there may be a password in it.
    #[error(
        "the database's address is not of the form postgres://user:password@host:port/database?sslmode=…"
    )]
    Address,
    /// It can't be reached, or refuses us.
    #[error("the database can't be opened: {0}")]
    Database(#[from] sqlx::Error),
    /// Its schema can't be brought to this version.
    #[error("the database's schema can't be migrated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// A PostgreSQL database with everything in it.
pub struct PostgresStore {
    pub(crate) connector: Connector,
    /// For all that no request waits for.
    pub(crate) pool: PgPool,
    pub(crate) keys: Lane<KeyLookup>,
    pub(crate) changes: Lane<ChangePoll>,
    pub(crate) grants: Lane<Grants>,
    /// For the group commit.
    pub(crate) commits: Dedicated,
    /// For the keys of requests that may be repeated.
    pub(crate) claims: Dedicated,
    /// For what keeps a replica going: it never waits for a commit.
    pub(crate) upkeep: Dedicated,
    pub(crate) shared_rows: SharedRowCache,
    /// Tells the lane of key lookups.
    pub(crate) plans_are_stale: Arc<AtomicBool>,
    pub(crate) hint: Arc<Notify>,
    pub(crate) rollup_horizon: KnownHorizon,
    /// They end with the store.
    _tasks: JoinSet<()>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresStore")
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects to the database at `url` and migrates it.
    pub async fn open(url: &str, mode: OpenMode) -> Result<Self, OpenError> {
        let connector = Connector::new(url)?;
        migrate(&connector).await?;
        let mut tasks = JoinSet::new();
        let plans_are_stale = Arc::new(AtomicBool::new(false));
        let key_lookup = KeyLookup::new(Arc::clone(&plans_are_stale));
        let keys = Lane::start(&mut tasks, &connector, KEY_LOOKUPS, key_lookup);
        let changes = Lane::start(&mut tasks, &connector, CHANGE_POLLS, ChangePoll);
        let grants = (GRANTS, LOCKED_GRANTS);
        let grants = Lane::start_two(&mut tasks, &connector, grants, || Grants);
        let hint = Arc::new(Notify::new());
        if mode == OpenMode::Serve {
            tasks.spawn(hints::listen(connector.clone(), Arc::clone(&hint)));
        }
        Ok(Self {
            connector: connector.clone(),
            pool: connector.pool(),
            keys,
            changes,
            grants,
            commits: Dedicated::new(connector.clone()),
            claims: Dedicated::new(connector.clone()),
            upkeep: Dedicated::new(connector.clone()),
            shared_rows: SharedRowCache::default(),
            plans_are_stale,
            hint,
            rollup_horizon: KnownHorizon::default(),
            _tasks: tasks,
        })
    }

    /// Brings the schema of the database at `url` to this version.
    pub async fn migrate(url: &str) -> Result<(), OpenError> {
        migrate(&Connector::new(url)?).await
    }
}
