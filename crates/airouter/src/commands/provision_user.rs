//! `airouter provision-user`.

use std::process::ExitCode;

use airouter_billing::event::Payment;
use airouter_billing::{Nanos, Period, Quantity, Timestamp};
use airouter_proxy::clock::Clock as _;
use airouter_store::Store;
use airouter_store::audit::COMMAND_LINE;
use airouter_store::clients::{NewCap, Person, Role};
use anyhow::Context as _;
use clap::Args;

use crate::accounts::{self, PersonRequest};
use crate::clock::SystemClock;
use crate::commands::credit;
use crate::config::Config;
use crate::{database, output};

pub(super) const HELP: &str = "\
Prints two lines that a shell and a .env file understand. Runs beside a server. For an e-mail address that is known it
adds a key and changes nothing else.

Examples:
  airouter provision-user --email=ann@example.com --name=Ann --credit=10
  airouter provision-user --email=bob@example.com --name=Bob --limit=5000 --utm-source=fair --locale=en";

const DEFAULT_LIMIT_CENTS: i64 = 1000;

/// The command's arguments.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// E-mail address, by which the client is known.
    #[arg(long, value_parser = |text: &str| accounts::email(text).ok_or("not an e-mail address"))]
    email: String,
    /// Name to show.
    #[arg(long, value_parser = |text: &str| accounts::name(text).ok_or("not a name"))]
    name: String,
    /// Make the account prepaid, with this balance in USD; 0 is allowed. Without it the account is metered.
    #[arg(long, value_name = "USD", value_parser = positive)]
    credit: Option<Nanos>,
    /// Monthly cap in cents of the client's price; 1000 for a metered account where it is not given.
    #[arg(long, value_name = "CENTS", value_parser = limit)]
    limit: Option<Nanos>,
    /// Where the client came from.
    #[arg(long)]
    utm_source: Option<String>,
    /// Language.
    #[arg(long)]
    locale: Option<String>,
}

/// Creates the client, or finds it, and prints a new key.
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let at = SystemClock.now();
    let person = match store.person_by_email(&arguments.email).await? {
        Some(person) => {
            output::remark(&format!(
                "{} is known already: a key was added, nothing else was changed",
                person.email
            ));
            person
        }
        None => create(&*store, arguments, at).await?,
    };
    let key = accounts::issue_key(&*store, person.account, COMMAND_LINE, at).await?;
    let base_url = config
        .listeners
        .public_url(config.connections.scheme(), config.listeners.clients);
    output::result(&format!("AI_GATEWAY_API_KEY={}", key.expose()))?;
    output::result(&format!("AI_GATEWAY_BASE_URL={base_url}/v1"))?;
    Ok(ExitCode::SUCCESS)
}

async fn create(store: &dyn Store, arguments: Arguments, at: Timestamp) -> anyhow::Result<Person> {
    let (payment, cap) = match arguments.credit {
        Some(_) => (Payment::Prepaid, arguments.limit),
        None => {
            let default = Nanos::from_cents(DEFAULT_LIMIT_CENTS)?;
            (Payment::Metered, Some(arguments.limit.unwrap_or(default)))
        }
    };
    let caps = cap.map(|cap| NewCap {
        quantity: Quantity::Nanos,
        period: Period::Month,
        cap: cap.get(),
    });
    let request = PersonRequest {
        email: arguments.email,
        name: arguments.name,
        role: Role::Client,
        password: None,
        payment,
        caps: caps.into_iter().collect(),
        locale: arguments.locale,
        utm_source: arguments.utm_source,
    };
    let person = accounts::create_person(store, request, COMMAND_LINE, at).await?;
    if let Some(amount) = arguments.credit.filter(|amount| *amount > Nanos::ZERO) {
        let reason = "provision-user".to_owned();
        let booked = credit::book(store, person.account, amount, reason).await;
        booked.with_context(|| {
            format!(
                "{} was created, but not credited (see airouter credit)",
                person.email
            )
        })?;
    }
    Ok(person)
}

fn positive(text: &str) -> Result<Nanos, String> {
    let amount: Nanos = text
        .parse()
        .map_err(|error: airouter_billing::money::MoneyError| error.to_string())?;
    if amount.is_negative() {
        return Err("a credit is not negative".to_owned());
    }
    Ok(amount)
}

fn limit(text: &str) -> Result<Nanos, String> {
    let cents: i64 = text
        .parse()
        .map_err(|_| "not a whole number of cents".to_owned())?;
    if cents < 0 {
        return Err("a limit is not negative".to_owned());
    }
    Nanos::from_cents(cents).map_err(|error| error.to_string())
}
