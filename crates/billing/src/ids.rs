//! Ids: each kind a type of its own, so that none can stand where another is meant.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this value.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// The value.
            pub const fn get(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(/// An account: an organization or a person, who pays.
    AccountId);
uuid_id!(/// A client key.
    ApiKeyId);
uuid_id!(/// A login.
    UserId);
uuid_id!(/// A login that goes on.
    SessionId);
uuid_id!(/// A master account at an upstream.
    MasterAccountId);
uuid_id!(/// One request; also the id of its usage event and what a client sees as `x-request-id`.
    RequestId);

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// The id with this value.
            pub const fn new(id: i64) -> Self {
                Self(id)
            }

            /// The value.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(/// One immutable version of a price plan.
    PlanVersionId);
row_id!(/// One immutable version of a model's public prices.
    ModelPricingId);
row_id!(/// One ledger transaction.
    TransactionId);
