//! The work beside requests: posts what was counted, and tells what others have.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::board::{Answer, Board, Post, Unreachable};
use crate::share::{Queued, Share};
use crate::sharing::Sharing;
use crate::table::{Entry, State};
use crate::window::Moment;
use crate::{Clock, LimitKind};

/// Keys posted in one go at most, so that requests that wait don't wait long.
const BATCH: usize = 128;
/// After so many beats that tell of fewer replicas than before it is believed: a board that was wiped forgets some.
const FEWER_BEATS: u32 = 10;
/// What runs is posted again so often: three times before it would count as a dead replica's.
const RENEW_EVERY_MS: u64 = 20_000;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timings {
    /// For so long a request waits for an answer.
    pub(crate) longest_wait: Duration,
    /// How often what is in no hurry is posted.
    pub(crate) post_every: Duration,
    /// How often the replica says that it lives, or looks whether the board is back.
    pub(crate) beat_every: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            longest_wait: Duration::from_millis(30),
            post_every: Duration::from_millis(50),
            beat_every: Duration::from_secs(1),
        }
    }
}

/// The work that must run for a [`crate::Limiter`] that shares its counters.
pub struct Publisher<B> {
    board: B,
    sharing: Arc<Sharing>,
    clock: Clock,
    timings: Timings,
    /// Whether the log says that the board is there.
    said: Option<Said>,
    /// Beats in a row that told of fewer replicas than before.
    fewer: u32,
    /// Keys with requests that run, and when they are to be posted again, soonest first.
    renewals: VecDeque<(Moment, Weak<Entry>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Up,
    Down,
}

impl<B> Publisher<B> {
    pub(crate) const fn new(
        board: B,
        sharing: Arc<Sharing>,
        clock: Clock,
        timings: Timings,
    ) -> Self {
        Self {
            board,
            sharing,
            clock,
            timings,
            said: None,
            fewer: 0,
            renewals: VecDeque::new(),
        }
    }

