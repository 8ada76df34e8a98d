//! `airouter plans`: what clients pay and what they may use.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use airouter_billing::plan_terms::PlanTerms;
use airouter_store::Seen;
use airouter_store::audit::named;
use anyhow::{Context as _, bail};
use clap::Subcommand;

use crate::commands::audited;
use crate::config::Config;
use crate::{accounts, database, output};

/// More than any plan needs.
const LARGEST_FILE: u64 = 1 << 20;

const HELP: &str = "\
A plan is a JSON file; `plans show default` prints one to begin with, README.md says what may be in it. A version is never
changed: `set` adds one, which holds for requests from then on. Runs beside servers, which follow within a second.

Examples:
  airouter plans show default > school.json
  airouter plans create school --file=school.json
  airouter accounts set-plan --email=ann@example.com school";

#[derive(Debug, Subcommand)]
#[command(after_help = HELP)]
pub(super) enum PlansCommand {
    /// List all plans.
    List,
    /// Print what a plan says, as JSON.
    Show {
        /// The plan's name.
        plan: String,
    },
    /// Create a plan.
    Create {
        /// The plan's name.
        #[arg(value_parser = name)]
        plan: String,
        /// What it says; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a new version of a plan in force.
    Set {
        /// The plan's name.
        plan: String,
        /// What it says; `-` is standard input.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
}

pub(super) async fn run(command: PlansCommand, config: &Config) -> anyhow::Result<ExitCode> {
    // A plan that can't be accepted changes nothing: not even a database is made for it.
    let written = match &command {
        PlansCommand::Create { file, .. } | PlansCommand::Set { file, .. } => Some(read(file)?),
        PlansCommand::List | PlansCommand::Show { .. } => None,
    };
    let store = database::open(&config.storage, database::OpenMode::Tool).await?;
    let (plan, version) = match (command, written) {
        (PlansCommand::Create { plan, .. }, Some(terms)) => {
            let audit = audited("plan.create", named("plan", &plan));
            let version = store.create_plan(&plan, &terms, &audit).await;
            (plan, version.context("the plan can't be created")?)
        }
        (PlansCommand::Set { plan, .. }, Some(terms)) => {
            let audit = audited("plan.set", named("plan", &plan));
            let version = store
                .add_plan_version(&plan, &Seen::Whatever, &terms, &audit)
                .await;
            (plan, version.context("the plan can't be set")?)
        }
        (PlansCommand::Show { plan }, _) => {
            let plans = store.plans().await?;
            let Some(found) = plans.iter().find(|found| found.name == plan) else {
                bail!("there is no plan '{plan}'");
            };
            output::result(&serde_json::to_string_pretty(&found.terms)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {
            for plan in store.plans().await? {
                output::result(&format!(
                    "{} version={} accounts={}",
                    plan.name,
                    plan.version.get(),
                    plan.accounts
                ))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    output::result(&format!("{plan} version={}", version.get()))?;
    Ok(ExitCode::SUCCESS)
}

fn name(text: &str) -> Result<String, String> {
    accounts::name(text).ok_or_else(|| "not the name of a plan".to_owned())
}

/// Reads a plan; an error says all that is wrong with it.
fn read(file: &Path) -> anyhow::Result<PlanTerms> {
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = std::fs::File::open(file);
        Box::new(opened.with_context(|| format!("{} can't be opened", file.display()))?)
    };
    source
        .take(LARGEST_FILE + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{} can't be read", file.display()))?;
    PlanTerms::from_json(&text).context("the plan is refused")
}
