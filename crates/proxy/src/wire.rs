//! The byte work of the data plane: server-sent events, JSON bodies, usage reports and content encodings, as pure
//! functions and incremental state machines. Nothing here does I/O, waits, or knows the time.
//!
//! Bytes that nobody has to change are never changed: a text is cut at the members that matter and put together again
//! from its own slices, so that unknown fields, their order and the text of every number survive.

pub mod answer;
mod choices;
pub mod chunk;
pub mod compatible;
pub mod cost_raising;
pub mod decode;
pub mod fields;
pub mod json;
pub mod json_scan;
pub mod media;
pub mod oversize;
pub mod request;
pub mod rewrite;
pub mod shown_model;
pub mod sse;
pub mod usage;
