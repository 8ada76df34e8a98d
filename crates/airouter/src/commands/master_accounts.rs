//! `airouter master-accounts …`: the operator's accounts at upstreams.

mod arguments;
mod list;
mod prices;

use std::process::ExitCode;

use airouter_auth::EncryptionKeys;
use airouter_billing::{Discount, DiscountBasis, MasterAccountId};
use airouter_proxy::clock::Clock as _;
use airouter_store::master_accounts::{
    Agreement, MasterAccount, MasterAccountChange, MasterAccountStatus, NewMasterAccount,
    UpstreamKind,
};
use airouter_store::{Store, StoreError};
use anyhow::{Context as _, bail};
use rust_decimal::Decimal;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::Context;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::master_accounts::{self, OpenedMasterAccount};
use crate::masters::control_client;
use crate::{database, output, secret_files};

pub(super) use arguments::Command;
use arguments::{Add, AddKey, ManagementKey, Named, RemoveKey, Set};

pub(super) const HELP: &str = "\
Runs beside servers, which follow within a second. Keys are read from standard input or a file, never from the command
line. An account is named by its name or id.

Examples:
  airouter master-accounts list
  airouter master-accounts add --name=second --discount=65 --key-file=./key
  airouter master-accounts set second --weight=2 --most-share=60 --agreement='2026-117' --agreement-ends=2027-06-30
  airouter master-accounts set second --management-key < management.key
  airouter master-accounts drain second
  airouter master-accounts add --kind=compatible --name=spare --base-url=https://llm.example.com/v1 --key-file=./key
  airouter master-accounts prices spare --file=./prices.json";

const BELOW_PAR: DiscountBasis = DiscountBasis::CreditsBoughtBelowPar;
/// Fewer digits would name a key by chance.
const SHORTEST_FINGERPRINT: usize = 8;

/// Does it.
pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<ExitCode> {
    let config = &context.config;
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let tool = Tool {
        store: &*store,
        encryption: secret_files::encryption_keys(config)?,
        config,
    };
    match command {
        Command::List(arguments) => {
            let accounts = store.master_accounts().await?;
            list::print(&accounts, arguments.form(), SystemClock.now())?;
        }
        Command::Add(arguments) => tool.add(arguments).await?,
        Command::Set(arguments) => tool.set(arguments).await?,
        Command::Pause(named) => tool.set_status(named, MasterAccountStatus::Paused).await?,
        Command::Drain(named) => {
            tool.set_status(named, MasterAccountStatus::Draining)
                .await?
        }
        Command::Resume(named) => tool.set_status(named, MasterAccountStatus::Active).await?,
        Command::AddKey(arguments) => tool.add_key(arguments).await?,
        Command::RemoveKey(arguments) => tool.remove_key(arguments).await?,
        Command::Prices(arguments) => tool.prices(arguments).await?,
        Command::Test(named) => return tool.test(named).await,
    }
    Ok(ExitCode::SUCCESS)
}

struct Tool<'a> {
    store: &'a dyn Store,
    encryption: EncryptionKeys,
    config: &'a Config,
}

