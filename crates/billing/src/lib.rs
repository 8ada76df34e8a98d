//! Everything that AI Router knows about money: amounts, prices, plans, holds, leases, settlement and postings.
//!
//! The crate is pure. It reads no clock, draws no random numbers and does no I/O: time, ids and what the database
//! holds are parameters, so that the very code that runs can be driven by properties and by simulation.
//!
//! A request passes through it like this: [`hold`] bounds what the request may cost, [`holds`] takes that amount out of
//! what this replica may spend of each budget ([`lease`], for as long as [`tenure`] says), [`pricing`] turns the reported
//! usage into cost and price, [`batch`] settles many requests at once, as far as their budgets cover them
//! ([`settlement`]), [`correction`] says which losses are taken back, and [`posting`] writes the outcome down in double
//! entry. Afterwards [`reconciliation`] compares what is booked with what the upstream says that it billed, and [`working`]
//! says how a price came about.

pub mod access;
pub mod batch;
pub mod budget;
pub mod correction;
pub mod cost_raising;
pub mod decimal;
pub mod disconnect;
pub mod discount;
pub mod event;
pub mod fault;
pub mod hold;
pub mod holds;
pub mod idempotency;
pub mod ids;
pub mod lease;
pub mod model_id;
pub mod money;
pub mod period;
pub mod plan;
pub mod plan_terms;
pub mod posting;
pub mod price_book;
pub mod price_table;
pub mod pricing;
pub mod reconciliation;
pub mod recovery;
pub mod refund;
pub mod sale;
pub mod settlement;
pub mod tenure;
pub mod time;
pub mod usage;
pub mod utc_day;
pub mod working;

pub use access::ModelAccess;
pub use budget::{BudgetId, BudgetRef, Quantity};
pub use discount::{Discount, DiscountBasis};
pub use event::{Outcome, UsageEvent};
pub use ids::{AccountId, ApiKeyId, MasterAccountId, PlanVersionId, RequestId, SessionId, UserId};
pub use money::Nanos;
pub use period::Period;
pub use plan::{Plan, PriceRule};
pub use price_book::{ModelPrices, PriceBook, RateCard};
pub use time::Timestamp;
pub use usage::{TokenCounts, Usage};
pub use utc_day::UtcDay;
