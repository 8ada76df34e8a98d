use std::ffi::OsString;
use std::path::Path;

use rust_decimal::Decimal;
use secrecy::ExposeSecret;

use super::settings::SETTINGS;
use super::{Config, DatabaseAddress, Environment, Links};

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
        .collect()
}

fn read(variables: &[(&str, &str)]) -> Config {
    Config::read(&environment(variables)).unwrap()
}

fn faults(variables: &[(&str, &str)]) -> Vec<String> {
    let faults = Config::read(&environment(variables)).unwrap_err();
    faults.to_string().lines().map(str::to_owned).collect()
}

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn everything_has_a_default() {
    let config = read(&[]);
    assert_eq!(config.listeners.clients.to_string(), "127.0.0.1:8000");
    assert_eq!(config.listeners.metrics.to_string(), "127.0.0.1:9464");
    assert_eq!(config.listeners.max_body_bytes, 33_554_432);
    assert_eq!(
        config.storage.database.to_string(),
        "sqlite://./data/airouter.db"
    );
    assert_eq!(config.upstream.base_url, "https://openrouter.ai/api/v1");
    let discount = config.upstream.discount_or_default().unwrap();
    assert_eq!(discount.fraction(), Decimal::new(7, 1));
    assert!(config.upstream.master_keys.is_empty() && config.unknown.is_empty());
}

