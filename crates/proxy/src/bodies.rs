//! The bodies of one request: OpenRouter's is made at its admission, a compatible server's when one is asked.

use airouter_billing::MasterAccountId;
use bytes::Bytes;

use crate::offers::Suited;
use crate::wire::compatible::rewrite_for_compatible;
use crate::wire::json::JsonError;

/// What is sent to whoever is asked.
#[derive(Debug)]
pub(crate) struct Bodies {
    openrouter: Bytes,
    /// That of the server which was asked last.
    compatible: Option<(MasterAccountId, Bytes)>,
}

impl Bodies {
    /// From OpenRouter's.
    pub(crate) fn new(openrouter: Bytes) -> Self {
        Self {
            openrouter,
            compatible: None,
        }
    }

    /// OpenRouter's, or that of a compatible server.
    pub(crate) fn for_server(&mut self, server: Option<&Suited>) -> Result<Bytes, JsonError> {
        let Some(suited) = server else {
            return Ok(self.openrouter.clone());
        };
        let account = suited.offer.account;
        if let Some((known, body)) = &self.compatible
            && *known == account
        {
            return Ok(body.clone());
        }
        let served_as = &suited.offer.served_as;
        let body = rewrite_for_compatible(&self.openrouter, served_as, suited.most_output)?;
        let body = Bytes::from(body);
        self.compatible = Some((account, body.clone()));
        Ok(body)
    }
}
