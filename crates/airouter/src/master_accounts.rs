//! The operator's accounts at the upstream: new keys of the environment become master accounts, and all are opened.

use std::fmt::Write as _;

use airouter_api::inventory::master_accounts::free_name;
use airouter_auth::{EncryptionKeys, SealContext};
use airouter_billing::{MasterAccountId, Timestamp};
use airouter_store::audit::AuditEntry;
use airouter_store::master_accounts::{
    MasterAccount, MasterAccountChange, MasterAccountKey, MasterAccountStatus, NO_KEY,
    NewMasterAccount, SealedKey, UpstreamKind,
};
use airouter_store::{Seen, Store, StoreError};
use anyhow::Context as _;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::config::Upstream;

/// Who brings what a server finds in its environment, in the audit log.
pub(crate) const ENVIRONMENT: &str = "environment";

/// A master account with its keys in the clear.
pub(crate) struct OpenedMasterAccount {
    /// The account. Where one of its keys is in the environment, so are its address and, if it was said, its discount.
    pub(crate) account: MasterAccount,
    /// Its inference keys by their ids: at least one.
    pub(crate) keys: Vec<(Uuid, SecretString)>,
    /// Its management key.
    pub(crate) management_key: Option<SecretString>,
}

/// Stores the environment's keys that are new, and tells which accounts serve and which stored ones the environment
/// lacks.
pub(crate) async fn synchronize(
    store: &dyn Store,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
    at: Timestamp,
) -> anyhow::Result<Vec<OpenedMasterAccount>> {
    add_new(store, encryption, upstream, at).await?;
    assign_management_keys(store, encryption, upstream, at).await?;
    let mut opened = opened(store, encryption, upstream).await?;
    opened.retain(|opened| opened.account.status != MasterAccountStatus::Paused);
    if opened.is_empty() {
        tracing::warn!("there is no master account: set OPENROUTER_MASTER_KEYS");
    }
    for OpenedMasterAccount { account, keys, .. } in &opened {
        let preview = keys.first().map(|(_, key)| preview(key));
        tracing::info!(
            name = account.name,
            key = preview,
            keys = keys.len(),
            kind = account.kind.name(),
            base_url = account.base_url,
            discount = %account.discount.fraction(),
            basis = account.discount.basis().name(),
            "master account"
        );
        if account.kind == UpstreamKind::OpenRouter && !is_in_environment(account, upstream) {
            tracing::warn!(
                name = account.name,
                key = preview,
                "a stored master account is not in OPENROUTER_MASTER_KEYS; it serves all the same"
            );
        }
    }
    Ok(opened)
}

/// All accounts that have a key which can be opened, also those that are paused.
pub(crate) async fn opened(
    store: &dyn Store,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
) -> Result<Vec<OpenedMasterAccount>, StoreError> {
    let stored = store.master_accounts().await?;
    Ok(stored
        .into_iter()
        .map(|account| open(account, encryption, upstream))
        .filter(|opened| !opened.keys.is_empty())
        .collect())
}

async fn is_stored(store: &dyn Store, key: &SecretString) -> anyhow::Result<bool> {
    let stored = store.master_accounts().await?;
    Ok(stored.iter().any(|account| has_key(account, key)))
}

async fn add_new(
    store: &dyn Store,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
    at: Timestamp,
) -> anyhow::Result<()> {
    let stored = store.master_accounts().await?;
    let mut names: Vec<String> = stored.iter().map(|account| account.name.clone()).collect();
    for key in &upstream.master_keys {
        if stored.iter().any(|account| has_key(account, key)) {
            continue;
        }
        let taken: Vec<&str> = names.iter().map(String::as_str).collect();
        let name = free_name(&taken);
        names.push(name.clone());
        let discount = upstream
            .discount_or_default()
            .context("the default discount is no discount")?;
        let id = MasterAccountId::new(Uuid::now_v7());
        let account = NewMasterAccount {
            id,
            name,
            kind: UpstreamKind::OpenRouter,
            base_url: upstream.base_url.clone(),
            key: seal_key(encryption, id, id.get(), key)?.key,
            discount,
        };
        match store
            .add_master_account(&account, &entry("master_account.add", id, at))
            .await
        {
            Ok(()) => tracing::info!(name = account.name, "a new master account"),
            // Another process was quicker.
            Err(StoreError::Exists { .. }) if is_stored(store, key).await? => {}
            Err(error) => return Err(error).context("a master account can't be stored"),
        }
    }
    Ok(())
}

