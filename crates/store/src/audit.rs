//! The audit log: who did what to what. An entry is written in the transaction of the change that it tells of, and its hash
//! covers all entries before it.

use std::collections::BTreeMap;

use airouter_auth::{ChainHash, chain_hash, random_id, sha256};
use airouter_billing::{Timestamp, UserId};
use async_trait::async_trait;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::{Builder, Uuid};

use crate::erasure::{ERASE, Remains};
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
    /// What the hash covers beside it, so that nobody can try out what was in it once it is erased. Entries of old have
    /// none.
    pub salt: Option<Uuid>,
    /// The entry that tells of its erasure (see [`crate::erasure`]).
    pub erased_by: Option<i64>,
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

    /// The hash of this entry as the one that follows `head`, with its salt if it has one.
    pub fn hash_after(&self, head: &AuditHead, salt: Option<Uuid>) -> ChainHash {
        let number = head.number.saturating_add(1).to_be_bytes();
        let at = self.at.as_micros().to_be_bytes();
        let text = |text: &Option<String>| text.clone().map(String::into_bytes);
        let (address, reason) = (text(&self.address), text(&self.reason));
        let (before, after) = (text(&self.before), text(&self.after));
        let actor_id = self.actor_id.map(|id| id.get().into_bytes());
        let mut fields = vec![
            Some(number.as_slice()),
            Some(&at),
            Some(self.actor.as_bytes()),
            actor_id.as_ref().map(<[u8; 16]>::as_slice),
            address.as_deref(),
            Some(self.action.as_bytes()),
            Some(self.subject.as_bytes()),
            reason.as_deref(),
            before.as_deref(),
            after.as_deref(),
        ];
        fields.extend(salt.as_ref().map(|salt| Some(salt.as_bytes().as_slice())));
        chain_hash(&head.hash, &fields)
    }
}

/// A new salt for an entry.
pub fn salt() -> Result<Uuid, StoreError> {
    random_id().map_err(|error| StoreError::Unavailable(Box::new(error)))
}

/// What [`verify_audit`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditVerification {
    /// So many entries, all as they were written.
    Whole(i64),
    /// The first entry that is not as it was written, or is missing.
    Broken(i64),
}

/// Walks the log and looks whether every entry is there and as it was written. Of entries that were erased, what is left of
/// them must be as the entry says that tells of it.
pub async fn verify_audit(log: &(impl Audit + ?Sized)) -> Result<AuditVerification, StoreError> {
    // Somebody may be erased while the log is walked: then entries name one that was not there at the beginning.
    const MOST_WALKS: u8 = 3;
    let mut seen = AuditVerification::Broken(1);
    for _ in 0..MOST_WALKS {
        let end = log.audit_head().await?;
        seen = walk(log, &end).await?;
        if matches!(seen, AuditVerification::Whole(_)) || log.audit_head().await? == end {
            break;
        }
    }
    Ok(seen)
}

/// What is left of erased entries, by the entry that tells of their erasure: the first one's number, and all of them.
type Erasures = BTreeMap<i64, (i64, Remains)>;

