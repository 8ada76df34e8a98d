//! Mail that a test reads.

use std::sync::{Mutex, PoisonError};

use airouter_api::mail::{Mail, Message};
use secrecy::ExposeSecret as _;

use super::PUBLIC_URL;

/// Keeps what is sent.
#[derive(Default)]
pub(crate) struct KeptMail(Mutex<Vec<Message>>);

impl Mail for KeptMail {
    fn send(&self, message: Message) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(message);
    }
}

impl KeptMail {
    /// What was sent since the last call.
    pub(crate) fn taken(&self) -> Vec<Message> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *kept)
    }

    /// The token of the only message that was sent since, whose link leads to this page and which goes to this address.
    pub(crate) fn token(&self, page: &str, to: &str) -> String {
        let messages = self.taken();
        assert_eq!(messages.len(), 1, "{messages:?}");
        let message = &messages[0];
        assert_eq!(message.to.email, to);
        let link = message.link.expose_secret();
        let beginning = format!("{PUBLIC_URL}{page}#token=");
        link.strip_prefix(&beginning).unwrap().to_owned()
    }
}
