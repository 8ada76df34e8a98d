//! Upstreams as the operator sees them: keys are sealed and opened, accounts tested, and their health at this replica told.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use airouter_api::upstreams::{Health, KeyHealth, Passing, Said, SealingFailed, Tested, Upstreams};
use airouter_auth::EncryptionKeys;
use airouter_billing::{Discount, MasterAccountId};
use airouter_openrouter::{ControlClient, ControlError, ControlTimeouts};
use airouter_proxy::clock::Clock as _;
use airouter_proxy::masters::{self, Master, Masters};
use airouter_store::master_accounts::{MasterAccount, MasterAccountKey, SealedKey, UpstreamKind};
use async_trait::async_trait;
use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::clock::SystemClock;
use crate::config::Upstream;
use crate::master_accounts::{self, OpenedMasterAccount};
use crate::masters::control_client;

/// A test takes no longer.
const TEST_TIMEOUTS: ControlTimeouts = ControlTimeouts {
    connect: Duration::from_secs(5),
    call: Duration::from_secs(10),
};
const ACCEPTED: &str = "accepted";

/// The master accounts that requests know, for whoever asks how they are.
#[derive(Clone, Default)]
pub(crate) struct MasterBoard(Arc<RwLock<HashMap<MasterAccountId, Arc<Master>>>>);

impl MasterBoard {
    /// Shows these, and no others.
    pub(crate) fn show(&self, masters: &Masters) {
        let known = masters
            .known()
            .map(|master| (master.id, Arc::clone(master)))
            .collect();
        if let Ok(mut board) = self.0.write() {
            *board = known;
        }
    }

    fn get(&self, account: MasterAccountId) -> Option<Arc<Master>> {
        self.0.read().ok()?.get(&account).cloned()
    }
}

/// The upstreams of this program.
pub(crate) struct OperatorUpstreams {
    pub(crate) encryption: EncryptionKeys,
    pub(crate) upstream: Upstream,
    /// Empty where no request is served.
    pub(crate) board: MasterBoard,
}

impl OperatorUpstreams {
    fn open(&self, account: &MasterAccount) -> OpenedMasterAccount {
        master_accounts::open(account.clone(), &self.encryption, &self.upstream)
    }

    fn control(&self, base_url: &str) -> Result<ControlClient, String> {
        ControlClient::new(base_url, TEST_TIMEOUTS, self.upstream.https_proxy.as_ref())
            .map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Upstreams for OperatorUpstreams {
    fn default_base_url(&self) -> &str {
        &self.upstream.base_url
    }

    fn default_discount(&self) -> Option<Discount> {
        self.upstream.discount_or_default()
    }

    fn fault_of_address(&self, base_url: &str) -> Option<String> {
        let fault = control_client(base_url, &self.upstream).err()?;
        Some(format!("{fault:#}"))
    }

    fn seal_key(
        &self,
        account: MasterAccountId,
        id: Uuid,
        key: Option<&SecretString>,
    ) -> Result<SealedKey, SealingFailed> {
        let sealed = match key {
            Some(key) => master_accounts::seal_key(&self.encryption, account, id, key)
                .map(|sealed| sealed.key),
            None => master_accounts::seal_no_key(&self.encryption, account),
        };
        sealed.map_err(|_| SealingFailed)
    }

    fn seal_management_key(
        &self,
        account: MasterAccountId,
        key: &SecretString,
    ) -> Result<SealedKey, SealingFailed> {
        master_accounts::seal_management_key(&self.encryption, account, key)
            .map_err(|_| SealingFailed)
    }

    fn preview(&self, account: &MasterAccount, key: &MasterAccountKey) -> Option<String> {
        let opened = master_accounts::open_key(account, key, &self.encryption, &self.upstream)?;
        Some(master_accounts::preview(&opened))
    }

    fn is_in_environment(&self, account: &MasterAccount) -> bool {
        master_accounts::is_in_environment(account, &self.upstream)
    }

    async fn test(&self, account: &MasterAccount) -> Tested {
        let opened = self.open(account);
        let control = self.control(&opened.account.base_url);
        let asked = account.keys.iter().map(|key| {
            let opened = opened.keys.iter().find(|(id, _)| *id == key.id);
            let (kind, control) = (account.kind, &control);
            async move {
                let said = match (opened, control) {
                    (None, _) => refused("the key can't be opened"),
                    (Some(_), Err(fault)) => refused(fault),
                    (Some((_, secret)), Ok(control)) => ask(control, kind, secret).await,
                };
                (key.id, said)
            }
        });
        let management = async {
            let key = opened.management_key.as_ref()?;
            Some(match &control {
                Ok(control) => ask_for_credit(control, key).await,
                Err(fault) => refused(fault),
            })
        };
        let (keys, management_key) = tokio::join!(join_all(asked), management);
        Tested {
            keys,
            management_key,
        }
    }

    fn health(&self, account: MasterAccountId) -> Option<Health> {
        let health = self.board.get(account)?.health(SystemClock.now());
        let keys = health.keys.iter().map(|key| KeyHealth {
            key: key.id,
            passing: passing(key.passing),
            in_flight: key.in_flight,
        });
        Some(Health {
            passing: passing(health.passing),
            in_flight: health.in_flight,
            recent: health.recent,
            keys: keys.collect(),
        })
    }
}

fn passing(passing: masters::Passing) -> Passing {
    match passing {
        masters::Passing::All => Passing::All,
        masters::Passing::One => Passing::One,
        masters::Passing::None { until } => Passing::None(until),
    }
}

fn refused(words: &str) -> Said {
    Said {
        is_accepted: false,
        words: words.to_owned(),
    }
}

fn said<T>(answer: Result<T, ControlError>, words: impl FnOnce(T) -> String) -> Said {
    match answer {
        Ok(answer) => Said {
            is_accepted: true,
            words: words(answer),
        },
        Err(error) => refused(&error.to_string()),
    }
}

async fn ask(control: &ControlClient, kind: UpstreamKind, key: &SecretString) -> Said {
    let answer = match kind {
        UpstreamKind::OpenRouter => control.key(key).await.map(drop),
        UpstreamKind::Compatible => control.models(key_if_any(key)).await.map(drop),
    };
    said(answer, |()| ACCEPTED.to_owned())
}

async fn ask_for_credit(control: &ControlClient, key: &SecretString) -> Said {
    said(control.credits(key).await, |credits| {
        let (bought, used) = (&credits.total_credits, &credits.total_usage);
        format!(
            "accepted, bought {} and used {} USD",
            bought.as_str(),
            used.as_str()
        )
    })
}

/// What is sent to a server as a key, if it wants one.
pub(crate) fn key_if_any(key: &SecretString) -> Option<&SecretString> {
    Some(key).filter(|key| !key.expose_secret().is_empty())
}
