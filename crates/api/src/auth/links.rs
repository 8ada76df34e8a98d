//! Links that are mailed. The token is in the fragment, which browsers send to no server: it is in nobody's log of requests.

use airouter_auth::OpaqueToken;
use airouter_store::mailed_tokens::{MailedKind, NewMailedToken, Presented};
use secrecy::{ExposeSecret as _, SecretString};

use crate::caller::ClientAddress;
use crate::mail::Message;
use crate::problem::Problem;
use crate::shared::Shared;

/// The page of a link, below the public address.
const fn page(kind: MailedKind) -> &'static str {
    match kind {
        MailedKind::VerifyEmail => "/verify-email",
        MailedKind::ResetPassword => "/reset-password",
    }
}

/// Mails a link to whoever is active and has this address; where nobody is, as much is done.
pub(super) async fn mail(shared: &Shared, email: &str, kind: MailedKind) -> Result<(), Problem> {
    let token = OpaqueToken::generate(kind.opaque()).map_err(|error| {
        tracing::error!(%error, "no token to mail could be made");
        Problem::Internal
    })?;
    let new = NewMailedToken {
        kind,
        token: token.hash(),
        at: shared.now(),
    };
    let recipient = shared.store.keep_mailed_token(email, &new).await?;
    let (address, page) = (shared.public_url.as_str(), page(kind));
    let link = SecretString::from(format!("{address}{page}#token={}", token.expose()));
    if let Some(to) = recipient {
        shared.mail.send(Message { to, kind, link });
    }
    Ok(())
}

/// The token of a link, as somebody presents it.
pub(super) fn presented(
    shared: &Shared,
    kind: MailedKind,
    token: &SecretString,
    ClientAddress(address): ClientAddress,
) -> Result<Presented, Problem> {
    let token = OpaqueToken::parse(kind.opaque(), token.expose_secret())
        .map_err(|_| Problem::NoSuchMailedToken)?;
    Ok(Presented {
        token: token.hash(),
        address: Some(address.to_string()),
        at: shared.now(),
    })
}
