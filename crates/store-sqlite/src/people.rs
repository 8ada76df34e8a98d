//! Accounts: people, organizations, memberships, and the caps on them.

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, Nanos, Timestamp, UserId};
use airouter_store::StoreError;
use airouter_store::clients::{
    Balance, NewCap, NewMember, NewOrganization, NewPerson, Person, RequestLimits,
};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::connection::{begin, failed, insert_failed};
use crate::convert::{Column, LimitColumns};
use crate::open::SqliteStore;

/// Whose a cap is.
#[derive(Clone, Copy)]
pub(crate) enum BudgetOwner {
    Key(Uuid),
    Member(Uuid),
    Account(Uuid),
}

impl BudgetOwner {
    /// Its kind and its id, as columns of `budgets`.
    pub(crate) const fn columns(self) -> (&'static str, Uuid) {
        match self {
            Self::Key(id) => ("key", id),
            Self::Member(id) => ("member", id),
            Self::Account(id) => ("account", id),
        }
    }
}

/// Stores caps of one owner.
pub(crate) async fn insert_caps(
    connection: &mut SqliteConnection,
    owner: BudgetOwner,
    caps: &[NewCap],
) -> Result<(), StoreError> {
    let (kind, owner) = owner.columns();
    for cap in caps {
        let id = Uuid::now_v7();
        let (quantity, period) = (cap.quantity.name(), cap.period.name());
        sqlx::query!(
            "INSERT INTO budgets (id, owner_kind, owner_id, quantity, period, cap) VALUES ($1, $2, $3, $4, $5, $6)",
            id,
            kind,
            owner,
            quantity,
            period,
            cap.cap
        )
        .execute(&mut *connection)
        .await
        .map_err(|error| insert_failed(error, "a cap of the same quantity and period"))?;
    }
    Ok(())
}

/// What organizations and people have in common.
struct NewAccount<'a> {
    id: AccountId,
    kind: &'static str,
    name: &'a str,
    parent: Option<AccountId>,
    payment: Payment,
    tier: Option<&'a str>,
    caps: &'a [NewCap],
    limits: RequestLimits,
    at: Timestamp,
}

