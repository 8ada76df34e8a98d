//! `airouter demo`.

use std::process::ExitCode;
use std::time::Duration;

use airouter_auth::{ClientKey, KeyHash};
use airouter_billing::event::Payment;
use airouter_billing::{Nanos, Timestamp};
use airouter_proxy::clock::Clock as _;
use airouter_simulator::{DEFAULT_MASTER_KEY, RunningSimulator, Simulator, SimulatorConfig};
use airouter_store::Store;
use airouter_store::clients::{Access, Role};
use airouter_store::ledger::Adjustment;
use anyhow::Context as _;
use secrecy::{ExposeSecret, SecretString};

use super::Context;
use crate::accounts::{self, PersonRequest};
use crate::clock::SystemClock;
use crate::config::{Config, Environment};
use crate::lifecycle::{Lifecycle, Signals};
use crate::serve::Server;
use crate::{output, secret_files};

pub(super) const HELP: &str = "\
Its database is in the directory demo of the data directory (./data/demo) and stays there; remove it to begin anew.

Examples:
  airouter demo
  AIROUTER_DATA_DIR=./data/demo airouter credit --email=demo@example.com --amount=5 --reason=more";

const EMAIL: &str = "demo@example.com";
const CREDIT_USD: i64 = 10;
const MODEL: &str = "sim/small";
const KEY_FILE: &str = "client_key";
/// The simulated upstream is in this very process.
const PRICES_WAIT: Duration = Duration::from_secs(10);

/// Serves with the simulated upstream until a signal.
pub(super) async fn run(context: Context) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let lifecycle = Lifecycle::default();
    lifecycle.stop_on_panic();
    let simulator = Simulator::start(SimulatorConfig::default())
        .await
        .context("the simulated upstream can't listen")?;
    let config = demo_config(context.environment, &context.config, &simulator)?;
    let server = Server::start(&config, context.dropped_lines, &lifecycle).await?;
    let key = client_key(server.store(), &config, SystemClock.now()).await?;
    tokio::time::timeout(PRICES_WAIT, server.wait_for_prices())
        .await
        .context("the simulated upstream does not tell its prices")?;
    for line in server
        .first_admin_lines()
        .into_iter()
        .chain(instructions(&server, &key))
    {
        output::result(&line)?;
    }
    let stopped = lifecycle.run(signals, config.process.shutdown).await;
    simulator.shutdown().await;
    Ok(stopped.exit_code())
}

/// The configuration with the simulated upstream and a database of the demo's own.
fn demo_config(
    environment: Environment,
    config: &Config,
    simulator: &RunningSimulator,
) -> anyhow::Result<Config> {
    let environment = environment
        .with("AIROUTER_DATA_DIR", config.storage.data_dir.join("demo"))
        .with("OPENROUTER_BASE_URL", simulator.base_url())
        .with("OPENROUTER_MASTER_KEYS", DEFAULT_MASTER_KEY)
        .with("AIROUTER_LOG_LINKS", "on")
        .without("DATABASE_URL")
        .without("REDIS_URL");
    Ok(Config::read(&environment)?)
}

/// The demo client's key: the same one each time, as long as it works.
async fn client_key(
    store: &dyn Store,
    config: &Config,
    at: Timestamp,
) -> anyhow::Result<SecretString> {
    let path = config.storage.data_dir.join(KEY_FILE);
    if let Some(key) = secret_files::read(&path)? {
        if works(store, &key).await? {
            return Ok(key);
        }
        std::fs::remove_file(&path)?;
    }
    let key = new_client_key(store, at).await?;
    let key = SecretString::from(key.expose());
    secret_files::write_new(&path, &key)?;
    Ok(key)
}

async fn works(store: &dyn Store, key: &SecretString) -> anyhow::Result<bool> {
    let Ok(hash) = KeyHash::of_presented(key.expose_secret().as_bytes()) else {
        return Ok(false);
    };
    let snapshot = store.key_by_hash(&hash).await?;
    Ok(snapshot.is_some_and(|snapshot| snapshot.access == Access::Granted))
}

async fn new_client_key(store: &dyn Store, at: Timestamp) -> anyhow::Result<ClientKey> {
    let account = match store.person_by_email(EMAIL).await? {
        Some(person) => person.account,
        None => create_client(store, at).await?,
    };
    accounts::issue_key(store, account, "demo", at).await
}

async fn create_client(
    store: &dyn Store,
    at: Timestamp,
) -> anyhow::Result<airouter_billing::AccountId> {
    let request = PersonRequest {
        email: EMAIL.to_owned(),
        name: "Demo".to_owned(),
        role: Role::Client,
        password: None,
        payment: Payment::Prepaid,
        caps: Vec::new(),
        locale: None,
        utm_source: None,
    };
    let person = accounts::create_person(store, request, "demo", at).await?;
    let credit = Adjustment {
        account: person.account,
        amount: Nanos::from_usd(CREDIT_USD)?,
        reason: "demo".to_owned(),
        actor: "demo".to_owned(),
        at,
    };
    store.adjust(&credit).await?;
    Ok(person.account)
}

fn instructions(server: &Server, key: &SecretString) -> Vec<String> {
    let (url, key) = (server.public_url(), key.expose_secret());
    let curl = |flag: &str, body: &str| {
        format!(
            "curl {flag}{url}/v1/chat/completions -H 'Authorization: Bearer {key}' \
             -H 'Content-Type: application/json' -d '{{\"model\":\"{MODEL}\",{body}\
             \"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
        )
    };
    vec![
        format!("AI_GATEWAY_API_KEY={key}"),
        format!("AI_GATEWAY_BASE_URL={url}/v1"),
        format!("METRICS_URL=http://{}/metrics", server.metrics_address()),
        String::new(),
        "# An answer:".to_owned(),
        curl("", ""),
        "# The same, streamed:".to_owned(),
        curl("-N ", "\"stream\":true,"),
        "# What is on sale:".to_owned(),
        format!("curl {url}/v1/models -H 'Authorization: Bearer {key}'"),
    ]
}
