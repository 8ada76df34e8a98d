//! Configuration: environment variables, validated whole before anything starts.

mod connections;
mod environment;
mod links;
mod listeners;
mod oidc;
mod process;
mod registration;
mod secrets;
mod settings;
mod storage;
#[cfg(test)]
mod tests;
mod upstream;
mod web_address;

use std::fmt;
use std::path::PathBuf;

use airouter_api::{RegistrationMode, Setting};
use airouter_proxy::answer_headers::AnswerHeaders;
use airouter_proxy::cors::AllowedOrigins;
use airouter_proxy::gateway::ProxyProtocol;

pub(crate) use connections::{CertificateFiles, Connections};
pub(crate) use environment::{Environment, Faults};
pub(crate) use links::Links;
pub(crate) use listeners::{Listeners, reachable};
pub(crate) use oidc::OpenIdConnect;
pub(crate) use process::Process;
pub(crate) use secrets::Secrets;
pub(crate) use settings::table as settings_table;
pub(crate) use storage::{DatabaseAddress, Storage};
pub(crate) use upstream::Upstream;

use environment::Reader;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where clients and Prometheus connect.
    pub(crate) listeners: Listeners,
    /// How clients connect.
    pub(crate) connections: Connections,
    /// Where things are kept.
    pub(crate) storage: Storage,
    /// The upstream and the operator's accounts there.
    pub(crate) upstream: Upstream,
    /// Secrets of the operator's own.
    pub(crate) secrets: Secrets,
    /// Who may register.
    pub(crate) registration: RegistrationMode,
    /// What becomes of links that nobody mails.
    pub(crate) links: Links,
    /// The provider that people may log in at.
    pub(crate) oidc: Option<OpenIdConnect>,
    /// How the process runs.
    pub(crate) process: Process,
    /// Variables that look like settings and are none.
    pub(crate) unknown: Vec<String>,
}

impl Config {
    /// What serving needs beyond what is wrong by itself: replicas on one database must have the same secrets.
    pub(crate) fn for_serving(&self, environment: &Environment) -> Result<(), Faults> {
        let mut reader = Reader::new(environment);
        if let DatabaseAddress::Postgres(_) = self.storage.database {
            for (name, secret) in [
                ("SECRET_KEY", &self.secrets.secret_key),
                ("ENCRYPTION_KEY", &self.secrets.encryption_key),
            ] {
                if secret.is_none() {
                    reader.fault(
                        name,
                        "is not set; with PostgreSQL every replica needs the same (openssl rand -base64 32)",
                    );
                }
            }
        }
        reader.finish(())
    }

    /// Reads all settings, or tells everything that is wrong with them.
    pub(crate) fn read(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let config = Self {
            listeners: Listeners::read(&mut reader),
            connections: Connections::read(&mut reader),
            storage: Storage::read(&mut reader),
            upstream: Upstream::read(&mut reader),
            secrets: Secrets::read(&mut reader),
            registration: registration::read(&mut reader),
            links: Links::read(&mut reader),
            oidc: OpenIdConnect::read(&mut reader),
            process: Process::read(&mut reader),
            unknown: environment.unknown(),
        };
        reader.finish(config)
    }
}

