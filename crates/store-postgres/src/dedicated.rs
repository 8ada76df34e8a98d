//! A connection of its own for one kind of work, so that it never waits for the pool.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use airouter_store::StoreError;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use crate::connection::{Connector, Purpose, failed, timed_out};

/// How long work waits for the work before it, and then for a connection if there is none.
const LEND_WAIT: Duration = Duration::from_secs(3);
/// How long a piece of work may take, all its statements together.
const WORK_WAIT: Duration = Duration::from_secs(4);

/// One connection, lent to one caller at a time. A caller that gives up, for whatever reason, leaves no transaction
/// open: it owns the connection until it gives it back, and what it does not give back is closed.
pub(crate) struct Dedicated {
    connector: Connector,
    place: Mutex<Option<PgConnection>>,
}

impl Dedicated {
    /// Connects when it is used first.
    pub(crate) fn new(connector: Connector) -> Self {
        Self {
            connector,
            place: Mutex::new(None),
        }
    }

    /// The connection, once the work before is done; a new one if the last was not given back.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>, StoreError> {
        let lent = async {
            let mut place = self.place.lock().await;
            let (connection, age) = match place.take() {
                Some(connection) => (connection, Age::Known),
                None => {
                    let connection = self.connector.connect(Purpose::Requests).await;
                    (connection.map_err(failed)?, Age::New)
                }
            };
            Ok(Lent {
                place,
                connection,
                age,
            })
        };
        tokio::time::timeout(LEND_WAIT, lent)
            .await
            .map_err(|_| failed(timed_out()))?
    }
}

/// The connection in the hands of one caller.
pub(crate) struct Lent<'a> {
    place: MutexGuard<'a, Option<PgConnection>>,
    connection: PgConnection,
    age: Age,
}

/// Whether a connection was used before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Known,
}

impl Lent<'_> {
    /// Whether it was made for this caller.
    pub(crate) fn is_new(&self) -> bool {
        self.age == Age::New
    }

    /// Gives the connection back after work that ended well, or was refused; one that failed otherwise is closed.
    pub(crate) fn give_back_after<T>(mut self, outcome: &Result<T, StoreError>) {
        if !outcome.as_ref().is_err_and(StoreError::is_transient) {
            *self.place = Some(self.connection);
        }
    }
}

impl Lent<'_> {
    /// Closes the connection: nobody knows what state it is in.
    pub(crate) fn discard(self) {}
}

impl Deref for Lent<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Bounds work by a clock of this side: a server that hangs never says so.
pub(crate) async fn bounded<T>(
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(WORK_WAIT, work)
        .await
        .map_err(|elapsed| StoreError::InDoubt(Box::new(elapsed)))?
}

pub(crate) async fn begin(
    connection: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, StoreError> {
    connection.begin().await.map_err(failed)
}

/// Ends a transaction: durably, or as if it had never been. Only when the connection is lost while it commits, nobody
/// knows which.
pub(crate) async fn finish<T>(
    transaction: Transaction<'_, Postgres>,
    outcome: Result<T, StoreError>,
) -> Result<T, StoreError> {
    match outcome {
        Ok(value) => match transaction.commit().await.map_err(failed) {
            Ok(()) => Ok(value),
            Err(StoreError::Unavailable(cause)) => Err(StoreError::InDoubt(cause)),
            Err(error) => Err(error),
        },
        Err(error) => {
            // A rollback that fails leaves nothing either: the server ends the transaction with the connection.
            let rolled_back = transaction.rollback().await;
            match rolled_back {
                Ok(()) => Err(error),
                Err(broken) => Err(failed(broken)),
            }
        }
    }
}
