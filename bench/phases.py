"""What is measured: cost at full load, what a request is delayed at a fixed rate, memory of held streams."""

from dataclasses import dataclass, field

from load import CHUNKS, EVENT_BY_EVENT, Latency, Outcome, Shape, body, put_load
from machine import resident_bytes
from programs import Target

HELD_STREAMS = 1_000
WARM_UP_REQUESTS = 300
RATE_SECONDS = 3
# A run in which others took more of the proxy's core is repeated, so often; the quietest counts.
MOST_FOREIGN = 0.1
TRIES = 3


@dataclass(frozen=True)
class Load:
    """A kind of request: as many as the target takes from so many connections, and where it says so, at a fixed rate."""

    name: str
    streamed: bool
    connections: int
    x_sim: dict[str, int]
    # Requests a second, far below what any target takes; 0: not at a fixed rate.
    rate: int
    # What the simulator does at the fixed rate.
    x_sim_at_rate: dict[str, int] = field(default_factory=dict)

    def full(self, seconds: int) -> Shape:
        """Closed loop: each connection asks again as soon as it has its answer."""
        return Shape(body(**self.x_sim), self.streamed, self.connections, seconds=seconds)

    def at_rate(self) -> Shape:
        """Evenly spaced requests."""
        x_sim = body(**self.x_sim_at_rate)
        return Shape(x_sim, self.streamed, self.connections, seconds=RATE_SECONDS, rate=self.rate)


LOADS = [
    Load("whole answers", streamed=False, connections=64, x_sim={}, rate=500),
    Load(
        "streams, 20 events 1 ms apart",
        streamed=True,
        connections=128,
        x_sim={"chunks": CHUNKS, "chunk_ms": 1},
        rate=200,
        x_sim_at_rate={"chunks": CHUNKS, "chunk_ms": 10},
    ),
    Load(
        "streams, 20 events back to back",
        streamed=True,
        connections=64,
        x_sim={"chunks": CHUNKS, "cut": EVENT_BY_EVENT},
        rate=0,
    ),
]
HELD = Shape(body(chunks=CHUNKS, chunk_ms=500), True, HELD_STREAMS, requests=HELD_STREAMS)
WARM_UP = Shape(body(), False, 64, requests=WARM_UP_REQUESTS)


@dataclass
class Measured:
    """All that was measured of one target under one load, run by run."""

    full: list[Outcome] = field(default_factory=list)
    at_rate: list[Outcome] = field(default_factory=list)
    added_first_byte: list[Latency] = field(default_factory=list)
    added_last_byte: list[Latency] = field(default_factory=list)


@dataclass(frozen=True)
class Held:
    """Memory of a target, idle and with all streams open, in bytes."""

    idle: int
    peak: int

    @property
    def per_stream(self) -> float:
        return (self.peak - self.idle) / HELD_STREAMS


def hold_streams(target: Target) -> Held:
    """Memory a stream; the target has served little yet."""
    assert target.pid is not None
    put_load(target, WARM_UP)
    idle = resident_bytes(target.pid)
    return Held(idle, put_load(target, HELD).peak_bytes)


def quietest(target: Target, shape: Shape) -> Outcome:
    """The load on a core that others leave alone, as far as they do."""
    tries: list[Outcome] = []
    while len(tries) < TRIES and not any(outcome.foreign <= MOST_FOREIGN for outcome in tries):
        tries.append(put_load(target, shape))
    return min(tries, key=lambda outcome: outcome.foreign)


def run_load(upstream: Target, targets: list[Target], load: Load, runs: int, seconds: int) -> dict[str, Measured]:
    """Full load and fixed rate, `runs` times, in another order each time."""
    measured = {target.name: Measured() for target in targets}
    for run in range(runs):
        first = run % len(targets)
        turned = targets[first:] + targets[:first]
        for target in turned:
            measured[target.name].full.append(quietest(target, load.full(seconds)))
        if not load.rate:
            continue
        direct = put_load(upstream, load.at_rate())
        for target in turned:
            through = put_load(target, load.at_rate())
            measured[target.name].at_rate.append(through)
            measured[target.name].added_first_byte.append(through.first_byte - direct.first_byte)
            measured[target.name].added_last_byte.append(through.last_byte - direct.last_byte)
    return measured
