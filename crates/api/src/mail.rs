//! What the control plane needs to reach people: a message with a link is handed over. Whoever runs the control plane provides
//! it.

use airouter_store::mailed_tokens::{MailedKind, Recipient};
use secrecy::SecretString;

/// A message to somebody.
#[derive(Clone, Debug)]
pub struct Message {
    /// To whom.
    pub to: Recipient,
    /// What the link is for.
    pub kind: MailedKind,
    /// Where it leads. Whoever has it can do what it is for: it doesn't print.
    pub link: SecretString,
}

/// Takes messages to people.
pub trait Mail: Send + Sync + 'static {
    /// Hands a message over. It returns at once, so that nobody can tell by the time whether there was one to send; what
    /// becomes of it, the sender does not learn.
    fn send(&self, message: Message);
}
