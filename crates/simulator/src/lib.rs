//! A simulated upstream that speaks OpenRouter's API as it is on the wire, and what is needed to put load on a proxy.
//!
//! - [`Simulator`]: (or, as [`Speaks::Compatible`], a plain server that speaks OpenAI's API) chat (streamed and not), models, generation, credits and key; deterministic token counts; faults on
//!   request (`x_sim` in a request's body, `/_sim/…` for accounts and settings); books of its own in picodollars.
//! - [`load`]: a closed-loop load generator that knows which answers it received whole.
//! - [`bare`]: a pass-through proxy that does nothing else, the yardstick of benchmarks.
//!
//! It shares no code with the proxy that it tests, so that its books are independent.

mod account_api;
mod answer;
pub mod bare;
mod body;
mod books;
mod catalog;
mod chat;
mod compose;
mod control;
mod directives;
mod errors;
mod listener;
pub mod load;
mod meter;
mod money;
mod render;
mod request;
mod schema;
mod script;
mod server;
mod shared;
mod speaks;
mod tariff;

pub use money::{AmountError, Picodollars};
pub use server::{
    DEFAULT_MANAGEMENT_KEY, DEFAULT_MASTER_KEY, RunningSimulator, Simulator, SimulatorConfig,
};
pub use speaks::Speaks;
