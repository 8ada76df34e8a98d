//! What credits and debits have in common.

use airouter_billing::event::Payment;
use airouter_billing::{AccountId, Nanos};
use airouter_store::client_admin::{Booked, Booking};
use airouter_store::ledger::Adjustment;
use axum::Json;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::one;
use crate::answer::Answer;
use crate::audited;
use crate::caller::{ClientAddress, Operator};
use crate::idempotency;
use crate::problem::Problem;
use crate::recall;
use crate::shared::Shared;
use crate::values::{Id, Usd};

/// What is to be booked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Amount {
    /// How much; more than 0.
    amount: Usd,
    /// Why; kept in the ledger and in the audit log.
    #[schema(example = "invoice 2026-117", min_length = 1, max_length = 500)]
    reason: String,
}

/// What was booked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BookedAmount {
    /// The transaction of the ledger.
    transaction_id: i64,
    /// The account.
    account_id: Id,
    /// The balance after it.
    balance: Usd,
}

/// Which way money goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Credit,
    Debit,
}

impl Direction {
    const fn action(self) -> &'static str {
        match self {
            Self::Credit => "client.credit",
            Self::Debit => "client.debit",
        }
    }
}

/// Who books from where, and under which key.
pub(super) struct Teller<'a> {
    pub(super) operator: &'a Operator,
    pub(super) address: ClientAddress,
    pub(super) headers: &'a HeaderMap,
}

/// Books an amount of an account.
pub(super) async fn book(
    shared: &Shared,
    teller: Teller<'_>,
    account: Uuid,
    direction: Direction,
    request: Amount,
) -> Answer<BookedAmount> {
    let account = AccountId::new(account);
    let Usd(amount) = request.amount;
    if amount <= Nanos::ZERO || amount > Usd::MOST {
        return Err(Problem::Invalid {
            field: "amount",
            expected: "more than 0, and at most 1000000000",
        });
    }
    let reason = audited::reason(&request.reason)?;
    let asked = format!("{} {account} {amount} {reason}", direction.action());
    let idempotency = idempotency::key(teller.headers, teller.operator.user, &asked)?;
    let client = one::find(shared, account).await?;
    if client.payment == Payment::Metered {
        return Err(Problem::NoBalance);
    }
    let amount = match direction {
        Direction::Credit => amount,
        Direction::Debit => {
            recall::recall(&*shared.store, account, amount).await?;
            -amount
        }
    };
    let now = shared.now();
    let mut audit = audited::entry(
        teller.operator,
        teller.address,
        direction.action(),
        account.get(),
        now,
    );
    audit.reason = Some(reason.clone());
    let booking = Booking {
        adjustment: Adjustment {
            account,
            amount,
            reason,
            actor: teller.operator.actor.clone(),
            at: now,
        },
        audit,
        idempotency,
    };
    match shared.store.book(&booking).await? {
        Booked::Yes(booked) => Ok(Json(BookedAmount {
            transaction_id: booked.transaction,
            account_id: Id(account.get()),
            balance: Usd(booked.balance),
        })),
        Booked::OtherRequest => Err(Problem::KeyOfAnotherRequest),
        Booked::Running => Err(Problem::KeyRuns),
    }
}
