//! A breaker that requests of many threads share. As long as all is well they take no lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use airouter_billing::Timestamp;

use super::breaker::{Blow, Breaker, Look, Pass};

/// A breaker, shared.
#[derive(Debug)]
pub(super) struct SharedBreaker {
    breaker: Mutex<Breaker>,
    /// Closed, and no fault is remembered.
    is_calm: AtomicBool,
}

impl Default for SharedBreaker {
    fn default() -> Self {
        Self {
            breaker: Mutex::default(),
            is_calm: AtomicBool::new(true),
        }
    }
}

impl SharedBreaker {
    pub(super) fn look(&self, now: Timestamp) -> Look {
        if self.is_calm() {
            return Look::Closed;
        }
        self.lock().look(now)
    }

    pub(super) fn enter(&self, now: Timestamp) -> Option<Pass> {
        if self.is_calm() {
            return Some(Pass::Usual { began: now });
        }
        self.lock().enter(now)
    }

    pub(super) fn enter_last(&self, now: Timestamp) -> Option<Pass> {
        self.lock().enter_last(now)
    }

    /// Whether this closed it.
    pub(super) fn succeeded(&self, pass: Pass, now: Timestamp) -> bool {
        if self.is_calm() {
            return false;
        }
        self.change(|breaker| {
            let was_closed = breaker.look(now) == Look::Closed;
            breaker.succeeded(pass, now);
            !was_closed && breaker.look(now) == Look::Closed
        })
    }

    /// Whether this opened it.
    pub(super) fn failed(&self, pass: Pass, blow: Blow, now: Timestamp) -> bool {
        self.change(|breaker| breaker.failed(pass, blow, now))
    }

    pub(super) fn abandoned(&self, pass: Pass, now: Timestamp) {
        if matches!(pass, Pass::Probe(_)) {
            self.change(|breaker| breaker.abandoned(pass, now));
        }
    }

    pub(super) fn reset(&self) {
        self.change(Breaker::reset);
    }

    fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Acquire)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.lock();
        let result = change(&mut breaker);
        self.is_calm.store(breaker.is_calm(), Ordering::Release);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