/// An entry of the audit log on what the environment brings.
fn entry(action: &str, account: MasterAccountId, at: Timestamp) -> AuditEntry {
    AuditEntry::new(ENVIRONMENT, action, account.get(), at)
}

/// The n-th management key of the environment is that of its n-th master key's account, if there are as many.
async fn assign_management_keys(
    store: &dyn Store,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
    at: Timestamp,
) -> anyhow::Result<()> {
    let management_keys = &upstream.management_keys;
    if management_keys.is_empty() {
        return Ok(());
    }
    if management_keys.len() != upstream.master_keys.len() {
        tracing::warn!(
            "OPENROUTER_PROVISIONING_KEY has not as many keys as OPENROUTER_MASTER_KEYS, and nobody knows whose they are: \
             assign them with airouter master-accounts set --management-key"
        );
        return Ok(());
    }
    let stored = store.master_accounts().await?;
    for (key, management_key) in upstream.master_keys.iter().zip(management_keys) {
        let Some(account) = stored.iter().find(|account| has_key(account, key)) else {
            continue;
        };
        let known = account.management_key.as_ref();
        if known.is_none_or(|known| known.fingerprint != fingerprint(management_key)) {
            let sealed = seal_management_key(encryption, account.id, management_key)?;
            let change = MasterAccountChange::ManagementKey(Some(sealed));
            let audit = entry("master_account.change", account.id, at);
            store
                .change_master_account(account.id, &Seen::Whatever, &[change], &audit)
                .await?;
        }
    }
    Ok(())
}

/// An account with those of its keys that can be opened.
pub(crate) fn open(
    mut account: MasterAccount,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
) -> OpenedMasterAccount {
    if is_in_environment(&account, upstream) {
        account.base_url.clone_from(&upstream.base_url);
        account.discount = upstream.discount.unwrap_or(account.discount);
    }
    let keys = account
        .keys
        .iter()
        .filter_map(|key| Some((key.id, open_key(&account, key, encryption, upstream)?)))
        .collect();
    let management_key = account.management_key.as_ref().and_then(|key| {
        let row = account.id.to_string();
        let opened = encryption.open(&key.sealed, &management_context(&row));
        opened
            .inspect_err(|error| {
                tracing::error!(name = account.name, %error, "the management key of a master account can't be opened");
            })
            .ok()
    });
    OpenedMasterAccount {
        account,
        keys,
        management_key,
    }
}

/// A key in the clear: the environment's own, if it is there, else the stored one.
pub(crate) fn open_key(
    account: &MasterAccount,
    key: &MasterAccountKey,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
) -> Option<SecretString> {
    let is_this = |known: &&SecretString| fingerprint(known) == key.key.fingerprint;
    if let Some(known) = upstream.master_keys.iter().find(is_this) {
        return Some(known.clone());
    }
    let row = key.id.to_string();
    encryption
        .open(&key.key.sealed, &key_context(account.id, key.id, &row))
        .inspect_err(|error| {
            tracing::error!(name = account.name, %error, "a key of a master account can't be opened");
        })
        .ok()
}

/// Whether the environment names one of its keys.
pub(crate) fn is_in_environment(account: &MasterAccount, upstream: &Upstream) -> bool {
    upstream.master_keys.iter().any(|key| has_key(account, key))
}

fn has_key(account: &MasterAccount, key: &SecretString) -> bool {
    let fingerprint = fingerprint(key);
    account
        .keys
        .iter()
        .any(|known| known.key.fingerprint == fingerprint)
}

