//! The names of tenants upstream, remembered: to make one takes four blocks of a hash.

use airouter_auth::{Pseudonym, Pseudonyms};
use airouter_billing::AccountId;
use quick_cache::sync::Cache;

/// Names that are remembered at the same time.
const MOST_REMEMBERED: usize = 10_000;

/// Makes pseudonyms, each once as long as it is in use.
pub(crate) struct KnownPseudonyms {
    pseudonyms: Pseudonyms,
    known: Cache<AccountId, Pseudonym>,
}

impl KnownPseudonyms {
    pub(crate) fn new(pseudonyms: Pseudonyms) -> Self {
        Self {
            pseudonyms,
            known: Cache::new(MOST_REMEMBERED),
        }
    }

    /// The pseudonym of an account.
    pub(crate) fn of(&self, account: AccountId) -> Pseudonym {
        if let Some(known) = self.known.get(&account) {
            return known;
        }
        let made = self.pseudonyms.of(account.get().as_bytes());
        self.known.insert(account, made.clone());
        made
    }
}