impl Config {
    /// What holds, with secrets masked.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let Self {
            listeners,
            connections,
            storage,
            upstream,
            secrets,
            registration,
            links,
            oidc,
            process,
            unknown: _,
        } = self;
        let set = |is_set: bool| if is_set { "(set)" } else { "(not set)" };
        let or_unset =
            |text: &Option<String>| text.clone().unwrap_or_else(|| "(not set)".to_owned());
        let tls_file = |file: fn(&CertificateFiles) -> &PathBuf| {
            let files = connections.tls.as_ref();
            or_unset(&files.map(|files| file(files).display().to_string()))
        };
        let of_provider =
            |what: fn(&OpenIdConnect) -> &String| or_unset(&oidc.as_ref().map(what).cloned());
        let keys = |count: usize| format!("({count} keys)");
        let discount = upstream
            .discount_or_default()
            .map(|discount| discount.fraction() * rust_decimal::Decimal::ONE_HUNDRED);
        [
            ("AIROUTER_LISTEN", listeners.clients.to_string()),
            ("AIROUTER_METRICS_LISTEN", listeners.metrics.to_string()),
            ("AIROUTER_PUBLIC_URL", or_unset(&listeners.public_url)),
            ("AIROUTER_TLS_CERT", tls_file(|files| &files.chain)),
            ("AIROUTER_TLS_KEY", tls_file(|files| &files.key)),
            (
                "AIROUTER_TRUSTED_PROXIES",
                or_unset(&connections.proxies_as_text()),
            ),
            (
                "AIROUTER_PROXY_PROTOCOL",
                match connections.proxy_protocol {
                    ProxyProtocol::Off => "off",
                    ProxyProtocol::Required => "on",
                }
                .to_owned(),
            ),
            (
                "AIROUTER_CONNECTIONS_PER_ADDRESS",
                or_unset(&connections.per_address.map(|most| most.to_string())),
            ),
            (
                "AIROUTER_IDLE_SECONDS",
                connections.idle.as_secs().to_string(),
            ),
            (
                "AIROUTER_CORS_ORIGINS",
                or_unset(
                    &listeners
                        .allowed_origins
                        .as_ref()
                        .map(AllowedOrigins::as_text),
                ),
            ),
            ("AIROUTER_DATA_DIR", storage.data_dir.display().to_string()),
            ("DATABASE_URL", storage.database.to_string()),
            ("REDIS_URL", set(storage.redis.is_some()).to_owned()),
            ("OPENROUTER_MASTER_KEYS", keys(upstream.master_keys.len())),
            (
                "OPENROUTER_PROVISIONING_KEY",
                keys(upstream.management_keys.len()),
            ),
            (
                "OPENROUTER_DISCOUNT_PERCENT",
                discount.unwrap_or_default().normalize().to_string(),
            ),
            ("OPENROUTER_BASE_URL", upstream.base_url.clone()),
            ("DEFAULT_MODEL", or_unset(&upstream.default_model)),
            ("SECRET_KEY", set(secrets.secret_key.is_some()).to_owned()),
            (
                "ENCRYPTION_KEY",
                set(secrets.encryption_key.is_some()).to_owned(),
            ),
            ("ADMIN_EMAIL", or_unset(&secrets.admin_email)),
            (
                "ADMIN_PASSWORD",
                set(secrets.admin_password.is_some()).to_owned(),
            ),
            ("AIROUTER_REGISTRATION", registration.name().to_owned()),
            ("AIROUTER_LOG_LINKS", links.name().to_owned()),
            ("AIROUTER_OIDC_ISSUER", of_provider(|it| &it.issuer)),
            ("AIROUTER_OIDC_CLIENT_ID", of_provider(|it| &it.client_id)),
            (
                "AIROUTER_OIDC_CLIENT_SECRET",
                set(oidc.is_some()).to_owned(),
            ),
            ("AIROUTER_OIDC_SCOPES", of_provider(|it| &it.scopes)),
            ("AIROUTER_OIDC_NAME", of_provider(|it| &it.name)),
            (
                "HTTPS_PROXY",
                set(upstream.https_proxy.is_some()).to_owned(),
            ),
            (
                "AIROUTER_FIRST_HEADERS_SECONDS",
                upstream.stream_headers.as_secs().to_string(),
            ),
            (
                "AIROUTER_CREDIT_SECONDS",
                upstream.credit_every.as_secs().to_string(),
            ),
            (
                "AIROUTER_RECONCILE_MINUTES",
                upstream.reconcile_after.map_or_else(
                    || "off".to_owned(),
                    |after| (after.as_secs() / 60).to_string(),
                ),
            ),
            (
                "AIROUTER_MAX_BODY_BYTES",
                listeners.max_body_bytes.to_string(),
            ),
            (
                "AIROUTER_ANSWER_HEADERS",
                match listeners.answer_headers {
                    AnswerHeaders::On => "on",
                    AnswerHeaders::Off => "off",
                }
                .to_owned(),
            ),
            (
                "AIROUTER_WORKER_THREADS",
                process
                    .worker_threads
                    .map_or_else(|| "(one a core)".to_owned(), |threads| threads.to_string()),
            ),
            (
                "AIROUTER_SHUTDOWN_SECONDS",
                process.shutdown.as_secs().to_string(),
            ),
            ("AIROUTER_LOG", or_unset(&process.log)),
            ("RUST_LOG", or_unset(&process.rust_log)),
        ]
        .into_iter()
        .map(|(name, value)| Setting { name, value })
        .collect()
    }
}

/// The effective configuration in one line, with secrets masked.
impl fmt::Display for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Setting { name, value }) in self.settings().iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(formatter, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}