/// Seals an inference key of an account; the first one has the account's id.
pub(crate) fn seal_key(
    encryption: &EncryptionKeys,
    account: MasterAccountId,
    id: Uuid,
    key: &SecretString,
) -> anyhow::Result<MasterAccountKey> {
    let row = id.to_string();
    let sealed = encryption.seal(key, &key_context(account, id, &row))?;
    Ok(MasterAccountKey {
        id,
        key: SealedKey {
            sealed,
            fingerprint: fingerprint(key),
        },
    })
}

/// What stands for a key at an upstream that wants none: each account has one of its own.
pub(crate) fn seal_no_key(
    encryption: &EncryptionKeys,
    account: MasterAccountId,
) -> anyhow::Result<SealedKey> {
    let sealed = seal_key(encryption, account, account.get(), &SecretString::from(""))?;
    Ok(SealedKey {
        fingerprint: format!("{NO_KEY} {account}"),
        ..sealed.key
    })
}

/// Seals the management key of an account.
pub(crate) fn seal_management_key(
    encryption: &EncryptionKeys,
    account: MasterAccountId,
    key: &SecretString,
) -> anyhow::Result<SealedKey> {
    let row = account.to_string();
    Ok(SealedKey {
        sealed: encryption.seal(key, &management_context(&row))?,
        fingerprint: fingerprint(key),
    })
}

/// Where a key is stored; it opens nowhere else. The first key of an account is in the account's own row.
fn key_context(account: MasterAccountId, id: Uuid, row: &str) -> SealContext<'_> {
    SealContext {
        table: if id == account.get() {
            "master_accounts"
        } else {
            "master_account_keys"
        },
        column: "sealed_key",
        row,
    }
}

const fn management_context(row: &str) -> SealContext<'_> {
    SealContext {
        table: "master_accounts",
        column: "sealed_management_key",
        row,
    }
}

