//! Erasing a person. What is personal goes; ids, money and usage stay, and so does the chain of the audit log.
//!
//! An entry of the audit log that is erased keeps its hash, and who, what and when as ids. It names the entry that tells of
//! the erasure, which has a digest of what is left of all entries that name it: so none can be erased that is not told of,
//! and what is left of them can't be changed.

use airouter_auth::{ChainHash, chain_hash};
use airouter_billing::{AccountId, Nanos, UserId};
use async_trait::async_trait;
use serde_json::json;

use crate::audit::{AuditEntry, AuditRecord};
use crate::error::StoreError;

/// What stands where something personal was.
pub const ERASED: &str = "erased";
/// The action of the entry that tells of an erasure.
pub const ERASE: &str = "client.erase";

/// The e-mail address of a login that was erased: nobody can have it.
pub fn erased_email(user: UserId) -> String {
    format!("{}@erased.invalid", user.get().simple())
}

/// What became of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// The person is erased.
    Yes,
    /// The account is no person's, or its person was erased before.
    NoPerson,
    /// An administrator can't be erased.
    Administrator,
    /// The person has or owes this: it must be booked first.
    BalanceLeft(Nanos),
    /// An organization would be left without an owner.
    LastOwner,
}

/// What is left of erased entries: how many, and a digest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    entries: u64,
    digest: ChainHash,
}

impl Remains {
    /// Goes on with an entry, in the order of their numbers.
    pub fn add(&mut self, record: &AuditRecord) {
        let entry = &record.entry;
        let actor = entry.actor_id.map(|id| id.get().into_bytes());
        // What it tells of other entries stays, too.
        let vouches = entry.after.as_deref().filter(|_| entry.action == ERASE);
        self.entries = self.entries.saturating_add(1);
        self.digest = chain_hash(
            &self.digest,
            &[
                Some(&record.number.to_be_bytes()),
                Some(&entry.at.as_micros().to_be_bytes()),
                actor.as_ref().map(<[u8; 16]>::as_slice),
                Some(entry.action.as_bytes()),
                Some(entry.subject.as_bytes()),
                Some(&record.hash),
                vouches.map(str::as_bytes),
            ],
        );
    }

    /// As the entry that tells of the erasure has it in `after`.
    pub fn told(&self) -> String {
        let digest: String = self
            .digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        json!({ "audit_entries": self.entries, "audit_digest": digest }).to_string()
    }
}

/// Erasing people.
#[async_trait]
pub trait Erasure: Send + Sync + 'static {
    /// Erases the person to whom an account belongs, at the time of the entry; or changes nothing.
    ///
    /// Login and account are disabled for good, with a name and an e-mail address that say nothing: the address can
    /// register again, as somebody new. Sessions are gone, keys are revoked, memberships and open invitations end. Of keys,
    /// operator tokens and invitations names and addresses go, and kept answers. Of the audit log go who (where it was this
    /// person), from where, why, before and after of every entry by this person, about what was this person's, or with the
    /// e-mail address in it. The ledger and usage events stay as they are. [`StoreError::NotFound`] when there is no such
    /// account.
    async fn erase_client(
        &self,
        account: AccountId,
        audit: &AuditEntry,
    ) -> Result<Erased, StoreError>;
}
