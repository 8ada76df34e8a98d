//! The control plane: what clients and the operator do apart from sending completions, as one JSON API.
//!
//! One endpoint a file. [`routes`] puts them into groups by who may call; a group's gate ([`caller`]) lets nobody else in, so
//! that a handler needs no check of its own. The OpenAPI document and the authorization test take their list from there.

mod admin;
mod answer;
mod api;
mod attempts;
mod audited;
mod auth;
mod body;
mod caller;
mod client;
mod cookies;
mod csv;
mod document;
mod idempotency;
pub mod inventory;
mod keys;
pub mod mail;
pub mod names;
mod organizations;
mod page;
mod passwords;
mod problem;
mod provider;
mod rates;
pub mod recall;
mod registration;
mod report_time;
mod requests;
mod routes;
mod shared;
mod tags;
pub mod upstreams;
mod values;

pub use api::{Api, Parts, StartError};
pub use axum::body::Body as RequestBody;
pub use provider::LoginProvider;
pub use registration::RegistrationMode;
pub use shared::{Now, Setting};
