//! The audit log: who did what to what. An entry is written in the transaction of the change that it tells of, and its hash
//! covers all entries before it.

use airouter_auth::{ChainHash, chain_hash, sha256};
use airouter_billing::{Timestamp, UserId};
use async_trait::async_trait;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::{Builder, Uuid};

use crate::error::StoreError;

/// Who does what the command line does.
pub const COMMAND_LINE: &str = "command line";

/// Stands for something that has a name and no id: always the same for a kind (`plan`) and a name.
pub fn named(kind: &str, name: &str) -> Uuid {
    let hash = sha256(format!("{kind}:{name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// A time as entries tell it: RFC 3339 in UTC.
pub fn told_time(at: Timestamp) -> Option<String> {
    at.to_utc()?.format(&Rfc3339).ok()
}

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

/// Which entries, and how many at most.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only those after the one with this number.
    pub after: i64,
    /// Only this action; of `client` all that begin with `client.`.
    pub action: Option<String>,
    /// Only what was done to this.
    pub subject: Option<Uuid>,
    /// Only what this one did.
    pub actor: Option<String>,
    /// Only from then on.
    pub from: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: u16,
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
    /// What somebody without a login does.
    pub fn new(actor: &str, action: &str, subject: Uuid, at: Timestamp) -> Self {
        Self {
            actor: actor.to_owned(),
            actor_id: None,
            address: None,
            action: action.to_owned(),
            subject,
            reason: None,
            before: None,
            after: None,
            at,
        }
    }

    /// The entry with the object `name` of this kind as it was and as it is: of both only the members that differ.
    #[must_use]
    pub fn telling(
        &self,
        kind: &str,
        name: &str,
        before: Option<&Value>,
        after: Option<&Value>,
    ) -> Self {
        let told = |object: Option<&Value>, other: Option<&Value>| {
            let members = object?.as_object()?.iter();
            let mut told: serde_json::Map<String, Value> = members
                .filter(|(member, value)| other.and_then(|other| other.get(member)) != Some(*value))
                .map(|(member, value)| (member.clone(), value.clone()))
                .collect();
            told.entry(kind).or_insert_with(|| json!(name));
            Some(Value::Object(told).to_string())
        };
        Self {
            before: told(before, after),
            after: told(after, before),
            ..self.clone()
        }
    }

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

    /// Entries that a query is for, in their order.
    async fn search_audit_log(&self, query: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError>;

    /// Where the log ends.
    async fn audit_head(&self) -> Result<AuditHead, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_is_always_the_same_subject() {
        assert_eq!(named("plan", "school"), named("plan", "school"));
        assert_ne!(named("plan", "school"), named("tier", "school"));
        assert_ne!(named("plan", "school"), named("plan", "schools"));
    }

    #[test]
    fn a_change_tells_what_differs() {
        let entry = AuditEntry::new(
            COMMAND_LINE,
            "alias.set",
            named("alias", "fast"),
            Timestamp::default(),
        );
        let (before, after) = (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}));
        let read =
            |text: Option<String>| -> Value { serde_json::from_str(&text.unwrap()).unwrap() };
        let told = entry.telling("alias", "fast", Some(&before), Some(&after));
        assert_eq!(read(told.before), json!({"alias": "fast", "b": 2}));
        assert_eq!(read(told.after), json!({"alias": "fast", "b": 3}));
        let added = entry.telling("alias", "fast", None, Some(&after));
        assert_eq!(added.before, None);
        assert_eq!(read(added.after), json!({"alias": "fast", "a": 1, "b": 3}));
    }
}
