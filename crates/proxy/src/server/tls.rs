//! The certificate that clients see, and its exchange while the server runs.

mod expiry;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;

/// The protocols that are spoken over TLS, the preferred one first.
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// A certificate with its key, ready to serve.
#[derive(Debug)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    expires_at: OffsetDateTime,
}

/// Why a certificate can't serve.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is no certificate in it.
    #[error("the certificate file holds no certificate in PEM form")]
    NoCertificate,
    /// What should be a certificate can't be read.
    #[error("a certificate of the chain can't be read")]
    UnreadableCertificate,
    /// There is no private key in it.
    #[error("the key file holds no private key in PEM form (one with a password can't be used)")]
    NoKey,
    /// They don't belong together, or are of a kind that is not supported.
    #[error("the certificate can't serve with this key: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Certificate {
    /// A certificate with those that lead from it to its issuer, and its private key, both in PEM form.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateError::UnreadableCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let expires_at = first_expiry(&chain)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // A client that comes back spares itself the exchange of keys.
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            config: Arc::new(config),
            expires_at,
        })
    }

    /// When the first certificate of the chain ends.
    pub const fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }
}

fn first_expiry(chain: &[CertificateDer<'_>]) -> Result<OffsetDateTime, CertificateError> {
    let expiries = chain
        .iter()
        .map(|certificate| {
            expiry::expiry(certificate).ok_or(CertificateError::UnreadableCertificate)
        })
        .collect::<Result<Vec<_>, _>>()?;
    expiries
        .into_iter()
        .min()
        .ok_or(CertificateError::NoCertificate)
}

/// What the server shows to those who connect. A new certificate is for new connections; those that are there go on.
#[derive(Debug)]
pub struct TlsIdentity(ArcSwap<ServerConfig>);

impl TlsIdentity {
    /// Begins with this certificate.
    pub fn new(certificate: Certificate) -> Self {
        Self(ArcSwap::new(certificate.config))
    }

    /// Goes on with this one.
    pub fn replace(&self, certificate: Certificate) {
        self.0.store(certificate.config);
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    // Made with openssl for these tests; used nowhere else.
    const CHAIN: &str = include_str!("tls/test_until_2029.pem");
    const KEY: &str = include_str!("tls/test_until_2029.key");
    const LONG_CHAIN: &str = include_str!("tls/test_until_2126.pem");
    const LONG_KEY: &str = include_str!("tls/test_until_2126.key");

    fn load(chain: &str, key: &str) -> Result<Certificate, CertificateError> {
        Certificate::from_pem(chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn a_pair_serves_until_the_first_of_its_chain_ends() {
        let loaded = load(CHAIN, KEY).unwrap();
        assert_eq!(loaded.expires_at(), datetime!(2029-08-17 16:47:42 UTC));
        assert_eq!(loaded.config.alpn_protocols, [HTTP2, HTTP1]);
        let loaded = load(LONG_CHAIN, LONG_KEY).unwrap();
        assert_eq!(loaded.expires_at(), datetime!(2126-10-28 16:46:59 UTC));
        let both = load(&[LONG_CHAIN, CHAIN].concat(), LONG_KEY).unwrap();
        assert_eq!(both.expires_at(), datetime!(2029-08-17 16:47:42 UTC));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        for (chain, key) in [
            (CHAIN, LONG_KEY),
            ("", KEY),
            (KEY, KEY),
            (CHAIN, CHAIN),
            (&CHAIN[..CHAIN.len() / 2], KEY),
            (&CHAIN.replacen("MII", "AII", 1), KEY),
        ] {
            assert!(load(chain, key).is_err(), "{chain} {key}");
        }
    }
}
