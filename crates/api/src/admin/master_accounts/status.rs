//! What pausing, draining and resuming have in common.

use airouter_billing::MasterAccountId;
use airouter_store::master_accounts::MasterAccountStatus;
use uuid::Uuid;

use super::{MasterAccount, desk, one};
use crate::audited::{Author, Why};
use crate::shared::Shared;
use crate::tags::Tagged;

pub(super) async fn set(
    shared: &Shared,
    author: &Author,
    id: Uuid,
    status: MasterAccountStatus,
    why: &Why,
) -> Tagged<MasterAccount> {
    let action = match status {
        MasterAccountStatus::Active => "master_account.resume",
        MasterAccountStatus::Draining => "master_account.drain",
        MasterAccountStatus::Paused => "master_account.pause",
    };
    let entry = author.entry(shared, action, id, why.reason.as_deref())?;
    desk(shared)
        .set_status(MasterAccountId::new(id), status, &entry)
        .await?;
    one::show(shared, id).await
}
