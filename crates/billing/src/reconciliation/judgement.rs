//! What is left of a span's difference when everything that explains it is taken off.

use rust_decimal::Decimal;

use super::books::Books;
use super::spend::{Purse, Spend, SumOverflow, minus, plus};

/// The two sides of a span, and what is known to lie between them.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// What is booked here.
    pub books: &'a Books,
    /// What the upstream says.
    pub theirs: Spend,
    /// What findings about single requests of the span come to: theirs − ours.
    pub explained: Spend,
    /// What the span before expects here, because the upstream may count it so.
    pub carried_in: Spend,
    /// What requests whose usage is still asked for may have cost at most.
    pub pending: Decimal,
}

/// What became of the difference theirs − ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// What nothing explains: above zero the upstream billed more than is booked.
    pub found: Spend,
    /// What is expected of the next span: requests at the end of this one that the upstream counts to that, or, below
    /// zero, of its beginning that the upstream counts to this one.
    pub carried: Spend,
    /// What requests may come to whose usage is still asked for.
    pub waiting: Spend,
}

/// Compares both sides.
///
/// The upstream counts a request by a clock and a moment of its own. So a difference that requests at the end of the
/// span could make is no finding yet: it is carried over, and must turn up in the next span. What is carried and what is
/// found always sum to the differences of all spans, exactly.
pub fn judge(sides: &Sides<'_>) -> Result<Judged, SumOverflow> {
    let (credits, at_provider) = (
        judge_purse(sides, Purse::Credits)?,
        judge_purse(sides, Purse::Provider)?,
    );
    let both = |part: fn(&[Decimal; 3]) -> Decimal| Spend {
        credits: part(&credits),
        at_provider: part(&at_provider),
    };
    Ok(Judged {
        found: both(|parts| parts[0]),
        carried: both(|parts| parts[1]),
        waiting: both(|parts| parts[2]),
    })
}

/// Found, carried and waiting, of one purse.
fn judge_purse(sides: &Sides<'_>, purse: Purse) -> Result<[Decimal; 3], SumOverflow> {
    let difference = minus(sides.theirs.of(purse), sides.books.booked.of(purse))?;
    let difference = minus(difference, sides.explained.of(purse))?;
    let difference = minus(difference, sides.carried_in.of(purse))?;
    let (later, earlier) = sides.books.edge(purse);
    let carried = (-difference).clamp(-earlier, later);
    let left = plus(difference, carried)?;
    let waiting = left.clamp(Decimal::ZERO, sides.pending.max(Decimal::ZERO));
    Ok([minus(left, waiting)?, carried, waiting])
}

/// A sum that only grows, read twice, beside what is booked between.
#[derive(Clone, Copy, Debug)]
pub struct Readings<'a> {
    /// What is booked between the readings, by the ends of requests.
    pub books: &'a Books,
    /// What the sum grew by.
    pub theirs: Spend,
    /// What was found of the days that lie partly between the readings: each may be of the part that does.
    pub explained: &'a [Spend],
    /// What requests whose usage is still asked for may have cost at most.
    pub pending: Decimal,
}

/// What nothing explains of what a sum grew by: whatever was in flight at either reading may be in it or not.
pub fn judge_readings(readings: &Readings<'_>) -> Result<Spend, SumOverflow> {
    Spend::each(|purse| {
        let books = readings.books;
        let difference = minus(readings.theirs.of(purse), books.booked.of(purse))?;
        let (later, earlier) = books.edge(purse);
        let mut least = -plus(later, books.may_be_before.of(purse))?;
        let mut most = plus(earlier, books.may_be_after.of(purse))?;
        most = plus(most, readings.pending.max(Decimal::ZERO))?;
        for found in readings.explained {
            least = plus(least, found.of(purse).min(Decimal::ZERO))?;
            most = plus(most, found.of(purse).max(Decimal::ZERO))?;
        }
        minus(difference, difference.clamp(least, most))
    })
}
