//! One value for each kind of limit.

use std::ops::{Index, IndexMut};

use crate::LimitKind;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByKind<T> {
    pub(crate) requests: T,
    pub(crate) tokens: T,
    pub(crate) concurrency: T,
}

impl LimitKind {
    pub(crate) const ALL: [Self; 3] = [Self::Requests, Self::Tokens, Self::Concurrency];
}

impl<T> ByKind<T> {
    pub(crate) fn of(mut value: impl FnMut(LimitKind) -> T) -> Self {
        Self {
            requests: value(LimitKind::Requests),
            tokens: value(LimitKind::Tokens),
            concurrency: value(LimitKind::Concurrency),
        }
    }
}

impl<T> Index<LimitKind> for ByKind<T> {
    type Output = T;

    fn index(&self, kind: LimitKind) -> &T {
        match kind {
            LimitKind::Requests => &self.requests,
            LimitKind::Tokens => &self.tokens,
            LimitKind::Concurrency => &self.concurrency,
        }
    }
}

impl<T> IndexMut<LimitKind> for ByKind<T> {
    fn index_mut(&mut self, kind: LimitKind) -> &mut T {
        match kind {
            LimitKind::Requests => &mut self.requests,
            LimitKind::Tokens => &mut self.tokens,
            LimitKind::Concurrency => &mut self.concurrency,
        }
    }
}
