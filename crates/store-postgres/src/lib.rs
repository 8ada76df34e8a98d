//! The PostgreSQL adapter of the store: one database for any number of replicas.
//!
//! What requests wait for goes over [lanes](lane): connections of their own, each with a task that answers all who wait
//! with one statement. Everything else takes a connection of a small pool. Every wait is bounded on this side too, for a
//! server that hangs says nothing; a connection on which something was given up is closed, not used again.

mod address;
mod attempts;
mod audit;
mod backup;
mod booking;
mod books;
mod caps;
mod changes;
mod client_admin;
mod clients;
mod commit;
mod connection;
mod convert;
mod corrections;
mod dedicated;
mod erasure;
mod free_quota;
mod grants;
mod hints;
mod idempotency;
mod identities;
mod impersonations;
mod invitations;
mod key_admin;
mod key_lookup;
mod key_rows;
mod keys;
mod lane;
mod leases;
mod ledger;
mod logins;
mod mailed_tokens;
mod master_accounts;
mod member_invitations;
mod members;
mod migrate;
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
mod replicas;
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

pub use open::{OpenError, OpenMode, PostgresStore};
