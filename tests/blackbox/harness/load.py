"""Load on a gateway, from the simulator's load generator."""

import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

from .gateway import Account
from .polling import eventually
from .processes import STOP_SECONDS, Child, binary
from .requests import body


class Load:
    """Clients that ask without a pause, as a process of their own."""

    def __init__(
        self, account: Account, directory: Path, name: str, connections: int, rate: int, sim: dict, **options: object
    ):
        """`options` are further ones of the load generator; it ends by itself after `seconds`."""
        options = {"seconds": 600, "stream": "alternating"} | options
        self._read = 0
        self._count = 0
        self.answers = directory / f"{name}.jsonl"
        self.child = Child(
            [
                str(binary("airouter-sim", "AIROUTER_SIM_BIN")),
                "load",
                f"--target=127.0.0.1:{account.gateway.port}",
                f"--key={account.key}",
                f"--connections={connections}",
                f"--rate={rate}",
                f"--body={json.dumps(body(sim=sim))}",
                f"--answers={self.answers}",
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            directory / f"{name}.log",
        )

    def count(self) -> int:
        """Answers received whole so far."""
        assert self.child.is_running, self.child.log_text()
        if self.answers.exists():
            with self.answers.open("rb") as file:
                file.seek(self._read)
                more = file.read()
            self._read += len(more)
            self._count += more.count(b"\n")
        return self._count

    def stop(self) -> dict:
        """Lets what is under way end; the load generator's report."""
        self.child.signal(signal.SIGINT)
        return self.report()

    def report(self, seconds: float = STOP_SECONDS) -> dict:
        """What it reports at its end, for which it waits."""
        assert self.child.exit_code(seconds) == 0, self.child.log_text()
        return json.loads(self.child.log_text())

    def whole(self) -> list[str]:
        return [json.loads(line)["id"] for line in self.answers.read_text().splitlines()]


@contextlib.contextmanager
def ended(loads: list[Load]) -> Iterator[list[Load]]:
    """None of them runs on after a failure."""
    try:
        yield loads
    finally:
        for load in loads:
            if load.child.is_running:
                load.child.kill()


def put_load(account: Account, directory: Path) -> list[Load]:
    """Quick and slow answers, for `ended`."""
    return [
        Load(account, directory, "quick", 24, 800, {"completion_tokens": 7}),
        Load(account, directory, "slow", 16, 100, {"completion_tokens": 20, "chunks": 20, "chunk_ms": 120}),
    ]


def wait_for_more(loads: list[Load], answers: int) -> None:
    """Waits until clients have received so many more answers whole."""
    wanted = sum(load.count() for load in loads) + answers
    eventually(lambda: sum(load.count() for load in loads) >= wanted, f"{answers} more answers", 60)
