"""The programs under test as child processes."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[3]
STOP_SECONDS = 40
# Below those that the system gives out by itself, also to connections: on Linux from 32768 on.
FIRST_PORT, LAST_PORT = 10_000, 32_000
PORTS_EACH = 500


def binary(name: str, override: str) -> Path:
    """A built program: the one that the environment variable `override` names, else the debug build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
    path = Path(os.environ.get(override, target / "debug" / name))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not built; run `make build-debug` or set {override}")
    return path


def _own_ports() -> Iterator[int]:
    """Ports of this process alone, one after the other and round again."""
    # The name is free again when this process has ended, however it does.
    claim = socket.socket(socket.AF_UNIX)
    for first in range(FIRST_PORT, LAST_PORT, PORTS_EACH):
        with contextlib.suppress(OSError):
            claim.bind(f"\0airouter-tests-ports-{first}")
            while True:
                yield from range(first, first + PORTS_EACH)
    raise RuntimeError("all ports for tests are taken")


OWN_PORTS = _own_ports()


def free_port() -> int:
    """A loopback port that nobody listens on, and that nobody else is given until whoever is to listen there does, or
    listens again after it was stopped."""
    for port in OWN_PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("unreachable: ports come round again")


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without what would configure the programs under test, plus `settings`."""
    foreign = ("AIROUTER_", "OPENROUTER_", "OPENAI_", "DATABASE_", "ADMIN_")
    single = {"SECRET_KEY", "ENCRYPTION_KEY", "DEFAULT_MODEL", "REDIS_URL"}
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and name not in single and name.upper() not in proxies
    }
    return kept | settings


class Child:
    """One running program, its output in a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None, **options: Any):
        """`options` are those of `subprocess.Popen`."""
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment or clean_environment(),
                cwd=log.parent,
                **options,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self, seconds: float = STOP_SECONDS) -> int:
        """Waits until it has ended."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end within {seconds} s; its log ends:\n{self.log_text()[-4000:]}") from None

    def kill(self) -> None:
        """SIGKILL, and waits for it."""
        self.process.kill()
        self.process.wait()

    def resident_bytes(self) -> int:
        """Its memory: what is resident now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024
