"""What the same load costs one replica, and two that share it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from gateway import Installation, second_replica
from load import Outcome, Shape, body, put_load
from phases import RATE_SECONDS, WARM_UP
from programs import Programs, Target

# Of all replicas together: low enough for two replicas on one core, and the load, the upstream and the servers on the
# other.
RATE = 1_000
CONNECTIONS = 64


@dataclass(frozen=True)
class Cost:
    """CPU of all replicas together, and of the database server, in microseconds a request; requests a second."""

    own: float
    server: float | None
    per_second: float


def cost_of(replicas: list[Target]) -> Cost:
    """Puts an equal part of the load on each, at the same time."""
    count = len(replicas)
    part = Shape(body(), False, CONNECTIONS // count, seconds=RATE_SECONDS, rate=RATE // count)
    with ThreadPoolExecutor(count) as threads:
        outcomes = list(threads.map(lambda replica: put_load(replica, part), replicas))
    requests = sum(outcome.requests for outcome in outcomes)
    return Cost(
        own=sum(outcome.cpu.total for outcome in outcomes) * 1e6 / requests,
        server=server_micros(outcomes, requests),
        per_second=requests / max(outcome.seconds for outcome in outcomes),
    )


def server_micros(outcomes: list[Outcome], requests: int) -> float | None:
    """The server is the same for all, and each has seen about all that it used."""
    seen = [outcome.server for outcome in outcomes if outcome.server is not None]
    return max(seen) * 1e6 / requests if seen else None


def middle(costs: list[Cost]) -> Cost:
    """The median of each."""
    servers = [cost.server for cost in costs if cost.server is not None]
    return Cost(
        own=median(cost.own for cost in costs),
        server=median(servers) if servers else None,
        per_second=median(cost.per_second for cost in costs),
    )


def run_replicas(
    programs: Programs, installation: Installation, upstream: Target, first: Target, runs: int
) -> dict[int, Cost]:
    """By the number of replicas, in turns: the second runs only while it is measured."""
    costs: dict[int, list[Cost]] = {1: [], 2: []}
    for _ in range(runs):
        costs[1].append(cost_of([first]))
        with second_replica(programs, installation, upstream, first) as second:
            put_load(second, WARM_UP)
            costs[2].append(cost_of([first, second]))
    return {count: middle(of) for count, of in costs.items()}
