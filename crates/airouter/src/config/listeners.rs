//! Where clients and Prometheus connect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use airouter_proxy::answer_headers::AnswerHeaders;
use airouter_proxy::cors::AllowedOrigins;

use super::environment::Reader;
use super::web_address::plain_http_url;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);
const DEFAULT_METRICS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
const DEFAULT_MAX_BODY_BYTES: usize = 32 << 20;
/// The smallest and largest limit on a body that makes sense.
const MAX_BODY_BYTES_RANGE: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 30;
const ADDRESS: &str = "an address and a port, like 127.0.0.1:8000";

/// Where clients and Prometheus connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listeners {
    /// Address for clients.
    pub(crate) clients: SocketAddr,
    /// Address of `/metrics`.
    pub(crate) metrics: SocketAddr,
    /// Where clients reach it, if that is not the listener's address; without a slash at the end.
    pub(crate) public_url: Option<String>,
    /// Largest request body.
    pub(crate) max_body_bytes: usize,
    /// Whether answers carry `x-airouter-…` headers.
    pub(crate) answer_headers: AnswerHeaders,
    /// Whose pages may use it from a browser; `None` is nobody's.
    pub(crate) allowed_origins: Option<AllowedOrigins>,
}

impl Listeners {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let address = |text: &str| text.parse().ok();
        let clients = reader
            .parsed("AIROUTER_LISTEN", ADDRESS, address)
            .unwrap_or(DEFAULT_LISTEN);
        let metrics = reader
            .parsed("AIROUTER_METRICS_LISTEN", ADDRESS, address)
            .unwrap_or(DEFAULT_METRICS_LISTEN);
        if clients == metrics && clients.port() != 0 {
            reader.fault(
                "AIROUTER_METRICS_LISTEN",
                format!("{metrics} is AIROUTER_LISTEN's address; expected another one"),
            );
        }
        Self {
            clients,
            metrics,
            public_url: reader.parsed(
                "AIROUTER_PUBLIC_URL",
                "an http or https URL, like https://ai.example.com",
                plain_http_url,
            ),
            max_body_bytes: reader
                .parsed(
                    "AIROUTER_MAX_BODY_BYTES",
                    "a number of bytes from 1024 to 1073741824",
                    |text| {
                        text.parse()
                            .ok()
                            .filter(|bytes| MAX_BODY_BYTES_RANGE.contains(bytes))
                    },
                )
                .unwrap_or(DEFAULT_MAX_BODY_BYTES),
            answer_headers: reader
                .parsed("AIROUTER_ANSWER_HEADERS", "on or off", |text| match text {
                    "on" => Some(AnswerHeaders::On),
                    "off" => Some(AnswerHeaders::Off),
                    _ => None,
                })
                .unwrap_or_default(),
            allowed_origins: reader.parsed(
                "AIROUTER_CORS_ORIGINS",
                "origins without paths, at most 64, separated by commas, like https://app.example.com; or * alone",
                AllowedOrigins::parse,
            ),
        }
    }

    /// Where clients reach a listener that is bound to `bound`, without a slash at the end.
    pub(crate) fn public_url(&self, scheme: &str, bound: SocketAddr) -> String {
        self.public_url
            .clone()
            .unwrap_or_else(|| format!("{scheme}://{}", reachable(bound)))
    }
}

/// An address that can be connected to, of one that may stand for all of them.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
