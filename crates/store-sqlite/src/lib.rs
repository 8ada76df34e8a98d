//! The SQLite adapter of the store: one file, one writer, and nothing else to run.
//!
//! The file is in WAL mode with `synchronous=FULL`: what a commit returned survives a power failure. Every write is a
//! `BEGIN IMMEDIATE` transaction on the one writing connection, batches go in as JSON arrays, and a few read-only
//! connections serve the rest. Other processes may write to the same file while a server runs; the change log says what.

mod attempts;
mod audit;
mod backup;
mod booking;
mod books;
mod caps;
mod changes;
mod client_admin;
mod commit;
mod connection;
mod convert;
mod corrections;
mod erasure;
mod free_quota;
mod idempotency;
mod identities;
mod impersonations;
mod invitations;
mod key_admin;
mod key_rows;
mod keys;
mod leases;
mod ledger;
mod logins;
mod mailed_tokens;
mod master_accounts;
mod member_invitations;
mod members;
mod open;
mod operator_tokens;
mod organizations;
mod pending;
mod people;
mod plan_admin;
mod plans;
mod prices;
mod reconciliation;
mod refunds;
mod refused;
mod reports;
mod request_rows;
mod requests;
mod rollups;
mod sale;
mod schedule;
mod second_factors;
mod shared_rows;
mod tiers;
mod usage;
mod verify;

pub use open::{OpenError, OpenMode, SqliteStore};
