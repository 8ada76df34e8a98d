//! Upstreams that nobody asks: keys are sealed by hashing them, and accepted unless they have `bad` in them.

use std::fmt::Write as _;

use airouter_api::upstreams::{Health, KeyHealth, Passing, Said, SealingFailed, Tested, Upstreams};
use airouter_auth::{SealedSecret, sha256};
use airouter_billing::{Discount, DiscountBasis, MasterAccountId};
use airouter_store::master_accounts::{MasterAccount, MasterAccountKey, SealedKey};
use async_trait::async_trait;
use rust_decimal::Decimal;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

pub(crate) struct FakeUpstreams;

/// The key itself is nowhere, only whether it is a good one.
fn sealed(text: &str) -> SealedKey {
    let mut fingerprint = String::new();
    for byte in sha256(text.as_bytes()) {
        let _ = write!(fingerprint, "{byte:02x}");
    }
    let is_bad = text.contains("bad");
    SealedKey {
        sealed: SealedSecret::from_bytes(vec![is_bad.into(); 40]),
        fingerprint,
    }
}

#[async_trait]
impl Upstreams for FakeUpstreams {
    fn default_base_url(&self) -> &str {
        "https://upstream.example/api/v1"
    }

    fn default_discount(&self) -> Option<Discount> {
        let basis = DiscountBasis::CreditsBoughtBelowPar;
        Discount::from_percent(Decimal::from(70), basis).ok()
    }

    fn fault_of_address(&self, base_url: &str) -> Option<String> {
        (!base_url.starts_with("http")).then(|| "it is no address".to_owned())
    }

    fn seal_key(
        &self,
        account: MasterAccountId,
        _id: Uuid,
        key: Option<&SecretString>,
    ) -> Result<SealedKey, SealingFailed> {
        let none = account.to_string();
        Ok(sealed(key.map_or(&none, |key| key.expose_secret())))
    }

    fn seal_management_key(
        &self,
        _account: MasterAccountId,
        key: &SecretString,
    ) -> Result<SealedKey, SealingFailed> {
        Ok(sealed(key.expose_secret()))
    }

    fn preview(&self, _account: &MasterAccount, _key: &MasterAccountKey) -> Option<String> {
        Some("sk-…".to_owned())
    }

    fn is_in_environment(&self, _account: &MasterAccount) -> bool {
        false
    }

    async fn test(&self, account: &MasterAccount) -> Tested {
        let keys = account.keys.iter().map(|key| {
            let is_accepted = key.key.sealed.as_bytes()[0] == 0;
            let words = "said in our words".to_owned();
            (key.id, Said { is_accepted, words })
        });
        Tested {
            keys: keys.collect(),
            management_key: None,
        }
    }

    fn health(&self, account: MasterAccountId) -> Option<Health> {
        Some(Health {
            passing: Passing::All,
            in_flight: 2,
            recent: 7,
            keys: vec![KeyHealth {
                key: account.get(),
                passing: Passing::One,
                in_flight: 2,
            }],
        })
    }
}
