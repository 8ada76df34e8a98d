"""The tables, and whether the limits hold."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from statistics import median

from gateway import EMBEDDED, SHARED
from load import Outcome
from phases import HELD_STREAMS, Held, Load, Measured
from replicas import Cost
from settlement import Settlement

BARE, NGINX = "bare hyper", "nginx"
# AI Router may cost so many times what the bare pass-through costs.
MOST_TIMES_BARE = 4.0
# The bare pass-through is a fair yardstick only while it costs at most so many times what nginx does.
MOST_BARE_TIMES_NGINX = 1.4
MOST_BYTES_PER_STREAM = 64 * 1024
# With PostgreSQL and Redis it may cost so many times what it costs with SQLite, at the same rate.
MOST_TIMES_EMBEDDED = 1.15


@dataclass(frozen=True)
class Verdict:
    """A limit, and whether it holds."""

    holds: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.holds else 'FAIL'} {self.text}"


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def middle(outcomes: list[Outcome], value: Callable[[Outcome], float]) -> float:
    """The median over the runs."""
    return median(map(value, outcomes))


def micros(outcomes: list[Outcome]) -> float:
    """CPU of the target in microseconds a request."""
    return middle(outcomes, lambda outcome: outcome.micros_per_request(outcome.cpu.total))


def cpu_micros(measured: Measured) -> float:
    """The same, at full load."""
    return micros(measured.full)


def plane_and_store(outcomes: list[Outcome]) -> list[str]:
    """CPU a request of the target's threads that serve the database, after that of the others; if it has such."""
    store = middle(outcomes, lambda outcome: outcome.micros_per_request(outcome.cpu.store))
    plane = middle(outcomes, lambda outcome: outcome.micros_per_request(outcome.cpu.total - outcome.cpu.store))
    return [f"{plane:.1f}", f"{store:.1f}"] if store else ["", ""]


def settled(outcomes: list[Outcome]) -> Settlement:
    """What the target says about settlement in all of these."""
    return reduce(add, (outcome.settlement for outcome in outcomes if outcome.settlement is not None))


def server(outcomes: list[Outcome]) -> str:
    """CPU a request of the target's database server, if that is known."""
    known = [outcome.micros_per_request(outcome.server) for outcome in outcomes if outcome.server is not None]
    return f"{median(known):.1f}" if known else ""


def yardstick(loads: dict[str, Measured]) -> float:
    """What counts as the bare pass-through's CPU: its own, but no more than 1.4 times nginx's."""
    bare = cpu_micros(loads[BARE])
    return min(bare, MOST_BARE_TIMES_NGINX * cpu_micros(loads[NGINX])) if NGINX in loads else bare


def cost_table(loads: dict[str, Measured]) -> str:
    """Full load: throughput, and CPU by request."""
    header = ["target", "requests/s", "core used", "CPU µs a request", "data plane", "store", "database server"]
    header += ["÷ bare", "p99 ms", "spread", "others on the core"]
    bare = cpu_micros(loads[BARE])

    def row(name: str, measured: Measured) -> list[str]:
        full, cpu = measured.full, cpu_micros(measured)
        each = [outcome.micros_per_request(outcome.cpu.total) for outcome in full]
        return [
            name,
            f"{middle(full, lambda outcome: outcome.per_second):,.0f}",
            f"{middle(full, lambda outcome: outcome.cpu.total / outcome.seconds):.2f}",
            f"{cpu:.1f}",
            *plane_and_store(full),
            server(full),
            f"{cpu / bare:.2f}",
            f"{middle(full, lambda outcome: outcome.last_byte.p99) / 1000:.1f}",
            f"{(max(each) - min(each)) / cpu:.0%}",
            f"{max(outcome.foreign for outcome in full):.0%}",
        ]

    return table(header, (row(name, measured) for name, measured in loads.items()))


def added_table(loads: dict[str, Measured]) -> str:
    """Fixed rate: what a target adds to the way without it, in milliseconds."""
    header = ["target", "first byte p50", "p99", "last byte p50", "p99"]

    def row(name: str, measured: Measured) -> list[str]:
        both = [measured.added_first_byte, measured.added_last_byte]
        values = [median(value) for runs in both for value in ([run.p50 for run in runs], [run.p99 for run in runs])]
        return [name, *(f"{value / 1000:.2f}" for value in values)]

    return table(header, (row(name, measured) for name, measured in loads.items()))


def rate_table(loads: dict[str, Measured]) -> str:
    """Fixed rate: CPU of both ways to run AI Router."""
    header = ["target", "CPU µs a request", "data plane", "store", "database server", "÷ embedded", "spread"]
    header.append("events a commit")
    base = micros(loads[EMBEDDED].at_rate)

    def row(name: str, outcomes: list[Outcome]) -> list[str]:
        each, cpu = [outcome.micros_per_request(outcome.cpu.total) for outcome in outcomes], micros(outcomes)
        spread = f"{(max(each) - min(each)) / cpu:.0%}"
        commits = f"{settled(outcomes).events_by_commit:.1f}"
        return [name, f"{cpu:.1f}", *plane_and_store(outcomes), server(outcomes), f"{cpu / base:.2f}", spread, commits]

    return table(header, (row(name, loads[name].at_rate) for name in (EMBEDDED, SHARED)))


