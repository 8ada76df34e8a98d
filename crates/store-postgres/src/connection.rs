//! Connections, how long anything may take on them, and what the database's errors mean.

use std::borrow::Cow;
use std::time::Duration;

use airouter_store::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool, Postgres};

use crate::address;
use crate::open::{OpenError, PostgresStore};

/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long work on a connection of the pool may take.
const POOL_WORK_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of the pool.
const POOLED: u32 = 8;
/// How long a statement waits for a lock of another transaction.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one waits that makes others wait.
const SHORT_LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// How long the server keeps a transaction whose owner is silent.
const IDLE_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a migration waits for another replica that migrates, or for a table in use.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// What a connection is for: it decides how long the server lets a statement run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What requests wait for.
    Requests,
    /// What many requests wait for together: none waits long for a row that only another one needs.
    Together,
    /// What people and tools wait for.
    Pool,
    /// What takes as long as there is data: migrations, the proof of the ledger.
    Long,
}

impl Purpose {
    const fn statement_timeout(self) -> Duration {
        match self {
            Self::Requests | Self::Together => Duration::from_secs(5),
            Self::Pool => POOL_WORK_TIMEOUT,
            // None.
            Self::Long => Duration::ZERO,
        }
    }

    const fn lock_timeout(self) -> Duration {
        match self {
            Self::Together => SHORT_LOCK_TIMEOUT,
            Self::Requests | Self::Pool => LOCK_TIMEOUT,
            Self::Long => MIGRATION_LOCK_TIMEOUT,
        }
    }
}

/// How to get a connection.
#[derive(Clone)]
pub(crate) struct Connector(PgConnectOptions);

impl Connector {
    pub(crate) fn new(url: &str) -> Result<Self, OpenError> {
        let options = address::parse(url)?
            .application_name("airouter")
            .statement_cache_capacity(200)
            .disable_statement_logging();
        Ok(Self(options))
    }

    pub(crate) fn options(&self, purpose: Purpose) -> PgConnectOptions {
        let millis = |timeout: Duration| timeout.as_millis().to_string();
        let options = self.0.clone().options([
            ("statement_timeout", millis(purpose.statement_timeout())),
            ("lock_timeout", millis(purpose.lock_timeout())),
            (
                "idle_in_transaction_session_timeout",
                millis(IDLE_TRANSACTION_TIMEOUT),
            ),
        ]);
        // To compile a short statement takes longer than to run it.
        match purpose {
            // Each of its statements looks a few rows up. A plan that was made while a table was small is kept, and must
            // not go through all of it when it has grown.
            Purpose::Requests | Purpose::Together => {
                options.options([("jit", "off"), ("enable_seqscan", "off")])
            }
            // How much a report reads depends on what is asked: it is planned for that.
            Purpose::Pool => {
                options.options([("jit", "off"), ("plan_cache_mode", "force_custom_plan")])
            }
            Purpose::Long => options,
        }
    }

    /// A new connection.
    pub(crate) async fn connect(&self, purpose: Purpose) -> Result<PgConnection, sqlx::Error> {
        let connect = async {
            let mut connection = self.options(purpose).connect().await?;
            commit_durably(&mut connection).await?;
            Ok(connection)
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    /// A pool for all that no request waits for. It connects when it is used.
    pub(crate) fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(POOLED)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(|connection, _| Box::pin(commit_durably(connection)))
            .connect_lazy_with(self.options(Purpose::Pool))
    }
}

/// A commit that returned survives a power failure, whatever the server's configuration says. What is stricter stays.
async fn commit_durably(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT set_config('synchronous_commit', 'on', false) AS setting
        WHERE current_setting('synchronous_commit') = 'off'"
    )
    .fetch_optional(connection)
    .await
    .map(drop)
}

/// A connection of the pool. Whoever leaves in the middle of something leaves it in a state that nobody knows: then it
/// is closed.
struct Borrowed {
    connection: PoolConnection<Postgres>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Busy,
    Ready,
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.state == State::Busy {
            self.connection.close_on_drop();
        }
    }
}

impl PostgresStore {
    /// Does `work` on a connection of the pool, within a time limit.
    pub(crate) async fn on_pool<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut borrowed = Borrowed {
            connection: self.pool.acquire().await.map_err(failed)?,
            state: State::Busy,
        };
        let done = tokio::time::timeout(POOL_WORK_TIMEOUT, work(&mut borrowed.connection))
            .await
            .map_err(|_| failed(timed_out()))?;
        if !done.as_ref().is_err_and(StoreError::is_transient) {
            borrowed.state = State::Ready;
        }
        done
    }
}

/// The error for what did not answer in time.
pub(crate) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// The classes of errors (postgresql.org/docs/current/errcodes-appendix.html) that are about what was to be written.
/// All others are about the server, its configuration or other transactions: the same may succeed later.
const REFUSALS: [&str; 6] = [
    "21", // cardinality violation
    "22", // data exception
    "23", // integrity constraint violation
    "44", // check option violation
    "54", // program limit exceeded
    "P0", // raised by a function
];

/// What an error of the driver means to the caller.
pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    let is_refused = match &error {
        sqlx::Error::Database(database) => database
            .code()
            .and_then(|code| code.get(..2).map(|class| REFUSALS.contains(&class)))
            .unwrap_or(false),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => true,
        _ => false,
    };
    if is_refused {
        StoreError::Refused(Box::new(error))
    } else {
        StoreError::Unavailable(Box::new(error))
    }
}

/// Whether another transaction was in the way, and the same may succeed at once: a deadlock, a serialization failure, or
/// a row that another has inserted first.
pub(crate) fn is_conflict(error: &StoreError) -> bool {
    matches!(code_of(error).as_deref(), Some("40001" | "40P01" | "23505"))
}

/// Whether a row was locked for too long, or in a circle: nothing was changed, and the connection is as it was.
pub(crate) fn is_locked(error: &StoreError) -> bool {
    matches!(code_of(error).as_deref(), Some("55P03" | "40P01"))
}

/// PostgreSQL's code of an error.
fn code_of(error: &StoreError) -> Option<Cow<'_, str>> {
    let (StoreError::Unavailable(cause) | StoreError::Refused(cause)) = error else {
        return None;
    };
    cause
        .downcast_ref::<sqlx::Error>()?
        .as_database_error()?
        .code()
}

/// Like [`failed`], for an insert of `what`, which may exist already.
pub(crate) fn insert_failed(error: sqlx::Error, what: &'static str) -> StoreError {
    match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            StoreError::Exists { what }
        }
        _ => failed(error),
    }
}
