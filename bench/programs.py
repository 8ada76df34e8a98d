"""The programs of the benchmark: the simulated upstream and the targets, each pinned to its core."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

BENCH = Path(__file__).resolve().parent
PROJECT = BENCH.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
AIROUTER = TARGET / "release" / "airouter"
SIMULATOR = TARGET / "release" / "airouter-sim"

# The upstream and the load share a core; the proxy under test has one to itself.
LOAD_CORE = 0
PROXY_CORE = 1
MASTER_KEY = "sk-or-v1-simulated"
# What would configure the programs.
FOREIGN = (
    *("AIROUTER_", "OPENROUTER_", "DATABASE_", "REDIS_", "TEST_", "ADMIN_", "SECRET_", "ENCRYPTION_"),
    *("HTTPS_PROXY", "RUST_LOG"),
)
READY_SECONDS = 30
STOP_SECONDS = 40


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without what would configure the programs, plus `settings`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)} | settings


def on_core(core: int) -> Callable[[], None]:
    """What a child does first to stay on one core."""
    return lambda: os.sched_setaffinity(0, {core})


@dataclass(frozen=True)
class Target:
    """Where the load goes."""

    name: str
    port: int
    path: str
    key: str
    # The process that is measured; None is none: the upstream itself.
    pid: int | None
    # Where it tells its metrics, if it does.
    metrics: int | None = None
    # The process of its database server, if it has one on this machine.
    server: int | None = None


class Programs:
    """Starts programs in a work directory, and stops them all in the end."""

    def __init__(self, work: Path):
        self.work = work
        self._running: dict[int, subprocess.Popen] = {}

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_failure: object) -> None:
        for pid in reversed(list(self._running)):
            self.stop(pid)

    def stop(self, pid: int) -> None:
        """Ends one of them."""
        program = self._running.pop(pid)
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()

    def start(self, name: str, command: list, port: int, core: int, environment: dict[str, str] | None = None) -> int:
        """Starts a program and waits until it accepts connections; its process id. Its output is in `name`.log."""
        with (self.work / f"{name}.log").open("wb") as log:
            program = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.work,
                env=environment or clean_environment(),
                preexec_fn=on_core(core),
            )
        self._running[program.pid] = program
        deadline = time.monotonic() + READY_SECONDS
        while not self._accepts(port):
            if program.poll() is not None or time.monotonic() > deadline:
                text = (self.work / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} does not serve:\n{text[-2000:]}")
            time.sleep(0.02)
        return program.pid

    @staticmethod
    def _accepts(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def upstream(self) -> Target:
        """The simulated upstream, with few records of what it did."""
        port = free_port()
        command = [SIMULATOR, "upstream", "--listen", f"127.0.0.1:{port}", "--keep-generations", 10_000]
        self.start("upstream", command, port, LOAD_CORE)
        return Target("direct", port, "/api/v1/chat/completions", MASTER_KEY, None)

    def bare(self, upstream: Target) -> Target:
        """The bare pass-through proxy: hyper in, hyper out, nothing else."""
        port = free_port()
        command = [SIMULATOR, "bare", "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{upstream.port}"]
        return Target("bare hyper", port, upstream.path, upstream.key, self.start("bare", command, port, PROXY_CORE))

    def nginx(self, program: Path, upstream: Target) -> tuple[Target, Target]:
        """nginx, in one process: for whole answers, and for streams."""
        port, stream_port = free_port(), free_port()
        text = (BENCH / "nginx.conf").read_text()
        ports = {"@LISTEN@": port, "@LISTEN_FOR_STREAMS@": stream_port, "@UPSTREAM@": upstream.port}
        for mark, value in ports.items():
            text = text.replace(mark, str(value))
        home = self.work / "nginx"
        home.mkdir()
        (home / "nginx.conf").write_text(text)
        command = [program, "-p", home, "-c", home / "nginx.conf", "-e", home / "error.log"]
        whole = Target("nginx", port, upstream.path, upstream.key, self.start("nginx", command, port, PROXY_CORE))
        return whole, replace(whole, port=stream_port)
