//! Hints that something changed, from a connection that listens (NOTIFY). One may be lost at any time: the change log is
//! the truth, and is read without hints too.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::connection::{Connector, Purpose, timed_out};

/// What the trigger of the change log notifies.
const CHANNEL: &str = "airouter_changes";
/// How long it may be silent before it is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(15);
/// How long it may take to connect or to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// Passes hints on, for as long as it is let.
pub(crate) async fn listen(connector: Connector, hint: Arc<Notify>) {
    loop {
        if let Err(error) = follow(&connector, &hint).await {
            tracing::warn!(%error, "changes are found by polling: nothing listens for notifications");
        }
        sleep(PAUSE).await;
    }
}

async fn follow(connector: &Connector, hint: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = timeout(PATIENCE, subscribe(connector))
        .await
        .unwrap_or_else(|_| Err(timed_out()))?;
    // Something may have changed while nobody listened.
    hint.notify_one();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(_))) => hint.notify_one(),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => is_there(&mut listener).await?,
        }
    }
}

async fn subscribe(connector: &Connector) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(connector.options(Purpose::Requests));
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn is_there(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    timeout(PATIENCE, sqlx::query("SELECT 1").execute(listener))
        .await
        .unwrap_or_else(|_| Err(timed_out()))
        .map(drop)
}
