//! What codes are made of, sealed for its row: whoever reads the database alone makes no codes.

use airouter_auth::{SealContext, SealedSecret, TotpSecret};
use airouter_billing::UserId;

use crate::problem::Problem;
use crate::shared::Shared;

const fn context(row: &str) -> SealContext<'_> {
    SealContext {
        table: "second_factors",
        column: "sealed_secret",
        row,
    }
}

pub(super) fn seal(
    shared: &Shared,
    user: UserId,
    secret: &TotpSecret,
) -> Result<SealedSecret, Problem> {
    let row = user.to_string();
    let sealed = shared.encryption.seal(&secret.text(), &context(&row));
    sealed.map_err(|error| {
        tracing::error!(%error, "a second factor can't be sealed");
        Problem::Internal
    })
}

/// `None`, and a line in the log, where it can't be opened: then only recovery codes are left.
pub(super) fn open(shared: &Shared, user: UserId, sealed: &SealedSecret) -> Option<TotpSecret> {
    let row = user.to_string();
    let opened = shared.encryption.open(sealed, &context(&row));
    let text = opened
        .inspect_err(|error| tracing::error!(%user, %error, "a second factor can't be opened"))
        .ok()?;
    TotpSecret::parse(&text)
        .inspect_err(|error| tracing::error!(%user, %error, "a second factor can't be read"))
        .ok()
}
