//! `airouter master-accounts …`: the operator's accounts at upstreams.

mod arguments;
mod list;
mod prices;

use std::process::ExitCode;

use airouter_api::inventory::InventoryError;
use airouter_api::inventory::master_accounts::{
    AccountChanges, AccountToAdd, DiscountWish, MasterDesk,
};
use airouter_api::upstreams::Upstreams as _;
use airouter_billing::MasterAccountId;
use airouter_proxy::clock::Clock as _;
use airouter_store::master_accounts::{MasterAccount, MasterAccountKey, MasterAccountStatus};
use airouter_store::{Seen, Store, StoreError};
use anyhow::{Context as _, bail};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Context, audited};
use crate::clock::SystemClock;
use crate::upstreams::{MasterBoard, OperatorUpstreams};
use crate::{database, master_accounts, output, secret_files};

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

/// Fewer digits would name a key by chance.
const SHORTEST_FINGERPRINT: usize = 8;

/// Does it.
pub(super) async fn run(command: Command, context: &Context) -> anyhow::Result<ExitCode> {
    let config = &context.config;
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let upstreams = OperatorUpstreams {
        encryption: secret_files::encryption_keys(config)?,
        upstream: config.upstream.clone(),
        board: MasterBoard::default(),
    };
    let tool = Tool {
        store: &*store,
        upstreams: &upstreams,
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
    upstreams: &'a OperatorUpstreams,
}

impl Tool<'_> {
    fn desk(&self) -> MasterDesk<'_> {
        MasterDesk {
            store: self.store,
            upstreams: self.upstreams,
        }
    }

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

    async fn add(&self, arguments: Add) -> anyhow::Result<()> {
        let id = MasterAccountId::new(Uuid::now_v7());
        let key = if arguments.no_key {
            None
        } else {
            Some(arguments.key.read()?)
        };
        let wanted = AccountToAdd {
            id,
            name: arguments.name,
            kind: arguments.kind.of_store(),
            base_url: arguments.base_url,
            discount: discount(arguments.discount, arguments.basis),
            key,
        };
        let audit = audited("master_account.add", id.get());
        let account = self.desk().add(wanted, &audit).await;
        let account = account.context("nothing was added")?;
        output::result(&format!("MASTER_ACCOUNT={}", account.name))?;
        output::result(&format!("ID={id}"))?;
        Ok(())
    }

    async fn set(&self, arguments: Set) -> anyhow::Result<()> {
        let account = self.find(&arguments.named.account).await?;
        let management_key = match arguments.management.wish()? {
            ManagementKey::AsItIs => None,
            ManagementKey::None => Some(None),
            ManagementKey::Key(key) => Some(Some(key)),
        };
        let wanted = AccountChanges {
            name: arguments.name,
            base_url: arguments.base_url,
            discount: discount(arguments.discount, arguments.basis),
            weight: arguments.weight,
            most_share: arguments.most_share.map(|share| share.0),
            agreement: arguments.agreement.map(|agreement| agreement.0),
            agreement_ends_at: arguments.agreement_ends.map(|ends| ends.0),
            management_key,
        };
        if wanted.is_empty() {
            bail!("nothing to set: see airouter master-accounts set --help");
        }
        // The environment has the last word about its own keys.
        if self.upstreams.is_in_environment(&account) {
            output::remark(
                "its key is in OPENROUTER_MASTER_KEYS: OPENROUTER_BASE_URL, and OPENROUTER_DISCOUNT_PERCENT where it is \
                 set, prevail over what is stored",
            );
        }
        let audit = audited("master_account.change", account.id.get());
        let desk = self.desk();
        let changed = desk.change(&account, wanted, &Seen::Whatever, &audit).await;
        changed.context("nothing was changed")
    }

    async fn set_status(&self, named: Named, status: MasterAccountStatus) -> anyhow::Result<()> {
        let account = self.find(&named.account).await?;
        let action = match status {
            MasterAccountStatus::Active => "master_account.resume",
            MasterAccountStatus::Draining => "master_account.drain",
            MasterAccountStatus::Paused => "master_account.pause",
        };
        let audit = audited(action, account.id.get());
        self.desk().set_status(account.id, status, &audit).await?;
        Ok(())
    }

    async fn add_key(&self, arguments: AddKey) -> anyhow::Result<()> {
        let account = self.find(&arguments.named.account).await?;
        let key = arguments.key.read()?;
        let audit = audited("master_account.add_key", account.id.get());
        let added = self.desk().add_key(&account, &key, &audit).await;
        let added = added.context("nothing was added")?;
        output::result(&format!("KEY={}", added.key.short_fingerprint()))?;
        Ok(())
    }

    async fn remove_key(&self, arguments: RemoveKey) -> anyhow::Result<()> {
        let account = self.find(&arguments.named.account).await?;
        if arguments.key.len() < SHORTEST_FINGERPRINT {
            bail!("a key is named by at least {SHORTEST_FINGERPRINT} digits of its fingerprint");
        }
        let is_meant = |key: &&MasterAccountKey| key.key.fingerprint.starts_with(&arguments.key);
        let Some(key) = account.keys.iter().find(is_meant) else {
            bail!("{} has no key {}", account.name, arguments.key);
        };
        let known = &self.upstreams.upstream.master_keys;
        let is_known = known
            .iter()
            .any(|known| master_accounts::fingerprint(known) == key.key.fingerprint);
        let audit = audited("master_account.remove_key", account.id.get());
        match self.desk().remove_key(&account, key.id, &audit).await {
            // Somebody was quicker.
            Ok(()) | Err(InventoryError::Store(StoreError::NotFound { .. })) => {}
            Err(error) => return Err(error.into()),
        }
        if is_known {
            output::remark(
                "it is in OPENROUTER_MASTER_KEYS: remove it there too, or it comes back at the next start",
            );
        }
        Ok(())
    }

    /// Asks the upstream with each key. Exit code 1 if one is not accepted.
    async fn test(&self, named: Named) -> anyhow::Result<ExitCode> {
        let account = self.find(&named.account).await?;
        let tested = self.upstreams.test(&account).await;
        for (id, said) in &tested.keys {
            let key = account.keys.iter().find(|key| key.id == *id);
            let shown = key.map_or("", |key| key.key.short_fingerprint());
            output::result(&format!("key {shown}: {}", said.words))?;
        }
        if let Some(said) = &tested.management_key {
            output::result(&format!("management key: {}", said.words))?;
        }
        Ok(if tested.is_all_well() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn discount(percent: Option<Decimal>, basis: Option<arguments::Basis>) -> DiscountWish {
    DiscountWish {
        percent,
        basis: basis.map(arguments::Basis::of_billing),
    }
}
