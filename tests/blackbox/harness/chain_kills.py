"""Compares the books of routers in a row after kills: what clients received, what each router charged and booked, and
what the simulator billed.

The rules, for each generation:

- an answer that a client received whole is charged by the last router, once;
- what a router has booked as its list cost is what the one before it charged it (the first: what the simulator
  billed), to the nano-dollar; what it charges follows from that;
- a loss was in flight at a kill;
- what one charged and the next one doesn't know was in flight at a kill of either, and younger than `YOUNG_SECONDS`;
- so what one charged is list cost charged + list cost booked as loss + what was cut young, of the next.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .chains import Chain, Member, charged, listed
from .database import Event
from .money import NANOS
from .simulator import Generation

MICROSECONDS = 10**6
# A request that is older than this is recorded by the next group commit, which takes its time too.
YOUNG_SECONDS = 1.25
# Between the clocks of two processes is what is under way between them.
UNDER_WAY_SECONDS = 0.25
# What the upstream has ended is in flight until the last router has committed it.
SETTLING_SECONDS = 1.0
# `unknown`: the one before it was killed before it had it on record, and says that it doesn't know of it.
LOSSES = {"crash", "failed_attempt", "unknown"}


@dataclass(frozen=True)
class Kill:
    """Which router, and between which moments."""

    member: int
    began: float
    ended: float


@dataclass(frozen=True)
class Totals:
    """What one router's requests came to, in dollars of its list cost."""

    billed: Fraction
    charged: Fraction
    lost: Fraction
    cut: Fraction
    cut_count: int
    losses: Mapping[str, int]

    def __str__(self) -> str:
        losses = ", ".join(f"{reason} {count}" for reason, count in sorted(self.losses.items())) or "none"
        return (
            f"billed ${float(self.billed):.6f} = charged ${float(self.charged):.6f} + lost ${float(self.lost):.6f} "
            f"({losses}) + cut young ${float(self.cut):.6f} ({self.cut_count})"
        )


def reconcile_chain(
    chain: Chain, whole: Sequence[str], generations: Mapping[str, Generation], kills: Sequence[Kill]
) -> list[Totals]:
    """Checks every rule; `whole` are the ids of answers that clients received whole."""
    assert_no_repeats(whole, "received whole twice")
    last = {event.generation_id: event for event in chain.members[-1].gateway.database.events()}
    for generation in whole:
        assert generation in last, f"received whole and not booked: {generations.get(generation)}"
        assert last[generation].loss_reason is None, f"received whole and not charged: {last[generation]}"
    totals = []
    billed = {name: row.cost for name, row in generations.items()}
    for number, member in enumerate(chain.members):
        events = member.gateway.database.events()
        near = [kill for kill in kills if kill.member in (number, number - 1)]
        assert_events(member, events, generations, kills)
        totals.append(reconcile_member(events, billed, generations, near))
        if number + 1 < len(chain.members):
            account = chain.members[number + 1].buys_as
            sold = account.events()
            assert_balance(account, sold)
            billed = {name: Fraction(amount, NANOS) for name, amount in charged(sold).items()}
    return totals


def reconcile_member(
    events: Sequence[Event],
    billed: Mapping[str | None, Fraction],
    generations: Mapping[str, Generation],
    kills: Sequence[Kill],
) -> Totals:
    """Compares a router's books with what it was billed; `kills` are its own and those of its upstream."""
    booked = listed(events)
    wrong = {name for name, cost in booked.items() if cost != billed.get(name, 0)}
    assert not wrong, [
        (name, booked[name], billed.get(name), [e for e in events if e.generation_id == name]) for name in wrong
    ][:3]
    cut = {name: cost for name, cost in billed.items() if name not in booked and cost}
    for name in cut:
        row = generations[name]
        ages = ages_at(row, kills)
        assert ages, f"billed, not booked, not in flight at a kill: {row}, {nearest(row, kills)}"
        assert min(ages) <= YOUNG_SECONDS, f"billed, not booked, {ages} s old at kills: {row}"
    losses = [event for event in events if event.loss_reason is not None]
    totals = Totals(
        billed=sum(billed.values(), Fraction(0)),
        charged=sum((event.list_usd for event in events if event.loss_reason is None), Fraction(0)),
        lost=sum((event.list_usd for event in losses), Fraction(0)),
        cut=sum(cut.values(), Fraction(0)),
        cut_count=len(cut),
        losses=Counter(event.loss_reason for event in losses),
    )
    assert totals.billed == totals.charged + totals.lost + totals.cut
    return totals


def assert_events(
    member: Member, events: Sequence[Event], generations: Mapping[str, Generation], kills: Sequence[Kill]
) -> None:
    """Each request is booked once, at a price that follows from its list cost; what is lost was cut by a kill."""
    assert_no_repeats([event.generation_id for event in events if event.generation_id], "booked twice")
    for event in events:
        price = member.price_of(event.list_usd) if event.loss_reason is None else 0
        assert event.price_nanos == event.charged_nanos == price, event
        assert event.uncollected_nanos == 0, event
        if event.loss_reason is not None:
            assert event.loss_reason in LOSSES, event
            assert event.loss_reason != "unknown" or event.list_usd == 0, event
        if event.loss_reason is not None and event.generation_id is not None:
            row = generations[event.generation_id]
            assert ages_at(row, kills), f"lost, not in flight at a kill: {event}, {nearest(row, kills)}"


def assert_balance(account, events: Sequence[Event]) -> None:
    spent = sum(event.charged_nanos for event in events)
    balance = account.balance()
    assert balance.balance_nanos >= 0
    assert balance.lifetime_spent_nanos == spent


def assert_no_repeats(ids: Iterable[str], what: str) -> None:
    repeated = [generation for generation, count in Counter(ids).items() if count > 1]
    assert not repeated, f"{what}: {repeated[:5]}"


def ages_at(row: Generation, kills: Iterable[Kill]) -> list[float]:
    """How old a generation was, in seconds, at those of the kills at which it was in flight."""
    started, ended = row.started_at_us / MICROSECONDS, row.ended_at_us / MICROSECONDS
    return [
        max(0.0, kill.ended - started)
        for kill in kills
        if started - UNDER_WAY_SECONDS <= kill.ended and kill.began <= ended + SETTLING_SECONDS
    ]


def nearest(row: Generation, kills: Iterable[Kill]) -> str:
    """The kills around the end of a generation, in seconds from there."""
    ended = row.ended_at_us / MICROSECONDS
    found = sorted(((round(kill.began - ended, 3), kill.member) for kill in kills), key=lambda pair: abs(pair[0]))
    return f"it ended {ended - row.started_at_us / MICROSECONDS:.3f} s after its start; kills around that: {found[:3]}"