async fn insert_account(
    connection: &mut SqliteConnection,
    account: NewAccount<'_>,
) -> Result<(), StoreError> {
    let id = account.id.get();
    let parent = account.parent.map(AccountId::get);
    let mode = account.payment.name();
    let limits = LimitColumns::from(account.limits);
    let at = account.at.as_micros();
    sqlx::query!(
        "INSERT INTO accounts (id, kind, name, parent_id, mode, tier, requests_per_minute, tokens_per_minute,
            concurrent_requests, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        id,
        account.kind,
        account.name,
        parent,
        mode,
        account.tier,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrent_requests,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "the account"))?;
    sqlx::query!("INSERT INTO balances (account_id) VALUES ($1)", id)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if account.tier.is_some() {
        let budget = Uuid::now_v7();
        sqlx::query!(
            "INSERT INTO budgets (id, owner_kind, owner_id, quantity, period, cap)
            VALUES ($1, 'tier', $2, 'nanos', 'month', (SELECT monthly_limit_nanos FROM tiers WHERE name = $3))",
            budget,
            id,
            account.tier
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    insert_caps(connection, BudgetOwner::Account(id), account.caps).await
}

/// Whether there is such a tier.
pub(crate) async fn check_tier(
    connection: &mut SqliteConnection,
    tier: Option<&str>,
) -> Result<(), StoreError> {
    let known = sqlx::query_scalar!(
        r#"SELECT ($1 IS NULL OR EXISTS (SELECT 1 FROM tiers WHERE name = $1)) AS "known!: i64""#,
        tier
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    if known == 0 {
        return Err(StoreError::NotFound { what: "the tier" });
    }
    Ok(())
}

/// Creates a login and the account that it owns.
pub(crate) async fn create_person(
    store: &SqliteStore,
    person: &NewPerson,
) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = begin(&mut writer).await?;
    insert_person(&mut transaction, person).await?;
    transaction.commit().await.map_err(failed)
}

/// As [`create_person`], in a transaction that the caller has begun.
pub(crate) async fn insert_person(
    connection: &mut SqliteConnection,
    person: &NewPerson,
) -> Result<(), StoreError> {
    check_tier(connection, person.tier.as_deref()).await?;
    let (user, account) = (person.user.get(), person.account.get());
    let (role, at) = (person.role.name(), person.at.as_micros());
    sqlx::query!(
        "INSERT INTO users (id, email, name, password_hash, role, locale, utm_source, signup_address, created_at,
            updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        user,
        person.email,
        person.name,
        person.password_hash,
        role,
        person.locale,
        person.utm_source,
        person.signup_address,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| insert_failed(error, "a user with this e-mail address"))?;
    let new = NewAccount {
        id: person.account,
        kind: "person",
        name: &person.name,
        parent: None,
        payment: person.payment,
        tier: person.tier.as_deref(),
        caps: &person.caps,
        limits: person.limits,
        at: person.at,
    };
    insert_account(connection, new).await?;
    sqlx::query!(
        "INSERT INTO persons (account_id, user_id) VALUES ($1, $2)",
        account,
        user
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Creates an organization.
pub(crate) async fn create_organization(
    store: &SqliteStore,
    organization: &NewOrganization,
) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = begin(&mut writer).await?;
    insert_organization(&mut transaction, organization).await?;
    transaction.commit().await.map_err(failed)
}

/// As [`create_organization`], in a transaction that the caller has begun.
pub(crate) async fn insert_organization(
    connection: &mut SqliteConnection,
    organization: &NewOrganization,
) -> Result<(), StoreError> {
    check_tier(connection, organization.tier.as_deref()).await?;
    let new = NewAccount {
        id: organization.account,
        kind: "organization",
        name: &organization.name,
        parent: organization.parent,
        payment: organization.payment,
        tier: organization.tier.as_deref(),
        caps: &organization.caps,
        limits: organization.limits,
        at: organization.at,
    };
    insert_account(connection, new).await?;
    let account = organization.account.get();
    sqlx::query!(
        "INSERT INTO organizations (account_id) VALUES ($1)",
        account
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Makes a person a member of an organization.
pub(crate) async fn add_member(store: &SqliteStore, member: &NewMember) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = begin(&mut writer).await?;
    insert_member(&mut transaction, member).await?;
    transaction.commit().await.map_err(failed)
}

/// As [`add_member`], in a transaction that the caller has begun.
pub(crate) async fn insert_member(
    connection: &mut SqliteConnection,
    member: &NewMember,
) -> Result<(), StoreError> {
    let id = Uuid::now_v7();
    let (organization, person) = (member.organization.get(), member.person.get());
    let role = member.role.name();
    let at = member.at.as_micros();
    sqlx::query!(
        "INSERT INTO memberships (id, organization_id, person_id, role, created_at) VALUES ($1, $2, $3, $4, $5)",
        id,
        organization,
        person,
        role,
        at
    )
    .execute(&mut *connection)
    .await
    .map_err(|error| match &error {
        sqlx::Error::Database(database) if database.is_foreign_key_violation() => {
            StoreError::NotFound {
                what: "the organization or the person",
            }
        }
        _ => insert_failed(error, "the membership"),
    })?;
    insert_caps(connection, BudgetOwner::Member(id), &member.caps).await
}

/// The person with this e-mail address.
pub(crate) async fn by_email(
    store: &SqliteStore,
    email: &str,
) -> Result<Option<Person>, StoreError> {
    let mut reader = store.readers.acquire().await.map_err(failed)?;
    find(&mut reader, email).await
}

/// As [`by_email`], on a connection of the caller's.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    email: &str,
) -> Result<Option<Person>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT u.id AS user_id, u.email, a.id AS account_id, a.mode
        FROM users u JOIN persons p ON p.user_id = u.id JOIN accounts a ON a.id = p.account_id
        WHERE u.email = $1"#,
        email
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(|row| {
        let account = AccountId::new(Column::new("accounts", "id").uuid(&row.account_id)?);
        Ok(Person {
            user: UserId::new(Column::new("users", "id").uuid(&row.user_id)?),
            account,
            email: row.email,
            payment: Payment::from_name(&row.mode)
                .ok_or_else(|| Column::new("accounts", "mode").corrupt(account))?,
        })
    })
    .transpose()
}

/// Whether there is an admin who may log in.
pub(crate) async fn has_admin(store: &SqliteStore) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND status = 'active') AS "found!: i64""#
    )
    .fetch_one(&store.readers)
    .await
    .map_err(failed)?;
    Ok(found != 0)
}

/// The balance of an account.
pub(crate) async fn balance(
    connection: &mut SqliteConnection,
    account: AccountId,
) -> Result<Balance, StoreError> {
    let id = account.get();
    let row = sqlx::query!(
        "SELECT balance_nanos, reserved_nanos, credit_line_nanos, lifetime_spent_nanos, lifetime_earned_nanos
        FROM balances WHERE account_id = $1",
        id
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?
    .ok_or(StoreError::NotFound {
        what: "the account",
    })?;
    Ok(Balance {
        balance: Nanos::new(row.balance_nanos),
        reserved: Nanos::new(row.reserved_nanos),
        credit_line: Nanos::new(row.credit_line_nanos),
        lifetime_spent: Nanos::new(row.lifetime_spent_nanos),
        lifetime_earned: Nanos::new(row.lifetime_earned_nanos),
    })
}
