//! `/v1/admin/clients`: accounts, what they may and what they have.

pub(crate) mod api_keys;
mod booking;
pub(crate) mod change;
pub(crate) mod credit;
pub(crate) mod debit;
pub(crate) mod disable;
pub(crate) mod enable;
pub(crate) mod erase;
pub(crate) mod impersonate;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod remove_second_factor;
mod settings;
mod status;

use airouter_store::client_admin::ClientRecord;
use serde::Serialize;
use utoipa::ToSchema;

use crate::client::balance::Balance;
use crate::values::{Id, Time};
pub(crate) use settings::Settings;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Client {
    /// The account's id.
    id: Id,
    /// `person` or `organization`.
    #[schema(example = "person")]
    kind: String,
    /// Its name.
    name: String,
    /// The login that owns it.
    user_id: Option<Id>,
    /// That login's e-mail address.
    email: Option<String>,
    /// `prepaid` or `metered`.
    #[schema(example = "prepaid")]
    mode: &'static str,
    /// `active` or `disabled`.
    #[schema(example = "active")]
    status: &'static str,
    /// What the operator set.
    settings: Settings,
    /// What it has.
    balance: Balance,
    /// Since when there is the account.
    created_at: Time,
}

impl From<ClientRecord> for Client {
    fn from(client: ClientRecord) -> Self {
        let (user_id, email) = client
            .login
            .map(|(id, email)| (Id(id.get()), email))
            .unzip();
        Self {
            id: Id(client.account.get()),
            kind: client.kind,
            name: client.name,
            user_id,
            email,
            mode: client.payment.name(),
            status: client.status.name(),
            settings: (&client.settings).into(),
            balance: client.balance.into(),
            created_at: Time(client.created_at),
        }
    }
}
