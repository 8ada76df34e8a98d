//! Messages to people. There is no mail yet: links are written to the log where the operator says so, and dropped elsewhere.

use std::sync::Arc;

use airouter_api::mail::{Mail, Message};
use secrecy::ExposeSecret as _;

use crate::config::Links;

struct LoggedLinks;

impl Mail for LoggedLinks {
    fn send(&self, Message { to, kind, link }: Message) {
        let (kind, link) = (kind.name(), link.expose_secret());
        tracing::info!(to = to.email, kind, link, "a link that is not mailed");
    }
}

struct DroppedLinks;

impl Mail for DroppedLinks {
    fn send(&self, message: Message) {
        drop(message);
    }
}

/// What becomes of messages, said once.
pub(crate) fn new(links: Links) -> Arc<dyn Mail> {
    match links {
        Links::Logged => {
            tracing::warn!(
                "links with which passwords can be reset are written to the log (AIROUTER_LOG_LINKS): for development only"
            );
            Arc::new(LoggedLinks)
        }
        Links::Dropped => {
            tracing::warn!(
                "nothing is mailed: nobody gets a link to prove an e-mail address or to reset a password"
            );
            Arc::new(DroppedLinks)
        }
    }
}