/// SHA-256 of a key in hex, to recognize it.
pub(crate) fn fingerprint(key: &SecretString) -> String {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.expose_secret().as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `sk-or-v1-…xyz`: enough to recognize a key, too little to use it.
pub(crate) fn preview(key: &SecretString) -> String {
    let text = key.expose_secret();
    let start = text.get(..9).unwrap_or_default();
    let end = text.get(text.len().saturating_sub(3)..).unwrap_or_default();
    if text.len() < 24 {
        "…".to_owned()
    } else {
        format!("{start}…{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use airouter_billing::{Discount, DiscountBasis};
    use airouter_store::MasterAccounts as _;
    use airouter_store_sqlite::{OpenMode, SqliteStore};
    use rust_decimal::Decimal;

    const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn encryption() -> EncryptionKeys {
        EncryptionKeys::parse(&EncryptionKeys::generate().unwrap()).unwrap()
    }

    fn upstream(keys: &[&str]) -> Upstream {
        Upstream {
            base_url: "http://upstream/api/v1".to_owned(),
            master_keys: keys.iter().map(|key| SecretString::from(*key)).collect(),
            management_keys: Vec::new(),
            discount: None,
            default_model: None,
            https_proxy: None,
            stream_headers: Duration::from_secs(30),
            credit_every: Duration::from_secs(60),
            reconcile_after: None,
        }
    }

    async fn store(directory: &tempfile::TempDir) -> SqliteStore {
        let path = directory.path().join("test.db");
        SqliteStore::open(&path, OpenMode::Tool).await.unwrap()
    }

    fn names(opened: &[OpenedMasterAccount]) -> Vec<(&str, &str)> {
        opened
            .iter()
            .map(|opened| {
                (
                    opened.account.name.as_str(),
                    opened.keys[0].1.expose_secret(),
                )
            })
            .collect()
    }

    #[tokio::test]
    async fn new_keys_become_accounts_and_those_that_are_gone_still_serve() {
        let directory = tempfile::tempdir().unwrap();
        let (store, encryption) = (store(&directory).await, encryption());
        let first = synchronize(&store, &encryption, &upstream(&["key-a"]), AT).await;
        assert_eq!(names(&first.unwrap()), [("openrouter-1", "key-a")]);
        let second = synchronize(&store, &encryption, &upstream(&["key-b"]), AT).await;
        assert_eq!(
            names(&second.unwrap()),
            [("openrouter-1", "key-a"), ("openrouter-2", "key-b")]
        );
    }

    #[tokio::test]
    async fn the_environment_has_the_last_word_about_its_own_keys() {
        let directory = tempfile::tempdir().unwrap();
        let (store, encryption) = (store(&directory).await, encryption());
        let opened = synchronize(&store, &encryption, &upstream(&["key-a"]), AT).await;
        assert_eq!(
            opened.unwrap()[0].account.discount.fraction(),
            Decimal::new(7, 1)
        );
        let percent = Decimal::from(60);
        let moved = Upstream {
            base_url: "http://elsewhere/api/v1".to_owned(),
            discount: Discount::from_percent(percent, DiscountBasis::CreditsBoughtBelowPar).ok(),
            ..upstream(&["key-a"])
        };
        let opened = synchronize(&store, &encryption, &moved, AT).await.unwrap();
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].account.base_url, "http://elsewhere/api/v1");
        assert_eq!(opened[0].account.discount.fraction(), Decimal::new(6, 1));
    }

    #[tokio::test]
    async fn without_its_encryption_key_a_stored_key_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        synchronize(&store, &encryption(), &upstream(&["key-a"]), AT)
            .await
            .unwrap();
        let opened = synchronize(&store, &encryption(), &upstream(&["key-b"]), AT).await;
        assert_eq!(names(&opened.unwrap()), [("openrouter-2", "key-b")]);
    }

    #[test]
    fn a_short_key_is_not_previewed() {
        assert_eq!(preview(&SecretString::from("sk-or-v1-simulated")), "…");
        let key = SecretString::from("sk-or-v1-0123456789abcdef");
        assert_eq!(preview(&key), "sk-or-v1-…def");
    }

    #[tokio::test]
    async fn management_keys_belong_to_master_keys_of_the_same_place() {
        let directory = tempfile::tempdir().unwrap();
        let (store, encryption) = (store(&directory).await, encryption());
        let managed = |management: &[&str]| Upstream {
            management_keys: management
                .iter()
                .map(|key| SecretString::from(*key))
                .collect(),
            ..upstream(&["key-a", "key-b"])
        };
        let management = |opened: &[OpenedMasterAccount]| -> Vec<Option<String>> {
            let text = |key: &SecretString| key.expose_secret().to_owned();
            let of = |opened: &OpenedMasterAccount| opened.management_key.as_ref().map(text);
            opened.iter().map(of).collect()
        };
        let opened = synchronize(&store, &encryption, &managed(&["one"]), AT).await;
        assert_eq!(management(&opened.unwrap()), [None, None]);
        for keys in [["one", "two"], ["one", "three"]] {
            let opened = synchronize(&store, &encryption, &managed(&keys), AT).await;
            let expected = keys.map(|key| Some(key.to_owned()));
            assert_eq!(management(&opened.unwrap()), expected);
        }
        let opened = synchronize(&store, &encryption, &managed(&[]), AT).await;
        assert_eq!(management(&opened.unwrap())[1].as_deref(), Some("three"));
    }

    #[tokio::test]
    async fn a_second_key_opens_in_its_own_row_only() {
        let directory = tempfile::tempdir().unwrap();
        let (store, encryption) = (store(&directory).await, encryption());
        let upstream = upstream(&["key-a"]);
        let opened_first = synchronize(&store, &encryption, &upstream, AT).await;
        let account = opened_first.unwrap()[0].account.id;
        let second = seal_key(&encryption, account, Uuid::now_v7(), &"key-b".into()).unwrap();
        let moved = MasterAccountKey {
            id: Uuid::now_v7(),
            key: SealedKey {
                fingerprint: "elsewhere".to_owned(),
                ..second.key.clone()
            },
        };
        for key in [&second, &moved] {
            let audit = entry("master_account.add_key", account, AT);
            let added = store.add_master_account_key(account, key, &audit).await;
            added.unwrap();
        }
        let opened = opened(&store, &encryption, &upstream).await.unwrap();
        let keys: Vec<_> = opened[0]
            .keys
            .iter()
            .map(|(_, key)| key.expose_secret())
            .collect();
        assert_eq!(keys, ["key-a", "key-b"]);
    }
}
