//! How clients connect: TLS, proxies in between, and how many and how idle connections may be.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use airouter_proxy::gateway::ProxyProtocol;
use ipnet::IpNet;

use super::environment::Reader;

const DEFAULT_IDLE: Duration = Duration::from_secs(60);
const MOST_IDLE_SECONDS: u64 = 3600;
const MOST_PROXIES: usize = 256;

/// How clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Where the certificate is; `None` is no TLS.
    pub(crate) tls: Option<CertificateFiles>,
    /// Who is believed when it says for whom it speaks.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// How they say it.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// Most connections of one address.
    pub(crate) per_address: Option<NonZeroUsize>,
    /// A client that sends no request, or does not read, for so long is given up.
    pub(crate) idle: Duration,
}

/// A certificate and its key, both in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The certificate, and those that lead from it to its issuer.
    pub(crate) chain: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

impl Connections {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let trusted_proxies = trusted_proxies(reader);
        let proxy_protocol = reader
            .parsed("AIROUTER_PROXY_PROTOCOL", "on or off", |text| match text {
                "on" => Some(ProxyProtocol::Required),
                "off" => Some(ProxyProtocol::Off),
                _ => None,
            })
            .unwrap_or_default();
        if proxy_protocol == ProxyProtocol::Required && trusted_proxies.is_empty() {
            reader.fault(
                "AIROUTER_PROXY_PROTOCOL",
                "is on, but AIROUTER_TRUSTED_PROXIES names nobody who may send its headers",
            );
        }
        Self {
            tls: certificate_files(reader),
            trusted_proxies,
            proxy_protocol,
            per_address: reader.parsed(
                "AIROUTER_CONNECTIONS_PER_ADDRESS",
                "a number of connections, at least 1",
                |text| text.parse().ok(),
            ),
            idle: reader
                .parsed(
                    "AIROUTER_IDLE_SECONDS",
                    "a number of seconds from 1 to 3600",
                    |text| {
                        text.parse()
                            .ok()
                            .filter(|seconds| (1..=MOST_IDLE_SECONDS).contains(seconds))
                            .map(Duration::from_secs)
                    },
                )
                .unwrap_or(DEFAULT_IDLE),
        }
    }

    /// Of the address at which clients reach the listener.
    pub(crate) const fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// The trusted proxies as one text, as it was set.
    pub(super) fn proxies_as_text(&self) -> Option<String> {
        let proxies: Vec<_> = self.trusted_proxies.iter().map(IpNet::to_string).collect();
        (!proxies.is_empty()).then(|| proxies.join(","))
    }
}

fn certificate_files(reader: &mut Reader<'_>) -> Option<CertificateFiles> {
    let chain = reader.text("AIROUTER_TLS_CERT");
    let key = reader.text("AIROUTER_TLS_KEY");
    match (chain, key) {
        (Some(chain), Some(key)) => Some(CertificateFiles {
            chain: chain.into(),
            key: key.into(),
        }),
        (None, None) => None,
        (Some(_), None) => {
            reader.fault(
                "AIROUTER_TLS_KEY",
                "is not set, but AIROUTER_TLS_CERT is; expected the file of its private key",
            );
            None
        }
        (None, Some(_)) => {
            reader.fault(
                "AIROUTER_TLS_CERT",
                "is not set, but AIROUTER_TLS_KEY is; expected the file of its certificate",
            );
            None
        }
    }
}

fn trusted_proxies(reader: &mut Reader<'_>) -> Vec<IpNet> {
    reader
        .parsed(
            "AIROUTER_TRUSTED_PROXIES",
            "at most 256 addresses or networks, separated by commas, like 10.0.0.0/8,192.0.2.7",
            |text| {
                text.split(',')
                    .map(|part| network(part.trim()))
                    .collect::<Option<Vec<_>>>()
                    .filter(|networks| networks.len() <= MOST_PROXIES)
            },
        )
        .unwrap_or_default()
}

fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}