async fn walk(
    log: &(impl Audit + ?Sized),
    end: &AuditHead,
) -> Result<AuditVerification, StoreError> {
    const PAGE: u16 = 1_000;
    let mut head = AuditHead {
        number: 0,
        hash: [0; 32],
    };
    let mut erasures = Erasures::new();
    while head.number < end.number {
        let page = log.audit_log(head.number, PAGE).await?;
        if page.is_empty() {
            return Ok(AuditVerification::Broken(head.number + 1));
        }
        for record in page {
            let expected = head.number + 1;
            if record.number != expected || !holds(&record, &head, &mut erasures) {
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
    if let Some(untold) = erasures.values().map(|(first, _)| *first).min() {
        return Ok(AuditVerification::Broken(untold));
    }
    if head.hash == end.hash {
        Ok(AuditVerification::Whole(end.number))
    } else {
        Ok(AuditVerification::Broken(end.number))
    }
}

/// Whether an entry is as it was written, or what is left of one that is erased.
fn holds(record: &AuditRecord, head: &AuditHead, erasures: &mut Erasures) -> bool {
    match record.erased_by {
        None if record.hash != record.entry.hash_after(head, record.salt) => return false,
        None => {}
        Some(by) if by <= record.number => return false,
        Some(by) => {
            let (_, remains) = erasures
                .entry(by)
                .or_insert((record.number, Remains::default()));
            remains.add(record);
        }
    }
    if record.entry.action != ERASE {
        return true;
    }
    let (_, remains) = erasures.remove(&record.number).unwrap_or_default();
    record.entry.after == Some(remains.told())
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
    use crate::erasure::ERASED;
    use futures_util::FutureExt as _;

    /// A log in memory.
    #[derive(Default)]
    struct Log(Vec<AuditRecord>);

    impl Log {
        fn head(&self) -> AuditHead {
            let last = self.0.last();
            AuditHead {
                number: last.map_or(0, |last| last.number),
                hash: last.map_or([0; 32], |last| last.hash),
            }
        }

        fn write(&mut self, action: &str, salt: Option<Uuid>, after: Option<String>) {
            let mut entry =
                AuditEntry::new("ann@example.com", action, Uuid::nil(), Timestamp::default());
            entry.after = after;
            let head = self.head();
            self.0.push(AuditRecord {
                number: head.number + 1,
                hash: entry.hash_after(&head, salt),
                entry,
                salt,
                erased_by: None,
            });
        }

        fn blank(&mut self, index: usize, by: i64) {
            let record = &mut self.0[index];
            ERASED.clone_into(&mut record.entry.actor);
            if record.entry.action != ERASE {
                record.entry.after = None;
            }
            record.salt = None;
            record.erased_by.get_or_insert(by);
        }

        /// As an adapter does it.
        fn erase(&mut self, entries: &[usize]) {
            let by = self.head().number + 1;
            let mut remains = Remains::default();
            for &index in entries {
                if self.0[index].erased_by.is_none() {
                    remains.add(&self.0[index]);
                }
                self.blank(index, by);
            }
            self.write(ERASE, Some(Uuid::from_u128(9)), Some(remains.told()));
        }

        /// Nothing in it waits.
        fn verified(&self) -> AuditVerification {
            verify_audit(self).now_or_never().unwrap().unwrap()
        }
    }

    #[async_trait]
    impl Audit for Log {
        async fn audit_log(&self, after: i64, limit: u16) -> Result<Vec<AuditRecord>, StoreError> {
            let later = self.0.iter().filter(|record| record.number > after);
            Ok(later.take(usize::from(limit)).cloned().collect())
        }

        async fn search_audit_log(&self, _: &AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
            Ok(Vec::new())
        }

        async fn audit_head(&self) -> Result<AuditHead, StoreError> {
            Ok(self.head())
        }
    }

    fn log() -> Log {
        let mut log = Log::default();
        // One of the version before, and two of this one.
        log.write("client.change", None, Some("ann@example.com".to_owned()));
        log.write("client.change", Some(Uuid::from_u128(1)), None);
        log.write("client.change", Some(Uuid::from_u128(2)), None);
        log
    }

    #[test]
    fn what_is_erased_and_told_of_holds() {
        let mut log = log();
        assert_eq!(log.verified(), AuditVerification::Whole(3));
        log.erase(&[0, 1]);
        assert_eq!(log.verified(), AuditVerification::Whole(4));
        // Who erased is erased later: what that entry says of others stays.
        log.erase(&[1, 2, 3]);
        log.write("client.change", Some(Uuid::from_u128(3)), None);
        assert_eq!(log.verified(), AuditVerification::Whole(6));
    }

    #[test]
    fn what_nobody_tells_of_is_found() {
        let mut untold = log();
        untold.erase(&[0]);
        untold.blank(1, 4);
        assert_eq!(untold.verified(), AuditVerification::Broken(4));
        let mut invented = log();
        invented.blank(1, 99);
        assert_eq!(invented.verified(), AuditVerification::Broken(2));
        let mut altered = log();
        altered.erase(&[0]);
        altered.0[0].entry.action = "client.delete".to_owned();
        assert_eq!(altered.verified(), AuditVerification::Broken(4));
        let mut earlier = log();
        earlier.blank(1, 1);
        assert_eq!(earlier.verified(), AuditVerification::Broken(2));
        let mut resalted = log();
        resalted.0[1].salt = None;
        assert_eq!(resalted.verified(), AuditVerification::Broken(2));
    }

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
