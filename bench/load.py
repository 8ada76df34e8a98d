"""Puts one load on one target, and measures what that cost."""

import json
import subprocess
import threading
import time
from dataclasses import dataclass

from machine import CpuSeconds, core_busy, cpu, family_cpu_seconds, resident_bytes
from programs import LOAD_CORE, PROXY_CORE, SIMULATOR, Target, clean_environment, on_core
from settlement import Settlement, settlement

MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant that answers briefly."},
    {"role": "user", "content": "Name three rivers that flow into the North Sea, and where they rise."},
]
CHUNKS = 20
# Longer than any event: each event is written on its own, as soon as the one before is.
EVENT_BY_EVENT = 65_536
MEMORY_LOOK_SECONDS = 0.1


def body(**x_sim: int) -> str:
    """A chat completion of about 250 bytes; `x_sim` is what the simulator is to do."""
    request = {"model": "sim/small", "temperature": 0.7, "max_tokens": 64, "messages": MESSAGES}
    if x_sim:
        request["x_sim"] = x_sim
    return json.dumps(request, separators=(",", ":"))


@dataclass(frozen=True)
class Shape:
    """A load: what is asked for, over how many connections, for how long."""

    body: str
    streamed: bool
    connections: int
    seconds: int = 0
    requests: int = 0
    # Requests a second; 0 is as many as the target takes.
    rate: int = 0

    def flags(self) -> list[str]:
        limit = f"--requests={self.requests}" if self.requests else f"--seconds={self.seconds}"
        rate = [f"--rate={self.rate}"] if self.rate else []
        stream = "streamed" if self.streamed else "whole"
        return [f"--body={self.body}", f"--stream={stream}", f"--connections={self.connections}", limit, *rate]


@dataclass(frozen=True)
class Latency:
    """Microseconds."""

    p50: float
    p99: float

    def __sub__(self, other: "Latency") -> "Latency":
        return Latency(self.p50 - other.p50, self.p99 - other.p99)


@dataclass(frozen=True)
class Outcome:
    """What came of a load. Every request was answered, whole."""

    requests: int
    seconds: float
    first_byte: Latency
    last_byte: Latency
    cpu: CpuSeconds
    # The share of the proxy's core that others took.
    foreign: float
    # Most memory that the target had resident.
    peak_bytes: int
    # CPU seconds of the target's database server, if it has one here.
    server: float | None
    # What the target says about settlement, if it does.
    settlement: Settlement | None

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def micros_per_request(self, seconds: float) -> float:
        return seconds * 1e6 / self.requests


class PeakMemory:
    """Looks at a process's memory now and then, and keeps the most it saw."""

    def __init__(self, pid: int | None):
        self.bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._looker = threading.Thread(target=self._look)

    def _look(self) -> None:
        while self._pid is not None and not self._over.wait(MEMORY_LOOK_SECONDS):
            self.bytes = max(self.bytes, resident_bytes(self._pid))

    def __enter__(self) -> "PeakMemory":
        self._looker.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self._over.set()
        self._looker.join()


def put_load(target: Target, shape: Shape) -> Outcome:
    """Runs the load to its end."""
    command = [SIMULATOR, "load", f"--target=127.0.0.1:{target.port}", f"--path={target.path}", *shape.flags()]
    settled = None if target.metrics is None else settlement(target.metrics)
    server = None if target.server is None else family_cpu_seconds(target.server)
    used = CpuSeconds(0.0, 0.0) if target.pid is None else cpu(target.pid)
    busy, began = core_busy(PROXY_CORE), time.monotonic()
    with PeakMemory(target.pid) as peak:
        done = subprocess.run(
            command,
            env=clean_environment(AIROUTER_SIM_KEY=target.key),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=on_core(LOAD_CORE),
        )
    elapsed, busy = time.monotonic() - began, core_busy(PROXY_CORE) - busy
    used = CpuSeconds(0.0, 0.0) if target.pid is None else cpu(target.pid) - used
    server = None if target.server is None else family_cpu_seconds(target.server) - server
    settled = None if target.metrics is None else settlement(target.metrics) - settled
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed:\n{done.stderr}")
    report = json.loads(done.stdout)
    if report["errors"] or report["whole"] == 0 or report["whole"] != report["requests"]:
        raise RuntimeError(f"{target.name} did not answer every request whole:\n{done.stdout}")
    return Outcome(
        requests=report["whole"],
        seconds=report["elapsed_us"] / 1e6,
        first_byte=Latency(report["first_byte_us"]["p50"], report["first_byte_us"]["p99"]),
        last_byte=Latency(report["last_byte_us"]["p50"], report["last_byte_us"]["p99"]),
        cpu=used,
        foreign=max(0.0, (busy - used.total) / elapsed),
        peak_bytes=peak.bytes,
        server=server,
        settlement=settled,
    )
