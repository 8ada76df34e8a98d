//! What the author of a change has seen of what it changes.

use serde_json::Value;

use crate::error::StoreError;

/// What the author of a change has seen: of two who change the same, the second one is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It does not matter.
    Whatever,
    /// There was no such thing.
    Nothing,
    /// It was described so.
    This(Value),
}

impl Seen {
    /// Whether it still is so.
    pub fn check(&self, now: Option<&Value>) -> Result<(), StoreError> {
        let is_so = match self {
            Self::Whatever => true,
            Self::Nothing => now.is_none(),
            Self::This(seen) => now == Some(seen),
        };
        is_so.then_some(()).ok_or(StoreError::ChangedMeanwhile)
    }
}