def settlement_table(loads: dict[str, Measured], rate: int) -> str:
    """How fast, in what portions and how late usage events become durable."""
    header = ["target", "load", "events/s", "commits/s", "events a commit", "p99 at most", "lag ms p50", "p99"]

    def row(name: str, load: str, outcomes: list[Outcome]) -> list[str]:
        seconds = sum(outcome.seconds for outcome in outcomes)
        sums = settled(outcomes)
        return [
            name,
            load,
            f"{sums.events / seconds:,.0f}",
            f"{sums.commits / seconds:,.0f}",
            f"{sums.events_by_commit:.1f}",
            f"{sums.batch.bound_of(0.99):.0f}",
            f"{sums.lag.quantile(0.5) * 1000:.2f}",
            f"{sums.lag.quantile(0.99) * 1000:.2f}",
        ]

    rows = []
    for name in (EMBEDDED, SHARED):
        rows.append(row(name, "full", loads[name].full))
        rows.append(row(name, f"{rate} a second", loads[name].at_rate))
    return table(header, rows)


def replica_table(costs: dict[int, Cost]) -> str:
    """The same load on one replica and on two."""
    header = ["replicas", "requests/s", "CPU µs a request, all replicas", "÷ one", "database server"]

    def row(count: int, cost: Cost) -> list[str]:
        at_server = "" if cost.server is None else f"{cost.server:.1f}"
        return [str(count), f"{cost.per_second:,.0f}", f"{cost.own:.1f}", f"{cost.own / costs[1].own:.2f}", at_server]

    return table(header, (row(count, cost) for count, cost in costs.items()))


def memory_table(held: dict[str, Held]) -> str:
    """Memory with all streams open."""
    header = ["target", "idle MiB", f"MiB at {HELD_STREAMS:,} streams", "KiB a stream"]
    mebi = 1024 * 1024
    rows = (
        [name, f"{memory.idle / mebi:.1f}", f"{memory.peak / mebi:.1f}", f"{memory.per_stream / 1024:.1f}"]
        for name, memory in held.items()
    )
    return table(header, rows)


def cpu_verdict(load: str, loads: dict[str, Measured]) -> Verdict:
    """Whether AI Router costs little enough under this load."""
    own, bare, limit = cpu_micros(loads[EMBEDDED]), cpu_micros(loads[BARE]), MOST_TIMES_BARE * yardstick(loads)
    text = f"{load}: {own:.1f} µs a request, {own / bare:.2f} × bare; limit {limit:.1f} µs ({fairness(loads)})"
    return Verdict(own <= limit, text)


def fairness(loads: dict[str, Measured]) -> str:
    """Whether the bare pass-through counts as the yardstick."""
    if NGINX not in loads:
        return "no nginx to check the yardstick with"
    times = cpu_micros(loads[BARE]) / cpu_micros(loads[NGINX])
    if times <= MOST_BARE_TIMES_NGINX:
        return f"bare ÷ nginx is {times:.2f}: it counts"
    return f"bare ÷ nginx is {times:.2f}: {MOST_BARE_TIMES_NGINX} × nginx counts instead"


def shared_verdict(load: Load, loads: dict[str, Measured]) -> Verdict:
    """Whether AI Router costs little more with PostgreSQL and Redis, at the load's rate."""
    own, base = micros(loads[SHARED].at_rate), micros(loads[EMBEDDED].at_rate)
    text = (
        f"{load.name}, {load.rate} a second, with PostgreSQL and Redis: {own:.1f} µs a request, "
        f"{own / base:.2f} × embedded; limit {MOST_TIMES_EMBEDDED}"
    )
    return Verdict(own <= MOST_TIMES_EMBEDDED * base, text)


def books_verdict(name: str, said: str, served: int) -> Verdict:
    """Whether what `ledger verify` found clean is what was served."""
    booked = re.search(r"^events=(\d+)$", said, re.MULTILINE)
    text = f"the books of this run add up, {served:,} answers are in them: {name}: {', '.join(said.split())}"
    return Verdict(booked is not None and int(booked[1]) >= served, text)


def redis_verdict(is_up: bool, fallbacks: int) -> Verdict:
    """Whether rates were counted in Redis: else the comparison says nothing."""
    return Verdict(is_up, f"Redis: it must be in use at the end; {fallbacks:,} requests were counted without it")


def memory_verdict(held: Held) -> Verdict:
    """Whether a held stream takes little enough memory."""
    text = f"memory: {held.per_stream / 1024:.1f} KiB a stream; limit {MOST_BYTES_PER_STREAM // 1024} KiB"
    return Verdict(held.per_stream <= MOST_BYTES_PER_STREAM, text)
