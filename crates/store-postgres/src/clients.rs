//! Everything about clients that is one line long.

use airouter_auth::KeyHash;
use airouter_billing::{AccountId, ApiKeyId, Timestamp};
use airouter_store::StoreError;
use airouter_store::clients::{
    Balance, ChangePosition, Changes, Clients, Connections, KeySnapshot, NewKey, NewMember,
    NewOrganization, NewPerson, Person,
};
use async_trait::async_trait;
use sqlx::Connection as _;

use crate::connection::failed;
use crate::open::PostgresStore;
use crate::{keys, people};

#[async_trait]
impl Clients for PostgresStore {
    fn connections(&self) -> Connections {
        Connections {
            open: usize::try_from(self.pool.size()).unwrap_or(usize::MAX),
            idle: self.pool.num_idle(),
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.on_pool(async |connection| connection.ping().await.map_err(failed))
            .await
    }

    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeySnapshot>, StoreError> {
        self.keys.ask(*hash).await
    }

    async fn keys_used(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        self.on_pool(async |connection| keys::used(connection, used).await)
            .await
    }

    async fn changes_since(&self, position: &ChangePosition) -> Result<Changes, StoreError> {
        self.changes.ask(position.clone()).await
    }

    async fn change_hint(&self) {
        self.hint.notified().await;
    }

    async fn create_person(&self, person: &NewPerson) -> Result<(), StoreError> {
        self.on_pool(async |connection| people::create_person(connection, person).await)
            .await
    }

    async fn person_by_email(&self, email: &str) -> Result<Option<Person>, StoreError> {
        // No text of the database has one.
        if email.contains('\0') {
            return Ok(None);
        }
        self.on_pool(async |connection| people::by_email(connection, email).await)
            .await
    }

    async fn create_organization(&self, organization: &NewOrganization) -> Result<(), StoreError> {
        self.on_pool(async |connection| people::create_organization(connection, organization).await)
            .await
    }

    async fn add_member(&self, member: &NewMember) -> Result<(), StoreError> {
        self.on_pool(async |connection| people::add_member(connection, member).await)
            .await
    }

    async fn create_key(
        &self,
        account: AccountId,
        payer: Option<AccountId>,
        key: &NewKey,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.on_pool(async |connection| keys::create(connection, account, payer, key, at).await)
            .await
    }

    async fn revoke_key(&self, key: ApiKeyId, at: Timestamp) -> Result<(), StoreError> {
        self.on_pool(async |connection| keys::revoke(connection, key, at).await)
            .await
    }

    async fn has_admin(&self) -> Result<bool, StoreError> {
        self.on_pool(async |connection| people::has_admin(connection).await)
            .await
    }

    async fn balance(&self, account: AccountId) -> Result<Balance, StoreError> {
        self.on_pool(async |connection| people::balance(connection, account).await)
            .await
    }
}
