"""Compares what clients received, what the gateway booked and what the upstream billed, as sets of generation ids.

The rules, after kills of the gateway under load, and outages of its database:

- every answer that a client received whole is booked once, and charged;
- every charge and every loss is what the upstream's books say of that generation, to the nano-dollar;
- a loss is a crash's, names its generation, and that was in flight at a kill;
- what the upstream billed and the gateway doesn't know was in flight at a kill and younger than `YOUNG_SECONDS`;
- so the upstream's sum is list cost charged + list cost booked as loss + what was cut young.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .database import Event
from .gateway import Gateway
from .money import cost_of, price_of
from .simulator import Generation

MICROSECONDS = 10**6
# A request that is older than this is recorded by the next group commit, which takes its time too.
YOUNG_SECONDS = 1.0
COMMIT_SECONDS = 0.25
# Clocks of two processes on one machine are the same; what is under way between them is not.
UNDER_WAY_SECONDS = 0.1
# What the upstream has ended is in flight until a group commit has taken it: on a busy machine that takes so long.
SETTLING_SECONDS = 0.5


@dataclass(frozen=True)
class Kill:
    """When a gateway was killed: it ended between these moments, in seconds since the epoch."""

    began: float
    ended: float


def kill_now(gateway: Gateway) -> Kill:
    assert gateway.child is not None
    began = time.time()
    gateway.child.kill()
    return Kill(began, time.time())


@dataclass(frozen=True)
class Totals:
    """What it all came to."""

    whole: int
    charged: Fraction
    lost: Fraction
    cut_young: Fraction


def reconcile(
    whole: Iterable[str],
    events: Iterable[Event],
    generations: Mapping[str, Generation],
    kills: Iterable[Kill],
    outages: Sequence[tuple[float, float]] = (),
) -> Totals:
    """Checks every rule; `outages` (which excuse nothing, and are only told) are times in seconds since the epoch,
    `whole` ids of answers received whole."""
    whole, events, kills = list(whole), list(events), list(kills)
    assert_no_repeats(whole, "received whole twice")
    assert_no_repeats([event.generation_id for event in events], "booked twice")
    booked = {event.generation_id: event for event in events}
    assert None not in booked, "an event without a generation id"
    unknown = set(booked) - set(generations)
    assert not unknown, f"booked, but not in the upstream's books: {sorted(unknown)[:5]}"
    for generation in whole:
        assert generation in booked, f"received whole and not booked: {generations.get(generation)}"
        assert booked[generation].loss_reason is None, f"received whole and not charged: {booked[generation]}"
    for event in events:
        assert_exact(event, generations[event.generation_id])
    losses = [event for event in events if event.loss_reason is not None]
    for loss in losses:
        assert loss.loss_reason == "crash", loss
        row = generations[loss.generation_id]
        assert age_at_kill(row, kills) is not None, (
            f"lost, not in flight at a kill: {loss}, {nearest(row, kills, outages)}"
        )
    missing = [row for generation, row in generations.items() if generation not in booked and row.cost > 0]
    for row in missing:
        age = age_at_kill(row, kills)
        assert age is not None, f"billed, not booked, not in flight at a kill: {row}, {nearest(row, kills, outages)}"
        assert age <= YOUNG_SECONDS + COMMIT_SECONDS, f"billed, not booked, {age} s old at the kill: {row}"
    totals = Totals(
        whole=len(whole),
        charged=sum((event.list_usd for event in events if event.loss_reason is None), Fraction(0)),
        lost=sum((loss.list_usd for loss in losses), Fraction(0)),
        cut_young=sum((row.cost for row in missing), Fraction(0)),
    )
    billed = sum((row.cost for row in generations.values()), Fraction(0))
    assert billed == totals.charged + totals.lost + totals.cut_young
    return totals


def nearest(row: Generation, kills: Iterable[Kill], outages: Sequence[tuple[float, float]]) -> str:
    """What happened around the end of a generation, in seconds from there."""
    ended = row.ended_at_us / MICROSECONDS
    moments = {"kill": [kill.began for kill in kills], "outage": [moment for outage in outages for moment in outage]}
    found = [(round(moment - ended, 3), what) for what, all_such in moments.items() for moment in all_such]
    return f"around its end: {sorted(found, key=lambda pair: abs(pair[0]))[:3]}"


def assert_no_repeats(ids: Iterable[str | None], what: str) -> None:
    repeated = [generation for generation, count in Counter(ids).items() if count > 1]
    assert not repeated, f"{what}: {repeated[:5]}"


def assert_exact(event: Event, billed: Generation) -> None:
    """An event says what the upstream's books say, and follows from it to the nano-dollar."""
    assert event.list_usd == billed.cost, (event, billed)
    assert event.cost_nanos == cost_of(billed.cost), (event, billed)
    price = price_of(billed.cost) if event.loss_reason is None else 0
    assert event.price_nanos == event.charged_nanos == price, (event, billed)
    assert event.uncollected_nanos == 0, event


def age_at_kill(row: Generation, kills: Iterable[Kill]) -> float | None:
    """How old a generation was, in seconds, when the kill that cut it began; `None` if it was in flight at none."""
    started, ended = row.started_at_us / MICROSECONDS, row.ended_at_us / MICROSECONDS
    first, last = started - UNDER_WAY_SECONDS, ended + SETTLING_SECONDS
    cut_by = [kill for kill in kills if first <= kill.ended and kill.began <= last]
    return max(0.0, cut_by[0].began - started) if cut_by else None
