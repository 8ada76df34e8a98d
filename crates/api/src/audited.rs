//! Entries of the audit log.

use std::net::IpAddr;

use airouter_billing::{Timestamp, UserId};
use airouter_store::audit::AuditEntry;
use airouter_store::logins::Login;
use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::caller::{ClientAddress, Operator};
use crate::problem::Problem;
use crate::shared::Shared;

const LONGEST_REASON: usize = 500;

/// What the operator does to something.
pub(crate) fn entry(
    operator: &Operator,
    address: ClientAddress,
    action: &str,
    subject: Uuid,
    at: Timestamp,
) -> AuditEntry {
    Actor::of_operator(operator, address).entry(action, subject, at)
}

/// Somebody who does something that the log tells of.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// As the log names it.
    name: String,
    user: UserId,
    address: IpAddr,
}

impl Actor {
    /// Somebody who has logged in, and does it to what is its own.
    pub(crate) fn of_login(login: &Login, ClientAddress(address): ClientAddress) -> Self {
        Self {
            name: login.email.clone(),
            user: login.user,
            address,
        }
    }

    /// The operator.
    pub(crate) fn of_operator(operator: &Operator, ClientAddress(address): ClientAddress) -> Self {
        Self {
            name: operator.actor.clone(),
            user: operator.user,
            address,
        }
    }

    /// What it does to something.
    pub(crate) fn entry(&self, action: &str, subject: Uuid, at: Timestamp) -> AuditEntry {
        AuditEntry {
            actor: self.name.clone(),
            actor_id: Some(self.user),
            address: Some(self.address.to_string()),
            action: action.to_owned(),
            subject,
            reason: None,
            before: None,
            after: None,
            at,
        }
    }
}

/// A reason: one line.
pub(crate) fn reason(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let is_reason =
        !text.is_empty() && text.len() <= LONGEST_REASON && !text.contains(char::is_control);
    is_reason.then(|| text.to_owned()).ok_or(Problem::Invalid {
        field: "reason",
        expected: "one line of at most 500 bytes",
    })
}

/// Who changes something, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    operator: Operator,
    address: ClientAddress,
}

impl Author {
    /// What this one does to something.
    pub(crate) fn entry(
        &self,
        shared: &Shared,
        action: &str,
        subject: Uuid,
        reason: Option<&str>,
    ) -> Result<AuditEntry, Problem> {
        Ok(AuditEntry {
            reason: reason.map(self::reason).transpose()?,
            ..entry(&self.operator, self.address, action, subject, shared.now())
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(address) = ClientAddress::from_request_parts(parts, state).await;
        Ok(Self {
            operator: Operator::from_request_parts(parts, state).await?,
            address,
        })
    }
}

/// Why something is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Why {
    /// Kept in the audit log.
    #[schema(example = "credit runs out", min_length = 1, max_length = 500)]
    pub(crate) reason: Option<String>,
}