    fn believed(&mut self, replicas: u32) -> u32 {
        let before = self.sharing.replicas();
        self.fewer = if replicas < before { self.fewer + 1 } else { 0 };
        if self.fewer < FEWER_BEATS {
            replicas.max(before)
        } else {
            replicas
        }
    }
}

#[expect(
    private_bounds,
    reason = "the boards that there are come from this crate"
)]
impl<B: Board> Publisher<B> {
    /// Works until `stop`; then says that this replica is gone.
    pub async fn run(mut self, stop: CancellationToken) {
        let sharing = Arc::clone(&self.sharing);
        let mut beats = interval(self.timings.beat_every);
        let mut rounds = interval(self.timings.post_every);
        for ticks in [&mut beats, &mut rounds] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = beats.tick() => self.beat().await,
                _ = rounds.tick() => {
                    self.renew();
                    self.post(sharing.take_all()).await;
                }
                () = sharing.hurry.notified() => self.post(sharing.take_urgent()).await,
            }
        }
        self.post(sharing.take_all()).await;
        self.sharing.set_down();
        self.give_up(&sharing.take_all());
        self.board.leave().await;
    }

    async fn beat(&mut self) {
        match self.board.join().await {
            Ok(replicas) => {
                if !self.sharing.is_up() {
                    self.renew_all();
                }
                let replicas = self.believed(replicas);
                self.sharing.set_up(replicas);
                if self.said.replace(Said::Up) != Some(Said::Up) {
                    tracing::info!(replicas, "rate limits are shared through Redis");
                }
            }
            Err(error) => self.is_away(&error),
        }
    }

    async fn post(&mut self, entries: Vec<Arc<Entry>>) {
        for batch in entries.chunks(BATCH) {
            if !self.sharing.is_up() {
                self.give_up(batch);
            } else if let Err(error) = self.exchange(batch).await {
                self.is_away(&error);
                self.give_up(batch);
            }
        }
    }

    async fn exchange(&mut self, batch: &[Arc<Entry>]) -> Result<(), Unreachable> {
        let (now, replicas) = ((self.clock)(), self.sharing.replicas());
        let (posted, posts): (Vec<_>, Vec<_>) = distinct(batch)
            .into_iter()
            .filter_map(|entry| {
                let State { counters, share } = &mut *entry.lock();
                let share = share.as_mut()?;
                // What was in a queue for long may have been posted from the other.
                (share.queued > Queued::No)
                    .then(|| (entry, share.post(entry.key, counters, replicas, now)))
            })
            .unzip();
        if posts.is_empty() {
            return Ok(());
        }
        let answers = self.board.exchange(&posts).await?;
        if answers.len() != posts.len() {
            return Err(Unreachable("an answer is missing".to_owned()));
        }
        let now = (self.clock)();
        for ((entry, post), answer) in posted.into_iter().zip(&posts).zip(&answers) {
            self.answered(entry, post, answer, now);
        }
        Ok(())
    }

    fn answered(&mut self, entry: &Arc<Entry>, post: &Post, answer: &Answer, now: Moment) {
        if let Some(share) = &mut entry.lock().share {
            share.answered(post, answer, now);
            if post.claims.concurrency.own > 0 {
                self.renew_later(entry, share, now);
            }
        }
        entry.answered.notify_waiters();
    }

    fn unanswered(&mut self, entry: &Arc<Entry>, now: Moment) {
        let State { counters, share } = &mut *entry.lock();
        if let Some(share) = share {
            share.unanswered();
            if counters.used(LimitKind::Concurrency, now) > 0 {
                self.renew_later(entry, share, now);
            }
        }
    }

    fn renew_later(&mut self, entry: &Arc<Entry>, share: &mut Share, now: Moment) {
        if !std::mem::replace(&mut share.is_renewed, true) {
            self.renewals
                .push_back((now.plus(RENEW_EVERY_MS), Arc::downgrade(entry)));
        }
    }

    /// A board that was away may have forgotten what runs.
    fn renew_all(&mut self) {
        for (due, _) in &mut self.renewals {
            *due = Moment::default();
        }
    }

    /// Queues what runs and was not posted for long.
    fn renew(&mut self) {
        let now = (self.clock)();
        while let Some((_, entry)) = self.renewals.pop_front_if(|(due, _)| *due <= now) {
            if let Some(entry) = entry.upgrade()
                && let Some(share) = &mut entry.lock().share
            {
                share.is_renewed = false;
                self.sharing.queue(&entry, share, Queued::Soon);
            }
        }
    }

    /// Lets those who wait decide by themselves. What is not posted now is when it is used again, or when the board is back
    /// if requests still run.
    fn give_up(&mut self, batch: &[Arc<Entry>]) {
        let now = (self.clock)();
        for entry in batch {
            self.unanswered(entry, now);
            entry.answered.notify_waiters();
        }
    }

    fn is_away(&mut self, error: &Unreachable) {
        self.sharing.set_down();
        if self.said.replace(Said::Down) != Some(Said::Down) {
            tracing::warn!(%error, "Redis is away: this replica counts rates by itself");
        }
    }
}

/// Each counters once, though they may be in both queues: posted again before the first answer is there, they would take
/// back what that grants.
fn distinct(batch: &[Arc<Entry>]) -> Vec<&Arc<Entry>> {
    let mut seen = HashSet::with_capacity(batch.len());
    batch
        .iter()
        .filter(|entry| seen.insert(Arc::as_ptr(entry)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_replicas_are_gone_is_believed_when_it_is_told_for_long() {
        let sharing = Arc::new(Sharing::new(Duration::ZERO));
        sharing.set_up(3);
        let clock: Clock = Arc::new(Moment::default);
        let mut publisher = Publisher::new((), Arc::clone(&sharing), clock, Timings::default());
        let mut beat = |told| {
            let replicas = publisher.believed(told);
            sharing.set_up(replicas);
            replicas
        };
        let told_and_believed = [(1, 3), (2, 3), (3, 3), (4, 4)];
        for (told, believed) in told_and_believed {
            assert_eq!(beat(told), believed);
        }
        for _ in 1..FEWER_BEATS {
            assert_eq!(beat(1), 4);
        }
        assert_eq!(beat(1), 1);
    }
}
