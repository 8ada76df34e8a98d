//! Every environment variable that means something: for `--help`, and to find typing errors.

use std::fmt::Write as _;

/// An environment variable.
pub(crate) struct Setting {
    pub(super) name: &'static str,
    default: &'static str,
    meaning: &'static str,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        default,
        meaning,
    }
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("AIROUTER_LISTEN", "127.0.0.1:8000", "address for clients"),
    setting(
        "AIROUTER_METRICS_LISTEN",
        "127.0.0.1:9464",
        "address of /metrics",
    ),
    setting(
        "AIROUTER_PUBLIC_URL",
        "from the address",
        "where clients reach it, as printed for them",
    ),
    setting(
        "AIROUTER_TLS_CERT",
        "",
        "file of the certificate for clients, in PEM form, with those up to its issuer; read again when it changes",
    ),
    setting(
        "AIROUTER_TLS_KEY",
        "",
        "file of its private key, in PEM form",
    ),
    setting(
        "AIROUTER_TRUSTED_PROXIES",
        "",
        "addresses and networks, comma-separated, whose word on who connects is taken",
    ),
    setting(
        "AIROUTER_PROXY_PROTOCOL",
        "off",
        "on: trusted proxies begin connections with a PROXY protocol header",
    ),
    setting(
        "AIROUTER_CONNECTIONS_PER_ADDRESS",
        "any number",
        "most connections of one client address",
    ),
    setting(
        "AIROUTER_IDLE_SECONDS",
        "60",
        "a client that sends no request, or does not read, for so long is disconnected",
    ),
    setting(
        "AIROUTER_CORS_ORIGINS",
        "",
        "origins, comma-separated, whose pages may use it from a browser; *: anybody's, without cookies",
    ),
    setting(
        "AIROUTER_DATA_DIR",
        "./data",
        "where the SQLite file, generated secrets and the spool are kept; each replica has its own",
    ),
    setting(
        "DATABASE_URL",
        "airouter.db in the data directory",
        "postgres://USER:PASSWORD@HOST/DATABASE, or sqlite://PATH",
    ),
    setting(
        "REDIS_URL",
        "",
        "redis://HOST or rediss://HOST, through which replicas share rate limits",
    ),
    setting(
        "OPENROUTER_MASTER_KEYS",
        "",
        "inference keys, comma-separated; new ones become master accounts",
    ),
    setting(
        "OPENROUTER_PROVISIONING_KEY",
        "",
        "management keys, comma-separated; the n-th belongs to the n-th master key",
    ),
    setting(
        "OPENROUTER_DISCOUNT_PERCENT",
        "70",
        "what the operator's credits cost below par",
    ),
    setting(
        "OPENROUTER_BASE_URL",
        "https://openrouter.ai/api/v1",
        "the upstream",
    ),
    setting("DEFAULT_MODEL", "", "for requests that name no model"),
    setting(
        "SECRET_KEY",
        "generated",
        "32 bytes in base64, comma-separated: the first signs, all verify; required with PostgreSQL",
    ),
    setting(
        "ENCRYPTION_KEY",
        "generated",
        "32 bytes in base64, comma-separated: the first seals, all open; required with PostgreSQL",
    ),
    setting(
        "ADMIN_EMAIL",
        "admin@localhost",
        "the first admin, if there is none",
    ),
    setting(
        "ADMIN_PASSWORD",
        "generated and printed once",
        "the first admin's password",
    ),
    setting(
        "AIROUTER_REGISTRATION",
        "open",
        "who may register: open, invitation or closed",
    ),
    setting(
        "AIROUTER_LOG_LINKS",
        "off",
        "on: links that reset passwords are written to the log; for development only",
    ),
    setting(
        "AIROUTER_OIDC_ISSUER",
        "",
        "a provider of logins (OpenID Connect), like https://id.example.com",
    ),
    setting(
        "AIROUTER_OIDC_CLIENT_ID",
        "",
        "how the provider knows this service",
    ),
    setting("AIROUTER_OIDC_CLIENT_SECRET", "", "what proves it"),
    setting(
        "AIROUTER_OIDC_SCOPES",
        "openid email profile",
        "what the provider is asked for",
    ),
    setting(
        "AIROUTER_OIDC_NAME",
        "the issuer",
        "what pages call the provider",
    ),
    setting("HTTPS_PROXY", "", "proxy for an https upstream"),
    setting(
        "AIROUTER_FIRST_HEADERS_SECONDS",
        "30",
        "an upstream that takes longer to begin a stream is given up; ten times as long for other answers",
    ),
    setting(
        "AIROUTER_CREDIT_SECONDS",
        "60",
        "how often upstreams are asked for the credit of master accounts",
    ),
    setting(
        "AIROUTER_RECONCILE_MINUTES",
        "60",
        "so long after its end a day is compared with what upstreams billed: 0 to 1380, or off",
    ),
    setting(
        "AIROUTER_MAX_BODY_BYTES",
        "33554432",
        "largest request body",
    ),
    setting(
        "AIROUTER_ANSWER_HEADERS",
        "on",
        "whether answers carry x-airouter-… headers with what they cost and what is left: on or off",
    ),
    setting(
        "AIROUTER_WORKER_THREADS",
        "one a core",
        "threads that serve",
    ),
    setting(
        "AIROUTER_SHUTDOWN_SECONDS",
        "30",
        "for so long running answers may go on after SIGTERM",
    ),
    setting(
        "AIROUTER_LOG",
        "info",
        "what is logged, like airouter=debug,info",
    ),
    setting("RUST_LOG", "", "the same, where AIROUTER_LOG is not set"),
];

/// The settings as a table, for `--help`.
pub(crate) fn table() -> String {
    let mut table = String::from("Environment:\n");
    for Setting {
        name,
        default,
        meaning,
    } in SETTINGS
    {
        let default = if default.is_empty() {
            String::new()
        } else {
            format!(" [{default}]")
        };
        // Writing to a string can't fail.
        let _ = writeln!(table, "  {name:<33} {meaning}{default}");
    }
    table
}
