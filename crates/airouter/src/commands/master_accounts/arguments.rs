//! What `airouter master-accounts` is told.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use airouter_api::names::{self, is_key};
use airouter_billing::decimal::parse_decimal;
use airouter_billing::{DiscountBasis, Timestamp};
use airouter_store::master_accounts::{MostShare, UpstreamKind, Weight};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use rust_decimal::Decimal;
use secrecy::SecretString;

use super::list::Form;
use crate::accounts;

/// A file with a key is not longer.
const LONGEST_FILE: u64 = 4_096;
/// What stands for nothing.
const NONE: &str = "none";

/// What to do.
#[derive(Debug, Subcommand)]
pub(in crate::commands) enum Command {
    /// Show all accounts with what the database knows of them.
    List(List),
    /// Add an account with its first key.
    Add(Add),
    /// Change an account.
    Set(Set),
    /// No new request for an account; what runs goes on.
    Pause(Named),
    /// No new request for an account unless nothing else is left; what runs goes on.
    Drain(Named),
    /// Use an account again.
    Resume(Named),
    /// Add another inference key of an account.
    AddKey(AddKey),
    /// Remove an inference key of an account.
    RemoveKey(RemoveKey),
    /// Show the price table of an account at a compatible server, or put another one in force.
    Prices(Prices),
    /// Ask the upstream whether it accepts an account's keys.
    Test(Named),
}

/// How to show them.
#[derive(Debug, Args)]
pub(in crate::commands) struct List {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Table }
    }
}

/// An account.
#[derive(Debug, Args)]
pub(in crate::commands) struct Named {
    /// Its name or id.
    pub(super) account: String,
}

/// Where a key is read.
#[derive(Debug, Args)]
pub(in crate::commands) struct KeySource {
    /// A file with the key; without, it is read from standard input.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
}

impl KeySource {
    /// The key.
    pub(super) fn read(&self) -> anyhow::Result<SecretString> {
        read_key(self.key_file.as_ref())
    }
}

fn read_key(path: Option<&PathBuf>) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    match path {
        Some(path) => File::open(path)
            .and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text))
            .with_context(|| format!("{} can't be read", path.display()))?,
        None => io::stdin()
            .lock()
            .take(LONGEST_FILE)
            .read_to_string(&mut text)
            .context("standard input can't be read")?,
    };
    let key = text.trim();
    if !is_key(key) {
        bail!("what was read is not a key: expected one line of at most 512 characters, no spaces");
    }
    Ok(SecretString::from(key))
}

/// Where a discount shows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::commands) enum Basis {
    /// The credits were bought below par.
    CreditsBoughtBelowPar,
    /// It is in what the upstream reports already.
    InReportedCost,
}

impl Basis {
    pub(super) const fn of_billing(self) -> DiscountBasis {
        match self {
            Self::CreditsBoughtBelowPar => DiscountBasis::CreditsBoughtBelowPar,
            Self::InReportedCost => DiscountBasis::InReportedCost,
        }
    }
}

/// A new account.
#[derive(Debug, Args)]
pub(in crate::commands) struct Add {
    /// What to call it.
    #[arg(long, value_parser = name)]
    pub(super) name: Option<String>,
    /// What its upstream speaks.
    #[arg(long, value_enum, default_value = "openrouter")]
    pub(super) kind: Kind,
    /// The upstream's address, up to /api/v1; a compatible server's up to /v1.
    #[arg(long, value_name = "URL", required_if_eq("kind", "compatible"))]
    pub(super) base_url: Option<String>,
    /// The discount in percent; 0 at a compatible server unless it is said.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(super) discount: Option<Decimal>,
    /// Where the discount shows.
    #[arg(long)]
    pub(super) basis: Option<Basis>,
    #[command(flatten)]
    pub(super) key: KeySource,
    /// The server wants no key.
    #[arg(long, conflicts_with = "key_file")]
    pub(super) no_key: bool,
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Kind {
    /// OpenRouter's API.
    Openrouter,
    /// OpenAI's chat completions: a server with a price table of its own.
    Compatible,
}

impl Kind {
    pub(super) const fn of_store(self) -> UpstreamKind {
        match self {
            Self::Openrouter => UpstreamKind::OpenRouter,
            Self::Compatible => UpstreamKind::Compatible,
        }
    }
}

/// A price table, and where it comes from.
#[derive(Debug, Args)]
pub(in crate::commands) struct Prices {
    #[command(flatten)]
    pub(super) named: Named,
    /// Put the table of this file in force; an empty one ({}) takes all models back.
    #[arg(long, value_name = "PATH", conflicts_with = "from_upstream")]
    pub(super) file: Option<PathBuf>,
    /// Put in force what the server itself lists with prices.
    #[arg(long)]
    pub(super) from_upstream: bool,
}

/// What is to change.
#[derive(Debug, Args)]
pub(in crate::commands) struct Set {
    #[command(flatten)]
    pub(super) named: Named,
    /// What to call it.
    #[arg(long, value_parser = name)]
    pub(super) name: Option<String>,
    /// The upstream's address, up to /api/v1.
    #[arg(long, value_name = "URL")]
    pub(super) base_url: Option<String>,
    /// The discount in percent, for requests from now on.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(super) discount: Option<Decimal>,
    /// Where the discount shows.
    #[arg(long)]
    pub(super) basis: Option<Basis>,
    /// Its part of the load among accounts that cost the same, 1 to 1000.
    #[arg(long, value_parser = weight)]
    pub(super) weight: Option<Weight>,
    /// No more than so much of the traffic while others serve, 1 to 99, or none.
    #[arg(long, value_name = "PERCENT", value_parser = most_share)]
    pub(super) most_share: Option<OrNone<MostShare>>,
    /// The agreement that it rests on, or none.
    #[arg(long, value_parser = agreement)]
    pub(super) agreement: Option<OrNone<String>>,
    /// The day on which that ends (0:00 UTC), or none.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub(super) agreement_ends: Option<OrNone<Timestamp>>,
    #[command(flatten)]
    pub(super) management: ManagementSource,
}

/// What is to become of the management key.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(in crate::commands) struct ManagementSource {
    /// Read a management key from standard input.
    #[arg(long)]
    management_key: bool,
    /// Read a management key from a file.
    #[arg(long, value_name = "PATH")]
    management_key_file: Option<PathBuf>,
    /// Forget the management key.
    #[arg(long)]
    no_management_key: bool,
}

