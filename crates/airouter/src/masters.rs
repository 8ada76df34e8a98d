//! The master accounts as requests see them, read anew whenever they change.

use std::sync::Arc;

use airouter_auth::EncryptionKeys;
use airouter_openrouter::{ControlClient, ControlTimeouts};
use airouter_proxy::gateway::MasterSource;
use airouter_proxy::masters::{Master, MasterParts, Masters};
use airouter_proxy::metrics::Metrics;
use airouter_store::master_accounts::MasterAccountStatus;
use airouter_store::{Store, StoreError};
use anyhow::Context as _;
use async_trait::async_trait;

use crate::config::Upstream;
use crate::master_accounts::{self, OpenedMasterAccount};
use crate::upstreams::MasterBoard;

/// Opens what the database has of master accounts.
pub(crate) struct StoredMasters {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) encryption: EncryptionKeys,
    pub(crate) upstream: Upstream,
    pub(crate) metrics: Arc<Metrics>,
    /// Where they are shown.
    pub(crate) board: MasterBoard,
}

#[async_trait]
impl MasterSource for StoredMasters {
    async fn load(&self, before: &Masters) -> Result<Masters, StoreError> {
        let opened =
            master_accounts::opened(&*self.store, &self.encryption, &self.upstream).await?;
        let (mut serving, mut resting) = (Vec::new(), Vec::new());
        for opened in opened {
            let (name, status) = (opened.account.name.clone(), opened.account.status);
            match self.master(opened, before) {
                Ok(master) if status == MasterAccountStatus::Paused => resting.push(master),
                Ok(master) => serving.push(master),
                Err(error) => {
                    tracing::error!(name, error = %format!("{error:#}"), "a master account can't be used");
                }
            }
        }
        let masters = Masters::new(serving, resting);
        self.board.show(&masters);
        Ok(masters)
    }
}

impl StoredMasters {
    fn master(
        &self,
        OpenedMasterAccount {
            account,
            keys,
            management_key,
        }: OpenedMasterAccount,
        before: &Masters,
    ) -> anyhow::Result<Arc<Master>> {
        let before = before.get(account.id);
        let control = match before.filter(|before| before.base_url == account.base_url) {
            Some(before) => before.control.clone(),
            None => control_client(&account.base_url, &self.upstream)?,
        };
        let parts = MasterParts {
            id: account.id,
            metrics: self.metrics.for_master(&account.name),
            name: account.name,
            kind: account.kind,
            discount: account.discount,
            status: account.status,
            base_url: account.base_url,
            keys,
            management_key,
            agreement_ends_at: account.agreement.ends_at,
            weight: account.weight,
            most_share: account.most_share,
            credit: account.credit,
            control,
        };
        Ok(Arc::new(Master::new(parts, before.map(Arc::as_ref))?))
    }
}

/// A client of an upstream's control API.
pub(crate) fn control_client(base_url: &str, upstream: &Upstream) -> anyhow::Result<ControlClient> {
    ControlClient::new(
        base_url,
        ControlTimeouts::default(),
        upstream.https_proxy.as_ref(),
    )
    .with_context(|| format!("the upstream {base_url} can't be used"))
}
