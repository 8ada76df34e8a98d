//! Reconciliation: asks upstreams what they billed, compares it with what is booked, and has each difference entered and
//! posted. What counts as a difference is decided in [`airouter_billing::reconciliation`].

mod readings;
mod report;
mod routine;
mod single;
mod upstream;

use std::collections::HashMap;

use airouter_billing::reconciliation::{
    About, Books, Counting, Finding, FindingKey, Judged, Observed, Purse, Sampling, Sides, Span,
    Spend, SumOverflow, judge,
};
use airouter_billing::{MasterAccountId, Nanos, Timestamp, UtcDay};
use airouter_proxy::clock::Clock as _;
use airouter_store::reconciliation::ReconciledDay;
use airouter_store::{Store, StoreError};
use rust_decimal::Decimal;

pub(crate) use report::{entry_line, report_lines};
pub(crate) use routine::Routine;
pub(crate) use upstream::AskedUpstream;

use crate::clock::SystemClock;
use readings::ReadingReport;
use upstream::DayUsage;

/// Most open requests that are looked at for what they may explain.
const MOST_PENDING: u32 = 100_000;

/// Why a day could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The amounts.
    #[error(transparent)]
    Sum(#[from] SumOverflow),
}

/// What of a day was not compared, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotChecked {
    /// `day`, `requests`, `credits`, `keys`, or `account` for all of it.
    pub(crate) what: &'static str,
    /// Why.
    pub(crate) why: String,
}

/// What became of a day of a master account.
#[derive(Debug)]
pub(crate) struct DayReport {
    pub(crate) day: UtcDay,
    /// The account's name.
    pub(crate) account: String,
    /// How many requests are booked.
    pub(crate) requests: u64,
    /// What they come to.
    pub(crate) booked: Spend,
    /// What the upstream says that it took, where it says so, and what is left of the difference.
    pub(crate) compared: Option<(Spend, Judged)>,
    /// How many requests were compared one by one.
    pub(crate) compared_single: usize,
    /// What came of the readings of its credit or keys.
    pub(crate) readings: Option<ReadingReport>,
    pub(crate) not_checked: Vec<NotChecked>,
    /// What stands, by finding: its last entry, with the sum of all.
    pub(crate) standing: Vec<Finding>,
    /// What was entered just now.
    pub(crate) entered: Vec<Finding>,
}

/// Compares days with upstreams.
#[derive(Clone, Copy)]
pub(crate) struct Reconciler<'a> {
    pub(crate) store: &'a dyn Store,
}

/// What stands of the findings about a day of an account.
pub(crate) type Standing = HashMap<FindingKey, Finding>;

