//! Forwarding: sends a request to master accounts in turn until one begins to answer. Before the first byte went to the
//! client a failure is tried elsewhere; after it, never.

use std::sync::Arc;
use std::time::Duration;

use airouter_billing::MasterAccountId;
use airouter_openrouter::Fault;
use rust_decimal::Decimal;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Answered, Attempt, Failure, Progress};
use crate::bodies::Bodies;
use crate::choosing::Choosing;
use crate::early_head::HeadSent;
use crate::gateway::Gateway;
use crate::masters::{Master, Turn, Verdict};
use crate::metrics::FaultKind;
use crate::problem::Problem;
use crate::session::Session;

/// So often a request is repeated on accounts that it has asked.
const MOST_REPEATS: u32 = 2;
/// The wait before the first repeat; before the next one it is twice as long.
const REPEAT_WAIT: Duration = Duration::from_millis(100);
/// Longer than this nobody waits for a provider.
const LONGEST_REPEAT_WAIT: Duration = Duration::from_secs(1);

/// An attempt that failed on an account.
#[derive(Clone, Copy)]
pub(crate) struct Failed {
    master: MasterAccountId,
    pub(crate) kind: FaultKind,
    pub(crate) fault: Option<Fault>,
    progress: Progress,
}

impl Failed {
    /// When the same account may be asked again, if that may help: a connection that broke before an answer, or a
    /// provider's hiccup. Anything else would come again, or may be billed twice.
    fn repeat_after(&self, repeats: u32) -> Option<Duration> {
        let pause = REPEAT_WAIT * 2_u32.saturating_pow(repeats);
        match (self.kind, self.fault) {
            (FaultKind::Connect, _) => Some(pause),
            (FaultKind::Broken, _) if self.progress == Progress::Sent => Some(pause),
            (_, Some(Fault::ProviderFailed | Fault::ServerFailed)) => Some(pause),
            (
                _,
                Some(Fault::ProviderRateLimited {
                    retry_after: Some(wait),
                }),
            ) => (wait <= LONGEST_REPEAT_WAIT).then(|| wait.max(pause)),
            _ => None,
        }
    }
}

/// Sends the request to one master account after the other until one begins to answer. When all have failed, it is repeated
/// where that may help, within a bound and the account's budget of repeats.
pub(crate) async fn forward(
    session: &mut Session,
    bodies: &mut Bodies,
    price_share: Option<Decimal>,
    client_gone: &CancellationToken,
) -> Result<Answered, Problem> {
    let gateway = Arc::clone(&session.gateway);
    let mut choosing = Choosing::begin(session, price_share)?;
    let (mut failures, mut repeats) = (Vec::new(), 0);
    loop {
        if client_gone.is_cancelled() && !failures.is_empty() {
            break;
        }
        let mut turn = choosing.next(&gateway).await;
        if turn.is_none() && !choosing.is_free() {
            turn = repeat(&gateway, &failures, repeats, client_gone).await;
            repeats += 1;
        }
        let Some(turn) = turn else { break };
        match ask(session, turn, bodies, &mut choosing).await? {
            Ok(answered) => return Ok(answered),
            Err(failed) => failures.push(failed),
        }
        let head = session.head.as_ref();
        if head.is_some_and(|head| head.failed() == Err(HeadSent)) {
            break;
        }
    }
    Err(choosing.told_of(&gateway, &failures))
}

/// Asks one account. The outer error is one that every account would answer.
async fn ask(
    session: &mut Session,
    turn: Turn,
    bodies: &mut Bodies,
    choosing: &mut Choosing,
) -> Result<Result<Answered, Failed>, Problem> {
    let gateway = Arc::clone(&session.gateway);
    let Turn { on, outcome } = turn;
    let master = Arc::clone(&on.master);
    let suited = choosing.servers().suited(master.id).cloned();
    let body = bodies
        .for_server(suited.as_deref())
        .map_err(|_| Problem::Unavailable { retry_after: None })?;
    let result = Attempt::begin(session, on, suited).run(&body).await;
    let now = gateway.replica.steady_now();
    let failed = match result {
        Ok(answered) => {
            outcome.well(now);
            return Ok(Ok(answered));
        }
        Err(Failure::Final(problem)) => {
            outcome.well(now);
            gateway
                .metrics
                .upstream_fault(&master.metrics, FaultKind::Request);
            return Err(problem);
        }
        Err(Failure::Elsewhere {
            kind,
            fault,
            progress,
        }) => Failed {
            master: master.id,
            kind,
            fault,
            progress,
        },
    };
    tracing::warn!(
        request = %session.id(),
        master_account = master.name,
        fault = failed.kind.name(),
        "an attempt failed"
    );
    gateway.metrics.upstream_fault(&master.metrics, failed.kind);
    let verdict = choosing.verdict(&gateway, &master, &failed);
    outcome.failed(verdict, now);
    if matches!(verdict, Verdict::Key(_)) && master.has_a_key(now) {
        choosing.again(master.id);
    }
    Ok(Err(failed))
}

/// Waits, and asks an account again that has failed this request.
async fn repeat(
    gateway: &Gateway,
    failures: &[Failed],
    repeats: u32,
    client_gone: &CancellationToken,
) -> Option<Turn> {
    if repeats >= MOST_REPEATS {
        return None;
    }
    let (failed, wait) = failures
        .iter()
        .find_map(|failed| Some((failed, failed.repeat_after(repeats)?)))?;
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = client_gone.cancelled() => return None,
    }
    let masters = gateway.masters.load_full();
    let mut serving = masters.all().iter();
    let master = serving.find(|master| master.id == failed.master)?;
    master.repeat(gateway.replica.steady_now())
}

impl Choosing {
    /// What a failure says about the account. The quota of free models is not the account's health.
    fn verdict(&self, gateway: &Gateway, master: &Master, failed: &Failed) -> Verdict {
        match failed.fault {
            Some(Fault::AccountRateLimited { retry_after }) if self.may_be_free() => {
                let now = gateway.replica.steady_now();
                gateway.free_quota.used_up(master.id, retry_after, now);
                Verdict::NotTheirs
            }
            fault => Verdict::of(failed.kind, fault),
        }
    }

    /// What the client is told when nobody serves: never the upstream's own words about its account.
    fn told_of(&self, gateway: &Gateway, failures: &[Failed]) -> Problem {
        let is = |wanted: &[FaultKind]| failures.iter().all(|failed| wanted.contains(&failed.kind));
        if self.is_free() && is(&[FaultKind::AccountRateLimited]) {
            return Problem::FreeQuotaSpent {
                retry_after: self.free_wait(gateway),
            };
        }
        let told = {
            let masters = gateway.masters.load();
            masters.told_wait(self.servers(), gateway.replica.steady_now())
        };
        if failures.is_empty() {
            return match told {
                Some(wait) => Problem::UpstreamLimited {
                    retry_after: Some(wait),
                },
                None => Problem::Unavailable { retry_after: None },
            };
        }
        let waits = failures.iter().filter_map(|failed| match failed.fault {
            Some(
                Fault::AccountRateLimited { retry_after }
                | Fault::ProviderRateLimited { retry_after },
            ) => retry_after,
            _ => None,
        });
        let retry_after = waits.min();
        if is(&[
            FaultKind::AccountRateLimited,
            FaultKind::ProviderRateLimited,
        ]) {
            Problem::UpstreamLimited { retry_after }
        } else if is(&[FaultKind::Timeout]) {
            Problem::UpstreamTimeout
        } else {
            Problem::Unavailable { retry_after }
        }
    }
}
