"""The tables, and whether the limits hold."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from load import Outcome
from phases import HELD_STREAMS, Held, Measured

AIROUTER, BARE, NGINX = "AI Router", "bare hyper", "nginx"
# AI Router may cost so many times what the bare pass-through costs.
MOST_TIMES_BARE = 4.0
# The bare pass-through is a fair yardstick only while it costs at most so many times what nginx does.
MOST_BARE_TIMES_NGINX = 1.4
MOST_BYTES_PER_STREAM = 64 * 1024


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


def cpu_micros(measured: Measured) -> float:
    """CPU of the target in microseconds a request."""
    return middle(measured.full, lambda outcome: outcome.micros_per_request(outcome.cpu.total))


def yardstick(loads: dict[str, Measured]) -> float:
    """What counts as the bare pass-through's CPU: its own, but no more than 1.4 times nginx's."""
    bare = cpu_micros(loads[BARE])
    return min(bare, MOST_BARE_TIMES_NGINX * cpu_micros(loads[NGINX])) if NGINX in loads else bare


def cost_table(loads: dict[str, Measured]) -> str:
    """Full load: throughput, and CPU by request."""
    header = ["target", "requests/s", "core used", "CPU µs a request", "data plane", "store", "÷ bare", "p99 ms", "spread"]
    header.append("others on the core")
    bare = cpu_micros(loads[BARE])

    def row(name: str, measured: Measured) -> list[str]:
        full, cpu = measured.full, cpu_micros(measured)
        each = [outcome.micros_per_request(outcome.cpu.total) for outcome in full]
        store = middle(full, lambda outcome: outcome.micros_per_request(outcome.cpu.store))
        plane = middle(full, lambda outcome: outcome.micros_per_request(outcome.cpu.total - outcome.cpu.store))
        return [
            name,
            f"{middle(full, lambda outcome: outcome.per_second):,.0f}",
            f"{middle(full, lambda outcome: outcome.cpu.total / outcome.seconds):.2f}",
            f"{cpu:.1f}",
            *([f"{plane:.1f}", f"{store:.1f}"] if store else ["", ""]),
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
        micros = [median(value) for runs in both for value in ([run.p50 for run in runs], [run.p99 for run in runs])]
        return [name, *(f"{value / 1000:.2f}" for value in micros)]

    return table(header, (row(name, measured) for name, measured in loads.items()))


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
    own, bare, limit = cpu_micros(loads[AIROUTER]), cpu_micros(loads[BARE]), MOST_TIMES_BARE * yardstick(loads)
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


def memory_verdict(held: Held) -> Verdict:
    """Whether a held stream takes little enough memory."""
    text = f"memory: {held.per_stream / 1024:.1f} KiB a stream; limit {MOST_BYTES_PER_STREAM // 1024} KiB"
    return Verdict(held.per_stream <= MOST_BYTES_PER_STREAM, text)
