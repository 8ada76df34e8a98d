//! Second factors of logins: the secret that codes are made of, sealed, and recovery codes.

use airouter_auth::{SealedSecret, TimeStep, TokenHash};
use airouter_billing::{Timestamp, UserId};
use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::error::StoreError;

/// Whether codes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorState {
    /// Not yet: the owner has not shown a first code.
    Pending,
    /// They are.
    On {
        /// Since when.
        since: Timestamp,
        /// Recovery codes that are left.
        recovery_codes: i64,
    },
}

/// A second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// What codes are made of.
    pub secret: SealedSecret,
    /// Whether codes are asked for.
    pub state: FactorState,
}

/// A second factor whose owner has shown the first code.
#[derive(Clone, Debug)]
pub struct ConfirmedFactor {
    /// Whose.
    pub user: UserId,
    /// What the code was made of.
    pub secret: SealedSecret,
    /// Which code it was.
    pub step: TimeStep,
    /// The recovery codes.
    pub recovery_codes: Vec<TokenHash>,
}

/// Second factors.
#[async_trait]
pub trait SecondFactors: Send + Sync + 'static {
    /// The second factor of a user, if there is one.
    async fn second_factor(&self, user: UserId) -> Result<Option<SecondFactor>, StoreError>;

    /// Keeps what codes are going to be made of, in place of what was kept before and is not on. [`StoreError::Exists`] when
    /// the user has one that is on.
    async fn begin_second_factor(
        &self,
        user: UserId,
        secret: &SealedSecret,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Asks for codes from now on. [`StoreError::NotFound`] when the user has none that is pending with this very secret.
    async fn confirm_second_factor(
        &self,
        factor: &ConfirmedFactor,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Uses up the code of a step. Whether it was good: no code is good twice, or after a later one, however many come at once.
    async fn use_time_step(&self, user: UserId, step: TimeStep) -> Result<bool, StoreError>;

    /// Uses up a recovery code. Whether there was one; only then the entry is written.
    async fn use_recovery_code(
        &self,
        user: UserId,
        code: &TokenHash,
        audit: &AuditEntry,
    ) -> Result<bool, StoreError>;

    /// New recovery codes in place of all that are left. [`StoreError::NotFound`] when no second factor is on.
    async fn replace_recovery_codes(
        &self,
        user: UserId,
        codes: &[TokenHash],
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;

    /// Removes a second factor, with its recovery codes. [`StoreError::NotFound`] when there is none.
    async fn remove_second_factor(
        &self,
        user: UserId,
        audit: &AuditEntry,
    ) -> Result<(), StoreError>;
}
