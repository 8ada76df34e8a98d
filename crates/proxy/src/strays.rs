//! Strays: pending requests that are this replica's own and that it knows nothing of. They become so when the database is
//! lost while others' requests are taken over: nobody knows then whether they were, and no other replica looks after what
//! belongs to a living one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use airouter_billing::RequestId;
use airouter_store::StoreError;
use airouter_store::settlements::PendingRequest;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

/// How often they are looked for where there is no reason to.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How soon again when a look came to nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Most requests that are read in one go.
const MOST_READ: u32 = 1_000;

/// Whether there may be strays.
#[derive(Default)]
pub(crate) struct Strays(Notify);

impl Strays {
    /// There is a reason to look.
    pub(crate) fn suspect(&self) {
        self.0.notify_one();
    }
}

/// What a look came to.
enum Looked {
    /// Through all there are.
    Through,
    /// Something is on its way to the database: it is not known what will be left.
    TooSoon,
}

/// Looks for strays until `stop`.
pub(crate) async fn follow(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = gateway.strays.0.notified() => {}
        }
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = gateway.take_strays_up() => looked,
        };
        pause = match looked {
            Ok(Looked::Through) => LOOK_EVERY,
            Ok(Looked::TooSoon) => LOOK_AGAIN,
            Err(error) => {
                tracing::debug!(%error, "strays could not be looked for");
                LOOK_AGAIN
            }
        };
    }
}

impl Gateway {
    /// Takes up what is pending, its own, and unknown here. What was settled a moment ago may still be there: so only what
    /// was unknown before all that had been handed in was committed, and still is there after that.
    async fn take_strays_up(&self) -> Result<Looked, StoreError> {
        if !self.spool.is_empty() {
            return Ok(Looked::TooSoon);
        }
        let suspects: HashSet<RequestId> = self
            .unknown_own()
            .await?
            .iter()
            .map(|pending| pending.request.id)
            .collect();
        if suspects.is_empty() {
            return Ok(Looked::Through);
        }
        if self.settler.flush().await.is_err() || !self.spool.is_empty() {
            return Ok(Looked::TooSoon);
        }
        let mut count = 0;
        for pending in self.unknown_own().await? {
            if suspects.contains(&pending.request.id) {
                count += 1;
                self.take_up(pending);
            }
        }
        if count > 0 {
            tracing::warn!(
                count,
                "usages that were this replica's without its knowing are being found out"
            );
        }
        Ok(Looked::Through)
    }

    async fn unknown_own(&self) -> Result<Vec<PendingRequest>, StoreError> {
        let replica = self.replica.id();
        let (mut unknown, mut after) = (Vec::new(), None);
        loop {
            let own = self.store.own_pending(replica, after, MOST_READ).await?;
            // After the database was asked: what runs now and is not among these has been handed in.
            let known = self.in_flight.known();
            let is_last = own.len() < MOST_READ as usize;
            after = own.last().map(|pending| pending.request.id);
            unknown.extend(own.into_iter().filter(|pending| {
                let id = pending.request.id;
                !known.contains(&id) && !self.resolver.knows(id)
            }));
            if is_last || unknown.len() > self.resolver.room() {
                return Ok(unknown);
            }
        }
    }
}