#[test]
fn every_fault_is_listed_by_name() {
    let faults = faults(&[
        ("AIROUTER_LISTEN", "localhost"),
        ("AIROUTER_PUBLIC_URL", "ftp://x"),
        ("AIROUTER_TLS_CERT", "/etc/tls/chain.pem"),
        ("AIROUTER_TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
        ("AIROUTER_PROXY_PROTOCOL", "yes"),
        ("AIROUTER_CONNECTIONS_PER_ADDRESS", "0"),
        ("AIROUTER_IDLE_SECONDS", "0"),
        ("AIROUTER_CORS_ORIGINS", "https://app.example.com/"),
        ("AIROUTER_MAX_BODY_BYTES", "12"),
        ("AIROUTER_ANSWER_HEADERS", "some"),
        ("AIROUTER_WORKER_THREADS", "0"),
        ("AIROUTER_SHUTDOWN_SECONDS", "-1"),
        ("AIROUTER_LOG", "airouter=loudly"),
        ("DATABASE_URL", "mysql://user:hunter22@db/x"),
        ("REDIS_URL", "http://:hunter22@redis/"),
        ("OPENROUTER_DISCOUNT_PERCENT", "100"),
        ("OPENROUTER_BASE_URL", "https://user:hunter22@x/api/v1"),
        ("OPENROUTER_MASTER_KEYS", "sk-or-v1-a,,sk-or-v1-a"),
        ("DEFAULT_MODEL", "a b"),
        ("SECRET_KEY", "hunter22"),
        ("ENCRYPTION_KEY", "AAAA"),
        ("ADMIN_EMAIL", "nobody"),
        ("ADMIN_PASSWORD", "short"),
        ("AIROUTER_LOG_LINKS", "yes"),
        ("HTTPS_PROXY", "proxy"),
    ]);
    let named: Vec<_> = faults
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    for name in [
        "AIROUTER_LISTEN",
        "AIROUTER_PUBLIC_URL",
        "AIROUTER_TLS_KEY",
        "AIROUTER_TRUSTED_PROXIES",
        "AIROUTER_PROXY_PROTOCOL",
        "AIROUTER_CONNECTIONS_PER_ADDRESS",
        "AIROUTER_IDLE_SECONDS",
        "AIROUTER_CORS_ORIGINS",
        "AIROUTER_MAX_BODY_BYTES",
        "AIROUTER_ANSWER_HEADERS",
        "AIROUTER_WORKER_THREADS",
        "AIROUTER_SHUTDOWN_SECONDS",
        "AIROUTER_LOG",
        "DATABASE_URL",
        "REDIS_URL",
        "OPENROUTER_DISCOUNT_PERCENT",
        "OPENROUTER_BASE_URL",
        "DEFAULT_MODEL",
        "SECRET_KEY",
        "ENCRYPTION_KEY",
        "ADMIN_EMAIL",
        "ADMIN_PASSWORD",
        "AIROUTER_LOG_LINKS",
        "HTTPS_PROXY",
    ] {
        assert_eq!(
            named.iter().filter(|named| **named == name).count(),
            1,
            "{name}"
        );
    }
    let keys = named
        .iter()
        .filter(|named| **named == "OPENROUTER_MASTER_KEYS")
        .count();
    assert_eq!(keys, 2, "an empty entry and a repeated one");
    for secret in ["sk-or-v1-a", "\"short\"", "db/x", "redis/"] {
        assert!(!faults.iter().any(|line| line.contains(secret)), "{secret}");
    }
}

#[test]
fn what_is_empty_is_not_set() {
    let config = read(&[
        ("AIROUTER_LISTEN", " "),
        ("OPENROUTER_MASTER_KEYS", ""),
        ("DATABASE_URL", ""),
    ]);
    assert_eq!(config.listeners.clients.port(), 8000);
    assert!(config.upstream.master_keys.is_empty());
}

#[test]
fn a_mistyped_setting_is_noticed() {
    let config = read(&[
        ("AIROUTER_LISTENS", "x"),
        ("AIROUTER_LISTEN", "0.0.0.0:1"),
        ("OTHER", "x"),
    ]);
    assert_eq!(config.unknown, ["AIROUTER_LISTENS"]);
}

#[test]
fn the_public_url_is_the_listeners_unless_it_is_set() {
    let bound = "0.0.0.0:8000".parse().unwrap();
    assert_eq!(
        read(&[]).listeners.public_url("http", bound),
        "http://127.0.0.1:8000"
    );
    let set = read(&[("AIROUTER_PUBLIC_URL", "https://ai.example.com/")]);
    assert_eq!(
        set.listeners.public_url("http", bound),
        "https://ai.example.com"
    );
}

#[test]
fn a_certificate_needs_its_key() {
    let (cert, key) = (
        ("AIROUTER_TLS_CERT", "c.pem"),
        ("AIROUTER_TLS_KEY", "k.pem"),
    );
    assert!(faults(&[cert])[0].starts_with("AIROUTER_TLS_KEY: is not set"));
    assert!(faults(&[key])[0].starts_with("AIROUTER_TLS_CERT: is not set"));
    let config = read(&[cert, key]);
    let bound = "127.0.0.1:8000".parse().unwrap();
    let url = config
        .listeners
        .public_url(config.connections.scheme(), bound);
    assert_eq!(url, "https://127.0.0.1:8000");
}

#[test]
fn proxies_are_addresses_and_networks() {
    let config = read(&[("AIROUTER_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7,fd00::/8")]);
    let proxies = config.connections.proxies_as_text();
    assert_eq!(proxies.as_deref(), Some("10.0.0.0/8,192.0.2.7/32,fd00::/8"));
    assert_eq!(read(&[]).connections.proxies_as_text(), None);
    for wrong in ["10.0.0.0/33", "proxy", "10.0.0.1,", "10.0.0.1:80"] {
        assert_eq!(faults(&[("AIROUTER_TRUSTED_PROXIES", wrong)]).len(), 1);
    }
}

#[test]
fn the_proxy_protocol_needs_somebody_to_trust() {
    let on = ("AIROUTER_PROXY_PROTOCOL", "on");
    assert!(faults(&[on])[0].contains("AIROUTER_TRUSTED_PROXIES"));
    let config = read(&[on, ("AIROUTER_TRUSTED_PROXIES", "10.0.0.1")]);
    assert_eq!(
        config.connections.proxy_protocol,
        airouter_proxy::gateway::ProxyProtocol::Required
    );
}

#[test]
fn sqlite_urls_name_a_file() {
    for (url, path) in [
        ("sqlite://data/a.db", "data/a.db"),
        ("sqlite:///var/lib/a.db", "/var/lib/a.db"),
        ("sqlite:a.db", "a.db"),
    ] {
        let DatabaseAddress::Sqlite(read) = read(&[("DATABASE_URL", url)]).storage.database else {
            panic!("{url} is a file");
        };
        assert_eq!(read, Path::new(path));
    }
    for url in [
        "sqlite::memory:",
        "sqlite://",
        "sqlite://a.db?mode=ro",
        "a.db",
    ] {
        assert_eq!(faults(&[("DATABASE_URL", url)]).len(), 1, "{url}");
    }
}

#[test]
fn keys_are_separated_by_commas() {
    let config = read(&[("OPENROUTER_MASTER_KEYS", "sk-or-v1-a, sk-or-v1-b")]);
    let keys: Vec<_> = config
        .upstream
        .master_keys
        .iter()
        .map(ExposeSecret::expose_secret)
        .collect();
    assert_eq!(keys, ["sk-or-v1-a", "sk-or-v1-b"]);
}

#[test]
fn the_effective_configuration_shows_no_secret() {
    let config = read(&[
        ("OPENROUTER_MASTER_KEYS", "sk-or-v1-hidden"),
        ("SECRET_KEY", KEY),
        ("ENCRYPTION_KEY", KEY),
        ("ADMIN_PASSWORD", "hidden-password"),
        ("HTTPS_PROXY", "http://user:hidden@proxy:3128"),
        ("REDIS_URL", "rediss://user:hidden@redis:6380/1"),
    ]);
    for text in [config.to_string(), format!("{config:?}")] {
        assert!(!text.contains("hidden") && !text.contains(KEY), "{text}");
    }
    assert!(
        config
            .to_string()
            .contains("OPENROUTER_DISCOUNT_PERCENT=70 ")
    );
}

#[test]
fn postgres_urls_are_shown_without_what_is_secret() {
    for url in [
        "postgres://user:hunter22@db/x",
        "postgresql://user:hunter22@db/x?sslmode=require",
        "postgresql+asyncpg://user:p@hunter22@db/x",
    ] {
        let config = read(&[("DATABASE_URL", url)]);
        assert_eq!(config.storage.database.to_string(), "postgres://db/x");
        assert!(!config.to_string().contains("hunter22"));
    }
}

#[test]
fn links_are_in_no_log_unless_the_operator_says_so() {
    assert_eq!(read(&[]).links, Links::Dropped);
    let logged = read(&[("AIROUTER_LOG_LINKS", "on")]);
    assert_eq!(logged.links, Links::Logged);
}

#[test]
fn replicas_need_the_same_secrets() {
    let faults_of = |variables: &[(&str, &str)]| {
        let environment = environment(variables);
        let config = Config::read(&environment).unwrap();
        config
            .for_serving(&environment)
            .err()
            .map(|faults| faults.to_string())
    };
    assert_eq!(faults_of(&[]), None);
    let faults = faults_of(&[("DATABASE_URL", "postgres://db/x"), ("SECRET_KEY", KEY)]).unwrap();
    assert!(faults.starts_with("ENCRYPTION_KEY: is not set"), "{faults}");
    let all = [
        ("DATABASE_URL", "postgres://db/x"),
        ("SECRET_KEY", KEY),
        ("ENCRYPTION_KEY", KEY),
    ];
    assert_eq!(faults_of(&all), None);
}

#[test]
fn what_holds_is_told_of_every_setting() {
    let told: Vec<_> = read(&[]).settings().into_iter().map(|it| it.name).collect();
    let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(told, known);
}

#[test]
fn the_readme_describes_every_setting() {
    let readme = include_str!("../../../../README.md");
    let mut described: Vec<_> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| variable | default |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|names| names.split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    let mut known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    // It is told beside the variable that it stands in for.
    known.retain(|name| *name != "RUST_LOG");
    assert!(readme.contains("`RUST_LOG` where it is not set"));
    known.sort_unstable();
    described.sort_unstable();
    assert_eq!(described, known);
}
