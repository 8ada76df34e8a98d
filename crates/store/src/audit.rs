//! The audit log: who did what to what. An entry is written in the transaction of the change that it tells of, and its hash
//! covers all entries before it.

use airouter_auth::{ChainHash, chain_hash};
use airouter_billing::{Timestamp, UserId};
use async_trait::async_trait;
use uuid::Uuid;

use crate::error::StoreError;

/// What was done, to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who did it: an e-mail address, or `command line`.
    pub actor: String,
    /// Whose login that is.
    pub actor_id: Option<UserId>,
    /// From where.
    pub address: Option<String>,
    /// What was done: `client.credit`.
    pub action: String,
    /// To what: the id of an account, or of what the action names.
    pub subject: Uuid,
    /// Why.
    pub reason: Option<String>,
    /// What it was, as JSON.
    pub before: Option<String>,
    /// What it is now, as JSON.
    pub after: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// An entry as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its place, from 1 without gaps.
    pub number: i64,
    /// What was done.
    pub entry: AuditEntry,
    /// Covers it and all before it.
    pub hash: ChainHash,
}

/// Where the log ends, as it is kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The last entry's number; 0 before the first.
    pub number: i64,
    /// The last entry's hash; zeros before the first.
    pub hash: ChainHash,
}

impl AuditEntry {
    /// The entry with one value as it was and as it is.
    #[must_use]
    pub fn of_change(&self, name: &str, before: &str, after: &str) -> Self {
        let json = |value: &str| serde_json::json!({ name: value }).to_string();
        Self {
            before: Some(json(before)),
            after: Some(json(after)),
            ..self.clone()
        }
    }

    /// The hash of this entry as the one that follows `head`.
    pub fn hash_after(&self, head: &AuditHead) -> ChainHash {
        let number = head.number.saturating_add(1).to_be_bytes();
        let at = self.at.as_micros().to_be_bytes();
        let text = |text: &Option<String>| text.clone().map(String::into_bytes);
        let (address, reason) = (text(&self.address), text(&self.reason));
        let (before, after) = (text(&self.before), text(&self.after));
        let actor_id = self.actor_id.map(|id| id.get().into_bytes());
        chain_hash(
            &head.hash,
            &[
                Some(&number),
                Some(&at),
                Some(self.actor.as_bytes()),
                actor_id.as_ref().map(<[u8; 16]>::as_slice),
                address.as_deref(),
                Some(self.action.as_bytes()),
                Some(self.subject.as_bytes()),
                reason.as_deref(),
                before.as_deref(),
                after.as_deref(),
            ],
        )
    }
}

/// What [`verify_audit`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditVerification {
    /// So many entries, all as they were written.
    Whole(i64),
    /// The first entry that is not as it was written, or is missing.
    Broken(i64),
}

/// Walks the log and looks whether every entry is there and as it was written.
pub async fn verify_audit(log: &(impl Audit + ?Sized)) -> Result<AuditVerification, StoreError> {
    const PAGE: u16 = 1_000;
    // What is added meanwhile comes after it.
    let end = log.audit_head().await?;
    let mut head = AuditHead {
        number: 0,
        hash: [0; 32],
    };
    while head.number < end.number {
        let page = log.audit_log(head.number, PAGE).await?;
        if page.is_empty() {
            return Ok(AuditVerification::Broken(head.number + 1));
        }
        for record in page {
            let expected = head.number + 1;
            if record.number != expected || record.hash != record.entry.hash_after(&head) {
                return Ok(AuditVerification::Broken(expected));
            }
            head = AuditHead {
                number: record.number,
                hash: record.hash,
            };
            if head.number == end.number {
                break;
            }
        }
    }
    if head.hash == end.hash {
        Ok(AuditVerification::Whole(end.number))
    } else {
        Ok(AuditVerification::Broken(end.number))
    }
}

/// The audit log.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// At most `limit` entries after the one with number `after`, in their order.
    async fn audit_log(&self, after: i64, limit: u16) -> Result<Vec<AuditRecord>, StoreError>;

    /// Where the log ends.
    async fn audit_head(&self) -> Result<AuditHead, StoreError>;
}
