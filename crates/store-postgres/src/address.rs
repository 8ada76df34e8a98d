//! The address of the database, as other programs write it too.

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;

use crate::open::OpenError;

/// What sqlx understands. It logs the value of any other parameter, which may be a secret.
const KNOWN_PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
];

/// How to connect to `url`: `postgres://`, `postgresql://` or, as Python programs write it, `postgresql+asyncpg://`.
pub(crate) fn parse(url: &str) -> Result<PgConnectOptions, OpenError> {
    let unreadable = OpenError::Address;
    let (scheme, rest) = url.split_once("://").ok_or(unreadable)?;
    if !matches!(scheme, "postgres" | "postgresql" | "postgresql+asyncpg") {
        return Err(OpenError::Address);
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let parameters: Vec<String> = query.split('&').filter_map(parameter).collect();
    let url = format!("postgres://{place}?{}", parameters.join("&"));
    // The error may repeat parts of the address, and with them the password.
    PgConnectOptions::from_str(&url).map_err(|_| OpenError::Address)
}

/// A parameter as sqlx writes it; none if it is unknown there.
fn parameter(text: &str) -> Option<String> {
    let (key, value) = text.split_once('=')?;
    if key == "ssl" {
        let mode = match value {
            "true" | "1" => "require",
            "false" | "0" => "disable",
            mode => mode,
        };
        return Some(format!("sslmode={mode}"));
    }
    if KNOWN_PARAMETERS.contains(&key) || key.starts_with("options[") {
        return Some(text.to_owned());
    }
    tracing::warn!(
        parameter = key,
        "the database's address has a parameter that is not known: it is ignored"
    );
    None
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgSslMode;

    use super::parse;
    use crate::open::OpenError;

    #[test]
    fn every_way_to_write_it_is_understood() {
        for scheme in ["postgres", "postgresql", "postgresql+asyncpg"] {
            let url =
                format!("{scheme}://ann:a%40b@db.example:6432/router?pool_size=3&ssl=require");
            let options = parse(&url).unwrap();
            assert_eq!(options.get_host(), "db.example");
            assert_eq!(options.get_port(), 6432);
            assert_eq!(options.get_username(), "ann");
            assert_eq!(options.get_database(), Some("router"));
            assert!(matches!(options.get_ssl_mode(), PgSslMode::Require));
        }
        let options = parse("postgres://db?sslmode=verify-full").unwrap();
        assert!(matches!(options.get_ssl_mode(), PgSslMode::VerifyFull));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for url in [
            "mysql://u:secret@h/d",
            "postgres://u:secret@h:port/d",
            "postgres://u:secret@h/d?sslmode=secret",
            "secret",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, OpenError::Address), "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
}
