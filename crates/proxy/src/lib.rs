//! The data plane: hyper in, hyper out, and the bill in between.
//!
//! The way of a request, stage by stage, each in a file of its own:
//!
//! | stage | file | I/O |
//! | --- | --- | --- |
//! | accept | [`server`], [`client_address`], `service`, [`route`] | the client's socket |
//! | authenticate | `service`, [`keys`] | none, but for a key that is not in the cache |
//! | read | `read_body`, [`wire::request`] | the client's socket |
//! | claim | [`idempotency`] | one insert for many requests, where an `Idempotency-Key` came |
//! | admit | `admit`, [`leases`] | none, but for a lease that runs dry |
//! | choose | [`masters`] | none |
//! | forward | `forward`, [`upstream`] | the upstream's socket |
//! | relay and meter | [`relay`], `events`, `meter`, [`wire`] | both sockets |
//! | settle | `session`, [`settle`] | one group commit for many requests |
//!
//! Beside them, `in_flight` writes down what runs for long, `resolver` finds out what requests cost whose usage did not
//! come, and `changes` follows the database.

mod abandoned;
mod account;
mod admit;
pub mod answer_headers;
mod attempt;
mod bodies;
pub mod body;
pub mod catalog;
mod changes;
mod chat;
mod choosing;
pub mod client_address;
pub mod clock;
pub mod control_plane;
pub mod cors;
pub mod early_head;
mod events;
mod forward;
pub mod gateway;
mod health;
pub mod history;
mod hops;
pub mod idempotency;
mod in_flight;
pub mod keys;
pub mod leases;
pub mod masters;
mod meter;
pub mod metrics;
mod models;
pub mod offers;
pub mod problem;
mod pseudonyms;
mod quote;
mod rate_headers;
mod read_body;
pub mod relay;
pub mod replica;
mod report;
mod resolver;
pub mod route;
pub mod server;
mod service;
mod session;
pub mod settle;
mod stall;
mod strays;
pub mod upstream;
mod wanted;
pub mod wire;
