//! The operator's accounts at the upstream: new keys of the environment become master accounts, and all are opened.

use std::fmt::Write as _;

use airouter_auth::{EncryptionKeys, SealContext};
use airouter_billing::{MasterAccountId, Timestamp};
use airouter_store::master_accounts::{MasterAccount, MasterAccountStatus};
use airouter_store::{Store, StoreError};
use anyhow::Context as _;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::config::Upstream;

/// A master account with its key in the clear.
pub(crate) struct OpenedMasterAccount {
    /// The account. Where its key is in the environment, so are its address and, if it was said, its discount.
    pub(crate) account: MasterAccount,
    /// Its key.
    pub(crate) key: SecretString,
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
    let mut opened = opened(store, encryption, upstream).await?;
    opened.retain(|opened| opened.account.status == MasterAccountStatus::Active);
    if opened.is_empty() {
        tracing::warn!("there is no master account: set OPENROUTER_MASTER_KEYS");
    }
    for OpenedMasterAccount { account, key } in &opened {
        tracing::info!(
            name = account.name,
            key = preview(key),
            base_url = account.base_url,
            discount = %account.discount.fraction(),
            basis = account.discount.basis().name(),
            "master account"
        );
        if in_environment(account, upstream).is_none() {
            tracing::warn!(
                name = account.name,
                key = preview(key),
                "a stored master account is not in OPENROUTER_MASTER_KEYS; it serves all the same"
            );
        }
    }
    Ok(opened)
}

/// All accounts, opened, also those that are paused.
pub(crate) async fn opened(
    store: &dyn Store,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
) -> Result<Vec<OpenedMasterAccount>, StoreError> {
    let stored = store.master_accounts().await?;
    Ok(stored
        .into_iter()
        .filter_map(|account| open(account, encryption, upstream))
        .collect())
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
        let fingerprint = fingerprint(key);
        if stored
            .iter()
            .any(|account| account.key_fingerprint == fingerprint)
        {
            continue;
        }
        let id = MasterAccountId::new(Uuid::now_v7());
        let name = free_name(&names);
        names.push(name.clone());
        let account = MasterAccount {
            id,
            name,
            base_url: upstream.base_url.clone(),
            key: encryption.seal(key, &context(&id.to_string()))?,
            key_fingerprint: fingerprint,
            discount: upstream
                .discount_or_default()
                .context("the default discount is no discount")?,
            status: MasterAccountStatus::Active,
        };
        match store.add_master_account(&account, at).await {
            Ok(()) => tracing::info!(name = account.name, "a new master account"),
            // Another process was quicker.
            Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error).context("a master account can't be stored"),
        }
    }
    Ok(())
}

fn open(
    mut account: MasterAccount,
    encryption: &EncryptionKeys,
    upstream: &Upstream,
) -> Option<OpenedMasterAccount> {
    if let Some(key) = in_environment(&account, upstream).cloned() {
        account.base_url.clone_from(&upstream.base_url);
        account.discount = upstream.discount.unwrap_or(account.discount);
        return Some(OpenedMasterAccount { account, key });
    }
    match encryption.open(&account.key, &context(&account.id.to_string())) {
        Ok(key) => Some(OpenedMasterAccount { account, key }),
        Err(error) => {
            tracing::error!(name = account.name, %error, "the key of a master account can't be opened");
            None
        }
    }
}

/// The key of an account, if the environment names it.
fn in_environment<'a>(account: &MasterAccount, upstream: &'a Upstream) -> Option<&'a SecretString> {
    upstream
        .master_keys
        .iter()
        .find(|key| fingerprint(key) == account.key_fingerprint)
}

/// Where the key of a master account is stored; it opens nowhere else.
const fn context(row: &str) -> SealContext<'_> {
    SealContext {
        table: "master_accounts",
        column: "sealed_key",
        row,
    }
}

/// SHA-256 of a key in hex, to recognize it.
fn fingerprint(key: &SecretString) -> String {
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.expose_secret().as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `sk-or-v1-…xyz`: enough to recognize a key, too little to use it.
fn preview(key: &SecretString) -> String {
    let text = key.expose_secret();
    let start = text.get(..9).unwrap_or_default();
    let end = text.get(text.len().saturating_sub(3)..).unwrap_or_default();
    if text.len() < 24 {
        "…".to_owned()
    } else {
        format!("{start}…{end}")
    }
}

fn free_name(taken: &[String]) -> String {
    (1..)
        .map(|number| format!("openrouter-{number}"))
        .find(|name| !taken.contains(name))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use airouter_billing::{Discount, DiscountBasis};
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
            discount: None,
            default_model: None,
            https_proxy: None,
        }
    }

    async fn store(directory: &tempfile::TempDir) -> SqliteStore {
        let path = directory.path().join("test.db");
        SqliteStore::open(&path, OpenMode::Tool).await.unwrap()
    }

    fn names(opened: &[OpenedMasterAccount]) -> Vec<(&str, &str)> {
        opened
            .iter()
            .map(|opened| (opened.account.name.as_str(), opened.key.expose_secret()))
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

    #[test]
    fn names_count_up_and_skip_what_is_taken() {
        assert_eq!(free_name(&[]), "openrouter-1");
        let taken = ["openrouter-1".to_owned(), "openrouter-3".to_owned()];
        assert_eq!(free_name(&taken), "openrouter-2");
    }
}
