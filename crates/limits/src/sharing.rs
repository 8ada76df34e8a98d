//! What requests and the publisher have in common: which counters are to be posted, and whether the board answers.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::kinds::ByKind;
use crate::share::{Queued, Share, Ticket};
use crate::table::{Entry, lock};

/// Whether counters are shared now, and how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharingStatus {
    /// Redis answers; else this replica counts by itself.
    pub is_up: bool,
    /// How many replicas live, this one included; 0 until it was first told.
    pub replicas: u32,
    /// Requests that were admitted without Redis being asked, though it should have been: it was away or too slow.
    pub fallbacks: u64,
}

#[derive(Debug)]
pub(crate) struct Sharing {
    is_up: AtomicBool,
    replicas: AtomicU32,
    fallbacks: AtomicU64,
    queues: Mutex<Queues>,
    /// Something is to be posted at once.
    pub(crate) hurry: Notify,
    /// For so long a request waits for an answer.
    longest_wait: Duration,
}

/// An entry may be there more often than it waits to be posted: its share knows whether it does.
#[derive(Debug, Default)]
struct Queues {
    soon: Vec<Arc<Entry>>,
    now: Vec<Arc<Entry>>,
}

impl Sharing {
    pub(crate) fn new(longest_wait: Duration) -> Self {
        Self {
            is_up: AtomicBool::new(false),
            replicas: AtomicU32::new(0),
            fallbacks: AtomicU64::new(0),
            queues: Mutex::default(),
            hurry: Notify::new(),
            longest_wait,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    pub(crate) fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed)
    }

    pub(crate) fn set_up(&self, replicas: u32) {
        self.replicas.store(replicas, Ordering::Relaxed);
        self.is_up.store(true, Ordering::Release);
    }

    pub(crate) fn set_down(&self) {
        self.is_up.store(false, Ordering::Release);
    }

    pub(crate) fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> SharingStatus {
        SharingStatus {
            is_up: self.is_up(),
            replicas: self.replicas(),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
        }
    }

    /// Queues counters, whose lock the caller holds, to be posted.
    pub(crate) fn queue(&self, entry: &Arc<Entry>, share: &mut Share, soon: Queued) {
        if soon <= share.queued {
            return;
        }
        share.queued = soon;
        let mut queues = lock(&self.queues);
        match soon {
            Queued::No => {}
            Queued::Soon => queues.soon.push(Arc::clone(entry)),
            Queued::Now => {
                queues.now.push(Arc::clone(entry));
                drop(queues);
                self.hurry.notify_one();
            }
        }
    }

    /// Takes what is to be posted at once.
    pub(crate) fn take_urgent(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut lock(&self.queues).now)
    }

    /// Takes all that is to be posted.
    pub(crate) fn take_all(&self) -> Vec<Arc<Entry>> {
        let mut queues = lock(&self.queues);
        let mut entries = std::mem::take(&mut queues.now);
        entries.append(&mut queues.soon);
        entries
    }

    /// Asks the board for what a request needs of all these keys. Returns whether it answered in time.
    pub(crate) async fn ask(
        &self,
        entries: impl IntoIterator<Item = &Arc<Entry>>,
        needs: &ByKind<u64>,
        deadline: Instant,
    ) -> bool {
        let asked: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| Some((entry, self.ask_one(entry, needs)?)))
            .collect();
        let all = async {
            for (entry, ticket) in asked {
                answered(entry, ticket).await;
            }
        };
        timeout_at(deadline, all).await.is_ok()
    }

    fn ask_one(&self, entry: &Arc<Entry>, needs: &ByKind<u64>) -> Option<Ticket> {
        let mut state = entry.lock();
        let share = state.share.as_mut()?;
        let ticket = share.ask(needs);
        self.queue(entry, share, Queued::Now);
        Some(ticket)
    }

    /// Until when a request that arrives now may wait.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.longest_wait
    }
}

async fn answered(entry: &Entry, ticket: Ticket) {
    loop {
        let mut told = pin!(entry.answered.notified());
        // From here on nothing is missed.
        told.as_mut().enable();
        let is_answered = |share: &Share| share.is_answered(ticket);
        if entry.lock().share.as_deref().is_none_or(is_answered) {
            return;
        }
        told.await;
    }
}
