//! Requests that are compared one by one with their generation records.

use std::collections::HashSet;
use std::time::Duration;

use airouter_billing::Nanos;
use airouter_billing::reconciliation::{
    About, BookedRequest, Books, FindingKey, Observed, Purse, Repeated, Sampling, Spend, compare,
    compare_repeated,
};
use rust_decimal::Decimal;

use super::upstream::Record;
use super::{AskedUpstream, DayReport, NotChecked, ReconcileError, Reconciler, Standing};

/// Between two questions for generation records.
const PAUSE: Duration = Duration::from_millis(100);
/// The same when all are asked for.
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// What was found of something that is compared with its record.
struct Side {
    about: About,
    ours: Spend,
    theirs: Option<Spend>,
    differences: Vec<(Purse, Nanos)>,
}

impl Reconciler<'_> {
    /// Compares the chosen requests of a day, and those that are booked more than once.
    pub(super) async fn compare_single(
        &self,
        upstream: &AskedUpstream,
        books: &mut Books,
        standing: &Standing,
        sampling: Sampling,
        report: &mut DayReport,
    ) -> Result<(), ReconcileError> {
        let (requests, repeated) = books.take_single();
        let mut seen = HashSet::new();
        let pause = match sampling {
            Sampling::Some => PAUSE,
            Sampling::All => SHORT_PAUSE,
        };
        for repeated in &repeated {
            seen.insert(about_repeated(repeated));
            let record = upstream.record(id_of(&repeated.first)).await.ok();
            let theirs = match record {
                Some(Record::Told(theirs)) => Some(theirs),
                Some(Record::Unknown) => Some(Spend::default()),
                Some(Record::Untold) | None => None,
            };
            let side = Side {
                about: about_repeated(repeated),
                ours: repeated.spend,
                theirs: Some(theirs.unwrap_or(repeated.first.spend)),
                differences: compare_repeated(repeated, theirs)?,
            };
            self.enter_side(upstream, &side, standing, report).await?;
            tokio::time::sleep(pause).await;
        }
        for request in &requests {
            let about = About::Request(request.request);
            seen.insert(about.clone());
            let theirs = match upstream.record(id_of(request)).await {
                Ok(Record::Told(theirs)) => Some(theirs),
                Ok(Record::Unknown) => None,
                Ok(Record::Untold) => continue,
                Err(error) => {
                    // What is known of the others stays as it is.
                    seen.extend(
                        requests
                            .iter()
                            .map(|request| About::Request(request.request)),
                    );
                    report.not_checked.push(NotChecked {
                        what: "requests",
                        why: error.to_string(),
                    });
                    break;
                }
            };
            report.compared_single += 1;
            let side = Side {
                about,
                ours: request.spend,
                theirs,
                differences: compare(request, theirs)?,
            };
            self.enter_side(upstream, &side, standing, report).await?;
            tokio::time::sleep(pause).await;
        }
        self.take_back(upstream, &seen, standing, report).await
    }

    /// What was found of requests that aren't booked any more, or not more than once, is no difference now.
    async fn take_back(
        &self,
        upstream: &AskedUpstream,
        seen: &HashSet<About>,
        standing: &Standing,
        report: &mut DayReport,
    ) -> Result<(), ReconcileError> {
        let gone = |key: &&FindingKey| key.about.is_single() && !seen.contains(&key.about);
        for key in standing.keys().filter(gone) {
            let observed = Observed {
                key: key.clone(),
                ours: Decimal::ZERO,
                theirs: Some(Decimal::ZERO),
                difference: Nanos::ZERO,
                cost_share: key.purse.cost_share(upstream.discount),
            };
            self.enter(&observed, standing, report).await?;
        }
        Ok(())
    }

    async fn enter_side(
        &self,
        upstream: &AskedUpstream,
        side: &Side,
        standing: &Standing,
        report: &mut DayReport,
    ) -> Result<(), ReconcileError> {
        for (purse, difference) in &side.differences {
            let observed = Observed {
                key: FindingKey {
                    master_account: upstream.id,
                    day: report.day,
                    about: side.about.clone(),
                    purse: *purse,
                },
                ours: side.ours.of(*purse),
                theirs: side.theirs.map(|theirs| theirs.of(*purse)),
                difference: *difference,
                cost_share: purse.cost_share(upstream.discount),
            };
            self.enter(&observed, standing, report).await?;
        }
        Ok(())
    }
}

fn about_repeated(repeated: &Repeated) -> About {
    About::Doubled(id_of(&repeated.first).to_owned())
}

/// Only requests with an id of the upstream's are chosen, and only they are the same generation.
fn id_of(request: &BookedRequest) -> &str {
    request.generation_id.as_deref().unwrap_or_default()
}
