//! Sums that only grow, read once a day: what an account's credit or its keys were ever used for. From one day's first
//! reading to the next one's they must grow by what is booked between.

use std::collections::HashSet;

use airouter_billing::reconciliation::{
    About, Books, Counting, FindingKey, Observed, Purse, Readings, Sampling, Span, Spend,
    SumOverflow, judge_readings,
};
use airouter_billing::{Nanos, UtcDay};
use airouter_proxy::clock::Clock as _;
use airouter_store::reconciliation::UpstreamReading;

use super::{AskedUpstream, DayReport, NotChecked, ReconcileError, Reconciler, Standing};
use crate::clock::SystemClock;

/// Two readings, and what is between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadingReport {
    /// `credits` or `keys`.
    pub(crate) source: &'static str,
    /// What is booked between.
    pub(crate) booked: Spend,
    /// What the sum grew by.
    pub(crate) theirs: Spend,
    /// What nothing explains of the difference.
    pub(crate) found: Spend,
}

impl Reconciler<'_> {
    /// Compares what the account's sum grew by from the day's first reading to the next day's.
    pub(super) async fn compare_readings(
        &self,
        upstream: &AskedUpstream,
        report: &mut DayReport,
    ) -> Result<(), ReconcileError> {
        let (day, about) = (report.day, upstream.sum());
        let readings = match self.readings(upstream, day).await? {
            Ok(readings) => readings,
            Err(why) => {
                let what = about.kind();
                report.not_checked.push(NotChecked { what, why });
                return Ok(());
            }
        };
        let (first, last) = readings;
        let span = Span {
            from: first.taken_at,
            to: last.taken_at,
        };
        let mut books = Books::new(span, Counting::ByEnd, Sampling::Some, HashSet::new());
        let mut add = |request| books.add(request);
        self.store
            .booked_requests(upstream.id, span.with_edges(), &mut add)
            .await?;
        let standing = self.standing(upstream.id, day).await?;
        let next = self.standing(upstream.id, day.plus(1)).await?;
        let theirs = last.used.minus(first.used)?;
        let found = judge_readings(&Readings {
            books: &books,
            theirs,
            explained: &[explained(&standing)?, explained(&next)?],
            pending: self.pending(upstream.id, day).await?,
        })?;
        for purse in Purse::ALL {
            let observed = Observed {
                key: FindingKey {
                    master_account: upstream.id,
                    day,
                    about: about.clone(),
                    purse,
                },
                ours: books.booked.of(purse),
                theirs: Some(theirs.of(purse)),
                difference: Nanos::round_half_even(found.of(purse)).map_err(SumOverflow::from)?,
                cost_share: purse.cost_share(upstream.discount),
            };
            // The credit says nothing of what was paid at providers.
            if purse == Purse::Credits || about == About::Keys {
                self.enter(&observed, &standing, report).await?;
            }
        }
        report.readings = Some(ReadingReport {
            source: about.kind(),
            booked: books.booked,
            theirs,
            found,
        });
        Ok(())
    }

    /// The first readings of a day and of the next one; today's is taken if there is none. `Err` says why there aren't two
    /// of the same sum.
    async fn readings(
        &self,
        upstream: &AskedUpstream,
        day: UtcDay,
    ) -> Result<Result<(UpstreamReading, UpstreamReading), String>, ReconcileError> {
        if let Err(why) = self.take_reading(upstream).await? {
            return Ok(Err(why));
        }
        let known = self.known_readings(upstream, day).await?;
        Ok(
            match (first_of(&known, day), first_of(&known, day.plus(1))) {
                (Some(first), Some(last)) if first.source == last.source => {
                    Ok((first.clone(), last.clone()))
                }
                (Some(_), Some(_)) => Err("other keys were asked than the day before".to_owned()),
                (None, _) => Err(format!("it was not read on {day}")),
                (_, None) => Err(format!("it was not read on {}", day.plus(1))),
            },
        )
    }

    /// Takes today's reading, if there is none yet. `Err` says why the upstream told nothing.
    pub(super) async fn take_reading(
        &self,
        upstream: &AskedUpstream,
    ) -> Result<Result<(), String>, ReconcileError> {
        let now = SystemClock.now();
        let today = UtcDay::of(now);
        let known = self.known_readings(upstream, today).await?;
        if first_of(&known, today).is_some() {
            return Ok(Ok(()));
        }
        let (source, used) = match upstream.used_ever().await {
            Ok(used) => used,
            Err(why) => return Ok(Err(why)),
        };
        let reading = UpstreamReading {
            source,
            used,
            taken_at: now,
        };
        self.store
            .add_upstream_reading(upstream.id, &reading)
            .await?;
        Ok(Ok(()))
    }

    /// The readings of the account's sum from a day on.
    async fn known_readings(
        &self,
        upstream: &AskedUpstream,
        day: UtcDay,
    ) -> Result<Vec<UpstreamReading>, ReconcileError> {
        let mut known = self
            .store
            .upstream_readings(upstream.id, day.begins())
            .await?;
        let sum = upstream.sum().kind();
        known.retain(|reading| reading.source.split(' ').next() == Some(sum));
        Ok(known)
    }
}

fn first_of(known: &[UpstreamReading], day: UtcDay) -> Option<&UpstreamReading> {
    known
        .iter()
        .find(|reading| UtcDay::of(reading.taken_at) == day)
}

/// What stands of a day otherwise.
fn explained(standing: &Standing) -> Result<Spend, SumOverflow> {
    Spend::each(|purse| {
        let other = standing.values().filter(|finding| {
            finding.key.purse == purse && !matches!(finding.key.about, About::Credits | About::Keys)
        });
        Ok(other.map(|finding| finding.difference).sum::<Nanos>().usd())
    })
}
