//! Client keys, whoever looks at them: their owners, the organizations that pay for them, and the operator.

pub(crate) mod change;
pub(crate) mod issue;
pub(crate) mod settings;
mod shown;

pub(crate) use shown::{ApiKey, TaggedKey, find, page, tagged};
