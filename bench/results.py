"""All that a run of the benchmark has measured, as tables and verdicts."""

from collections.abc import Iterator
from dataclasses import dataclass

import report
from gateway import EMBEDDED
from phases import LOADS, Held, Load, Measured
from replicas import RATE, Cost


@dataclass(frozen=True)
class Results:
    """Memory by target; what was measured of each target by load; cost by number of replicas; whether all was right."""

    held: dict[str, Held]
    loads: dict[str, dict[str, Measured]]
    replicas: dict[int, Cost]
    checks: list[report.Verdict]

    @property
    def rated(self) -> list[Load]:
        return [load for load in LOADS if load.rate]

    @property
    def noise(self) -> float:
        """The most of the proxy's core that others took."""
        targets = [measured for load in self.loads.values() for measured in load.values()]
        return max(outcome.foreign for measured in targets for outcome in measured.full)

    def verdicts(self) -> list[report.Verdict]:
        """Whether the limits hold."""
        return [
            *(report.cpu_verdict(name, load) for name, load in self.loads.items()),
            *(report.shared_verdict(load, self.loads[load.name]) for load in self.rated),
            report.memory_verdict(self.held[EMBEDDED]),
            *self.checks,
        ]

    def tables(self) -> Iterator[tuple[str, str]]:
        """Each with its title."""
        for name, load in self.loads.items():
            yield f"Full load: {name}", report.cost_table(load)
        for load in self.rated:
            measured, at_rate = self.loads[load.name], f"at {load.rate} a second: {load.name}"
            yield f"Added milliseconds {at_rate}", report.added_table(measured)
            yield f"CPU {at_rate}", report.rate_table(measured)
        whole = self.rated[0]
        yield f"Settlement: {whole.name}", report.settlement_table(self.loads[whole.name], whole.rate)
        yield f"Replicas that share {RATE:,} whole answers a second", report.replica_table(self.replicas)
        yield "Memory", report.memory_table(self.held)
