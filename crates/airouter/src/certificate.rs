//! The certificate's files: read at start, and again whenever they change.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airouter_proxy::metrics::{Alarm, Gauge, Metrics};
use airouter_proxy::server::tls::{Certificate, CertificateError, TlsIdentity};
use anyhow::Context as _;
use aws_lc_rs::digest::{self, SHA256};
use time::OffsetDateTime;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::CertificateFiles;

/// How often the files are read.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// No certificate file is larger.
const LONGEST: u64 = 1 << 20;
/// A certificate that ends sooner is worth a warning.
const ENDS_SOON: time::Duration = time::Duration::days(14);

/// Follows the certificate's files.
pub(crate) struct CertificateWatch {
    files: CertificateFiles,
    identity: Arc<TlsIdentity>,
    metrics: Arc<Metrics>,
    served: Fingerprint,
    /// What is wrong with the files as they are; told once.
    problem: Option<String>,
}

/// Why the files can't serve.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("{path} can't be read: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Stands for the content of both files.
type Fingerprint = [u8; 32];

/// Both files as they are.
struct Content {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl CertificateWatch {
    /// Loads the certificate; it must be good.
    pub(crate) async fn start(
        files: CertificateFiles,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let loaded = async {
            let content = Content::read(&files).await?;
            let certificate = content.certificate()?;
            Ok::<_, LoadError>((content.fingerprint(), certificate))
        };
        let (served, certificate) = loaded
            .await
            .context("AIROUTER_TLS_CERT and AIROUTER_TLS_KEY")?;
        note_expiry(&certificate, &metrics);
        Ok(Self {
            files,
            identity: Arc::new(TlsIdentity::new(certificate)),
            metrics,
            served,
            problem: None,
        })
    }

    /// What is shown to clients.
    pub(crate) fn identity(&self) -> Arc<TlsIdentity> {
        Arc::clone(&self.identity)
    }

    /// Follows the files until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CHECK_EVERY) => {}
            }
            match self.reload().await {
                Ok(()) => self.problem = None,
                Err(error) => self.tell(error.to_string()),
            }
        }
    }

    async fn reload(&mut self) -> Result<(), LoadError> {
        let content = Content::read(&self.files).await?;
        let fingerprint = content.fingerprint();
        if fingerprint == self.served {
            return Ok(());
        }
        let certificate = content.certificate()?;
        note_expiry(&certificate, &self.metrics);
        self.identity.replace(certificate);
        self.served = fingerprint;
        tracing::info!("new connections get the new certificate");
        Ok(())
    }

    /// Says what is wrong, unless that was said before.
    fn tell(&mut self, problem: String) {
        if self.problem.as_deref() != Some(&problem) {
            self.metrics.alarm(Alarm::CertificateRefused);
            tracing::error!(
                problem,
                "the new certificate can't be used: the old one goes on"
            );
            self.problem = Some(problem);
        }
    }
}

impl Content {
    async fn read(files: &CertificateFiles) -> Result<Self, LoadError> {
        Ok(Self {
            chain: read_bounded(&files.chain).await?,
            key: Zeroizing::new(read_bounded(&files.key).await?),
        })
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut context = digest::Context::new(&SHA256);
        context.update(&self.chain.len().to_be_bytes());
        context.update(&self.chain);
        context.update(&self.key);
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }

    fn certificate(&self) -> Result<Certificate, CertificateError> {
        Certificate::from_pem(&self.chain, &self.key)
    }
}

async fn read_bounded(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        path: path.display().to_string(),
        source,
    };
    let file = File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = file.take(LONGEST + 1).read_to_end(&mut bytes).await;
    if read.map_err(unreadable)? as u64 > LONGEST {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

fn note_expiry(certificate: &Certificate, metrics: &Metrics) {
    let expires_at = certificate.expires_at();
    metrics
        .gauge(Gauge::CertificateExpiry)
        .set(expires_at.unix_timestamp());
    if expires_at - OffsetDateTime::now_utc() < ENDS_SOON {
        tracing::warn!(%expires_at, "the certificate ends soon, or has ended");
    }
}