/// A management key.
pub(super) enum ManagementKey {
    AsItIs,
    None,
    Key(SecretString),
}

impl ManagementSource {
    pub(super) fn wish(&self) -> anyhow::Result<ManagementKey> {
        if self.no_management_key {
            Ok(ManagementKey::None)
        } else if self.management_key || self.management_key_file.is_some() {
            read_key(self.management_key_file.as_ref()).map(ManagementKey::Key)
        } else {
            Ok(ManagementKey::AsItIs)
        }
    }
}

/// Another key.
#[derive(Debug, Args)]
pub(in crate::commands) struct AddKey {
    #[command(flatten)]
    pub(super) named: Named,
    #[command(flatten)]
    pub(super) key: KeySource,
}

/// A key that is to go.
#[derive(Debug, Args)]
pub(in crate::commands) struct RemoveKey {
    #[command(flatten)]
    pub(super) named: Named,
    /// The first digits of its fingerprint, as the list shows it.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(super) key: String,
}

/// A value, or that there is none.
#[derive(Clone, Debug)]
pub(in crate::commands) struct OrNone<T>(pub(super) Option<T>);

fn or_none<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<OrNone<T>, String> {
    if text == NONE {
        return Ok(OrNone(None));
    }
    parse(text).map(|value| OrNone(Some(value)))
}

fn name(text: &str) -> Result<String, String> {
    accounts::name(text).ok_or_else(|| "not a name".to_owned())
}

fn percent(text: &str) -> Result<Decimal, String> {
    parse_decimal(text).map_err(|error| error.to_string())
}

fn weight(text: &str) -> Result<Weight, String> {
    let weight = text.parse().ok().and_then(Weight::new);
    weight.ok_or_else(|| "not a whole number from 1 to 1000".to_owned())
}

fn most_share(text: &str) -> Result<OrNone<MostShare>, String> {
    or_none(text, |text| {
        let percent = text.parse().ok().and_then(MostShare::percent);
        percent.ok_or_else(|| "not a whole number from 1 to 99, nor none".to_owned())
    })
}

fn agreement(text: &str) -> Result<OrNone<String>, String> {
    or_none(text.trim(), |text| {
        names::agreement(text).ok_or_else(|| "not an agreement".to_owned())
    })
}

/// The beginning of a day in UTC.
fn day(text: &str) -> Result<OrNone<Timestamp>, String> {
    or_none(text, |text| {
        date(text)
            .map(|date| Timestamp::from(date.midnight().assume_utc()))
            .ok_or_else(|| "not a day like 2027-06-30, nor none".to_owned())
    })
}

fn date(text: &str) -> Option<time::Date> {
    let mut parts = text.splitn(3, '-');
    let mut next = || {
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        parts.next().filter(is_number)
    };
    let year = next()?.parse().ok()?;
    let month: u8 = next()?.parse().ok()?;
    let day = next()?.parse().ok()?;
    time::Date::from_calendar_date(year, time::Month::try_from(month).ok()?, day).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight() {
        let ends = day("2027-06-30").unwrap().0.unwrap();
        assert_eq!(ends.to_utc().unwrap().unix_timestamp(), 1_814_313_600);
        assert!(day("none").unwrap().0.is_none());
        for text in [
            "",
            "2027",
            "2027-13-01",
            "2027-02-30",
            "30.6.2027",
            "2027-+6-30",
        ] {
            assert!(day(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_below_all_of_it() {
        assert_eq!(most_share("60").unwrap().0, MostShare::percent(60));
        assert!(most_share("none").unwrap().0.is_none());
        for text in ["0", "100", "-1", "1.5", ""] {
            assert!(most_share(text).is_err(), "{text}");
        }
    }
}
