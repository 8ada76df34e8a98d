//! A typed client of the upstream's control API (OpenRouter's, or of anything that speaks it), and what its errors mean.
//!
//! Answers are decoded permissively: the upstream adds fields and values without notice. Money is kept as the text of the
//! JSON number; `billing` reads it as an exact decimal.

mod account;
mod activity;
mod cancellation;
mod client;
mod error;
mod error_body;
mod fault;
mod generation;
mod json;
mod models;
mod number;
mod retry_after;
mod server_fault;

pub use account::{Credits, KeyStatus, parse_key};
pub use activity::{ActivityRow, parse_activity};
pub use cancellation::{CancelBilling, cancellation_stops_billing};
pub use client::{ControlClient, ControlTimeouts, InvalidClientConfiguration, LookedUp};
pub use error::{ControlError, TransportFault};
pub use error_body::{MAX_ERROR_BODY_BYTES, UpstreamError};
pub use fault::Fault;
pub use generation::Generation;
pub use models::{
    Architecture, BrokenModel, Model, ModelList, PriceValue, TopProvider, parse_models,
};
pub use number::NumberText;
pub use retry_after::retry_after;