impl Reconciler<'_> {
    /// Compares a day of an account.
    pub(crate) async fn reconcile(
        &self,
        upstream: &AskedUpstream,
        day: UtcDay,
        sampling: Sampling,
    ) -> Result<DayReport, ReconcileError> {
        let standing = self.standing(upstream.id, day).await?;
        let mut books = self.books(upstream.id, day, sampling, &standing).await?;
        let mut report = DayReport {
            day,
            account: upstream.name.clone(),
            requests: books.requests,
            booked: books.booked,
            compared: None,
            compared_single: 0,
            readings: None,
            not_checked: Vec::new(),
            standing: Vec::new(),
            entered: Vec::new(),
        };
        self.compare_single(upstream, &mut books, &standing, sampling, &mut report)
            .await?;
        match upstream.used_on(day, SystemClock.now()).await {
            DayUsage::Told(theirs) => {
                self.compare_day(upstream, &books, theirs, &mut report)
                    .await?;
            }
            DayUsage::Untold(why) => report.not_checked.push(NotChecked { what: "day", why }),
        }
        if !upstream.tells_days() {
            // There is nothing to wait for.
            self.close(upstream.id, day, Spend::default()).await?;
        }
        self.compare_readings(upstream, &mut report).await?;
        let standing = self.standing(upstream.id, day).await?.into_values();
        report.standing = standing
            .filter(|finding| finding.difference != Nanos::ZERO)
            .collect();
        report
            .standing
            .sort_by(|left, right| left.key.cmp(&right.key));
        Ok(report)
    }

    async fn books(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        sampling: Sampling,
        standing: &Standing,
    ) -> Result<Books, ReconcileError> {
        let span = Span::day(day);
        let watched = standing.keys().filter_map(|key| match key.about {
            About::Request(request) => Some(request),
            _ => None,
        });
        let mut books = Books::new(span, Counting::ByAdmission, sampling, watched.collect());
        let mut add = |request| books.add(request);
        self.store
            .booked_requests(account, span.with_edges(), &mut add)
            .await?;
        // The chosen ones are taken out when all are in: nothing is added after this.
        Ok(books)
    }

    /// What is left of the day's sums when single requests have explained their part.
    async fn compare_day(
        &self,
        upstream: &AskedUpstream,
        books: &Books,
        theirs: Spend,
        report: &mut DayReport,
    ) -> Result<(), ReconcileError> {
        let day = report.day;
        let standing = self.standing(upstream.id, day).await?;
        let explained = Spend::each(|purse| {
            let single = standing
                .values()
                .filter(|finding| finding.key.about.is_single() && finding.key.purse == purse);
            Ok(single
                .map(|finding| finding.difference)
                .sum::<Nanos>()
                .usd())
        })?;
        let before = self.store.reconciled_day(upstream.id, day.plus(-1)).await?;
        let judged = judge(&Sides {
            books,
            theirs,
            explained,
            carried_in: before.map(|before| before.carried).unwrap_or_default(),
            pending: self.pending(upstream.id, day).await?,
        })?;
        for purse in Purse::ALL {
            let observed = Observed {
                key: FindingKey {
                    master_account: upstream.id,
                    day,
                    about: About::Day,
                    purse,
                },
                ours: books.booked.of(purse),
                theirs: Some(theirs.of(purse)),
                difference: Nanos::round_half_even(judged.found.of(purse))
                    .map_err(SumOverflow::from)?,
                cost_share: purse.cost_share(upstream.discount),
            };
            self.enter(&observed, &standing, report).await?;
        }
        self.close(upstream.id, day, judged.carried).await?;
        report.compared = Some((theirs, judged));
        Ok(())
    }

    async fn close(
        &self,
        account: MasterAccountId,
        day: UtcDay,
        carried: Spend,
    ) -> Result<(), StoreError> {
        let closed = ReconciledDay {
            carried,
            reconciled_at: SystemClock.now(),
        };
        self.store.close_day(account, day, &closed).await
    }

    /// What requests of a day may have cost at most whose usage is still asked for. A price is never below its cost, so
    /// that the hold bounds that too, and with it the list cost.
    async fn pending(
        &self,
        account: MasterAccountId,
        day: UtcDay,
    ) -> Result<Decimal, ReconcileError> {
        let pending = self.store.pending(MOST_PENDING).await?;
        let of_day = pending.iter().filter(|pending| {
            pending.served.master_account == account
                && UtcDay::of(pending.request.admitted_at) == day
        });
        let mut sum = Decimal::ZERO;
        for pending in of_day {
            let share = pending.served.discount.cost_share();
            let most = pending.request.hold.usd().checked_div(share);
            let next = most.and_then(|most| sum.checked_add(most));
            sum = next.ok_or(SumOverflow)?;
        }
        Ok(sum)
    }

    /// Enters what is observed, if it is anything or was something before.
    async fn enter(
        &self,
        observed: &Observed,
        standing: &Standing,
        report: &mut DayReport,
    ) -> Result<(), ReconcileError> {
        if observed.difference == Nanos::ZERO && !standing.contains_key(&observed.key) {
            return Ok(());
        }
        let now = SystemClock.now();
        let entered = self.store.record_finding(observed, now).await?;
        report.entered.extend(entered);
        Ok(())
    }

    /// The findings about a day of an account, each as its last entry with the sums of all.
    async fn standing(
        &self,
        account: MasterAccountId,
        day: UtcDay,
    ) -> Result<Standing, StoreError> {
        let all = self.store.findings(day).await?.into_iter();
        let of_day =
            |finding: &Finding| finding.key.day == day && finding.key.master_account == account;
        Ok(sum_up(all.filter(of_day)))
    }
}

/// Each finding as its last entry, with the sums of all.
pub(crate) fn sum_up(entries: impl Iterator<Item = Finding>) -> Standing {
    let mut standing = Standing::new();
    for mut entry in entries {
        if let Some(before) = standing.get(&entry.key) {
            entry.difference = entry.difference.saturating_add(before.difference);
            entry.cost = entry.cost.saturating_add(before.cost);
        }
        standing.insert(entry.key.clone(), entry);
    }
    standing
}

/// The days that can be compared: their upstreams tell of the last thirty that are over.
pub(crate) fn days_told(now: Timestamp) -> std::ops::RangeInclusive<UtcDay> {
    let today = UtcDay::of(now);
    today.plus(-30)..=today.plus(-1)
}