impl Tool<'_> {
    /// The account of this name or id.
    async fn find(&self, named: &str) -> anyhow::Result<MasterAccount> {
        let accounts = self.store.master_accounts().await?;
        let is_meant =
            |account: &&MasterAccount| account.name == named || account.id.to_string() == named;
        let mut found = accounts.iter().filter(is_meant);
        match (found.next(), found.next()) {
            (Some(account), None) => Ok(account.clone()),
            (None, _) => {
                bail!("there is no master account {named}: see airouter master-accounts list")
            }
            (Some(_), Some(_)) => {
                bail!("more than one master account is called {named}: name it by its id")
            }
        }
    }

    /// A name that no other account has.
    async fn check_name(&self, name: &str, own: Option<MasterAccountId>) -> anyhow::Result<()> {
        let accounts = self.store.master_accounts().await?;
        let is_taken = |account: &MasterAccount| account.name == name && Some(account.id) != own;
        if accounts.iter().any(is_taken) {
            bail!("there is a master account {name} already");
        }
        Ok(())
    }

    async fn add(&self, arguments: Add) -> anyhow::Result<()> {
        let upstream = &self.config.upstream;
        let name = match arguments.name {
            Some(name) => name,
            None => {
                let accounts = self.store.master_accounts().await?;
                let taken: Vec<_> = accounts.into_iter().map(|account| account.name).collect();
                master_accounts::free_name(&taken)
            }
        };
        self.check_name(&name, None).await?;
        let kind = arguments.kind.of_store();
        let default = match kind {
            UpstreamKind::OpenRouter => upstream.discount_or_default(),
            UpstreamKind::Compatible => Discount::new(Decimal::ZERO, BELOW_PAR).ok(),
        };
        let default = default.context("the default discount is no discount")?;
        let discount = discount(default, arguments.discount, arguments.basis)?;
        let base_url = arguments
            .base_url
            .unwrap_or_else(|| upstream.base_url.clone());
        control_client(&base_url, upstream)?;
        let id = MasterAccountId::new(Uuid::now_v7());
        let key = if arguments.no_key {
            master_accounts::seal_no_key(&self.encryption, id)?
        } else {
            let key = arguments.key.read()?;
            master_accounts::seal_key(&self.encryption, id, id.get(), &key)?.key
        };
        let account = NewMasterAccount {
            id,
            name,
            kind,
            base_url,
            key,
            discount,
        };
        self.store
            .add_master_account(&account, SystemClock.now())
            .await
            .context("nothing was added")?;
        output::result(&format!("MASTER_ACCOUNT={}", account.name))?;
        output::result(&format!("ID={id}"))?;
        Ok(())
    }

    async fn set(&self, arguments: Set) -> anyhow::Result<()> {
        let account = self.find(&arguments.named.account).await?;
        let mut changes = Vec::new();
        if let Some(name) = arguments.name {
            self.check_name(&name, Some(account.id)).await?;
            changes.push(MasterAccountChange::Name(name));
        }
        if let Some(base_url) = arguments.base_url {
            control_client(&base_url, &self.config.upstream)?;
            changes.push(MasterAccountChange::BaseUrl(base_url));
        }
        if arguments.discount.is_some() || arguments.basis.is_some() {
            let discount = discount(account.discount, arguments.discount, arguments.basis)?;
            changes.push(MasterAccountChange::Discount(discount));
        }
        changes.extend(arguments.weight.map(MasterAccountChange::Weight));
        if let Some(most_share) = arguments.most_share {
            changes.push(MasterAccountChange::MostShare(most_share.0));
        }
        if arguments.agreement.is_some() || arguments.agreement_ends.is_some() {
            let old = &account.agreement;
            changes.push(MasterAccountChange::Agreement(Agreement {
                reference: arguments
                    .agreement
                    .map_or_else(|| old.reference.clone(), |agreement| agreement.0),
                ends_at: arguments.agreement_ends.map_or(old.ends_at, |ends| ends.0),
            }));
        }
        match arguments.management.wish()? {
            ManagementKey::AsItIs => {}
            ManagementKey::None => changes.push(MasterAccountChange::ManagementKey(None)),
            ManagementKey::Key(_) if account.kind == UpstreamKind::Compatible => {
                bail!("a compatible server has no credit to follow, and no management key");
            }
            ManagementKey::Key(key) => {
                let key = master_accounts::seal_management_key(&self.encryption, account.id, &key)?;
                changes.push(MasterAccountChange::ManagementKey(Some(key)));
            }
        }
        if changes.is_empty() {
            bail!("nothing to set: see airouter master-accounts set --help");
        }
        self.remark_on_environment(&account);
        self.store
            .change_master_account(account.id, &changes)
            .await
            .context("nothing was changed")?;
        Ok(())
    }

    /// The environment has the last word about its own keys.
    fn remark_on_environment(&self, account: &MasterAccount) {
        let upstream = &self.config.upstream;
        if master_accounts::is_in_environment(account, upstream) {
            output::remark(
                "its key is in OPENROUTER_MASTER_KEYS: OPENROUTER_BASE_URL, and OPENROUTER_DISCOUNT_PERCENT where it is \
                 set, prevail over what is stored",
            );
        }
    }

    async fn set_status(&self, named: Named, status: MasterAccountStatus) -> anyhow::Result<()> {
        let account = self.find(&named.account).await?;
        let change = MasterAccountChange::Status(status);
        self.store
            .change_master_account(account.id, &[change])
            .await?;
        Ok(())
    }

    async fn add_key(&self, arguments: AddKey) -> anyhow::Result<()> {
        let account = self.find(&arguments.named.account).await?;
        let key = arguments.key.read()?;
        let sealed = master_accounts::seal_key(&self.encryption, account.id, Uuid::now_v7(), &key)?;
        self.store
            .add_master_account_key(account.id, &sealed, SystemClock.now())
            .await
            .context("nothing was added")?;
        let shown = list::shown_fingerprint(&sealed.key.fingerprint);
        output::result(&format!("KEY={shown}"))?;
        Ok(())
    }

    async fn remove_key(&self, arguments: RemoveKey) -> anyhow::Result<()> {
        let account = self.find(&arguments.named.account).await?;
        if arguments.key.len() < SHORTEST_FINGERPRINT {
            bail!("a key is named by at least {SHORTEST_FINGERPRINT} digits of its fingerprint");
        }
        let is_meant = |key: &&airouter_store::master_accounts::MasterAccountKey| {
            key.key.fingerprint.starts_with(&arguments.key)
        };
        let Some(key) = account.keys.iter().find(is_meant) else {
            bail!("{} has no key {}", account.name, arguments.key);
        };
        if account.keys.len() == 1 && account.status != MasterAccountStatus::Paused {
            bail!("this is its last key: add another one first, or pause the account");
        }
        let known = &self.config.upstream.master_keys;
        if known
            .iter()
            .any(|known| master_accounts::fingerprint(known) == key.key.fingerprint)
        {
            output::remark(
                "it is in OPENROUTER_MASTER_KEYS: remove it there too, or it comes back at the next start",
            );
        }
        match self
            .store
            .remove_master_account_key(account.id, key.id)
            .await
        {
            // Somebody was quicker.
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the upstream with each key. Exit code 1 if one is not accepted.
    async fn test(&self, named: Named) -> anyhow::Result<ExitCode> {
        let account = self.find(&named.account).await?;
        let upstream = &self.config.upstream;
        let opened = master_accounts::opened(self.store, &self.encryption, upstream).await?;
        let Some(OpenedMasterAccount {
            account,
            keys,
            management_key,
        }) = opened
            .into_iter()
            .find(|opened| opened.account.id == account.id)
        else {
            bail!("{} has no key that can be opened", account.name);
        };
        let control = control_client(&account.base_url, upstream)?;
        let mut all_well = keys.len() == account.keys.len();
        for (_, key) in &keys {
            let said = match account.kind {
                UpstreamKind::OpenRouter => control.key(key).await.map(drop),
                UpstreamKind::Compatible => control.models(key_if_any(key)).await.map(drop),
            };
            all_well &= said.is_ok();
            let said = match said {
                Ok(()) => "accepted".to_owned(),
                Err(error) => error.to_string(),
            };
            let fingerprint = master_accounts::fingerprint(key);
            let shown = key_if_any(key).map_or(master_accounts::NO_KEY, |_| {
                list::shown_fingerprint(&fingerprint)
            });
            output::result(&format!("key {shown}: {said}"))?;
        }
        if let Some(key) = &management_key {
            let said = control.credits(key).await;
            all_well &= said.is_ok();
            let said = match said {
                Ok(credits) => format!(
                    "accepted, bought {} and used {} USD",
                    credits.total_credits.as_str(),
                    credits.total_usage.as_str()
                ),
                Err(error) => error.to_string(),
            };
            output::result(&format!("management key: {said}"))?;
        }
        Ok(if all_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// What is sent to a server as a key, if it wants one.
fn key_if_any(key: &SecretString) -> Option<&SecretString> {
    Some(key).filter(|key| !key.expose_secret().is_empty())
}

/// A discount with what was said changed.
fn discount(
    old: Discount,
    percent: Option<Decimal>,
    basis: Option<arguments::Basis>,
) -> anyhow::Result<Discount> {
    let basis = basis.map_or(old.basis(), arguments::Basis::of_billing);
    let discount = match percent {
        Some(percent) => Discount::from_percent(percent, basis),
        None => Discount::new(old.fraction(), basis),
    };
    discount.context(
        "a discount is at least 0 and less than 100 percent, with at most four decimal places",
    )
}
