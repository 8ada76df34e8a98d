"""The gateway under test: `airouter serve` and its command line."""

import contextlib
import itertools
import re
import resource
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai

from .database import Balance, Database, Event
from .polling import eventually
from .processes import Child, binary, clean_environment, free_port
from .simulator import Simulator
from .sqlite_file import SqliteFile

COMMAND_SECONDS = 60
READY_SECONDS = 60
# Part of every prompt in these tests; must be found nowhere in logs and database.
PROMPT_MARK = "zebra quartz"
# Replicas of a gateway share their clients.
NUMBERS = itertools.count(1)


class Account:
    """A client of the gateway."""

    def __init__(self, gateway: "Gateway", email: str, key: str):
        self.gateway = gateway
        self.email = email
        self.key = key
        self.id = gateway.database.account_of(key)
        gateway.expect_silence_about(key)

    def at(self, replica: "Gateway") -> "Account":
        """The same client, talking to another replica."""
        return Account(replica, self.email, self.key)

    def sdk(self, **options) -> openai.OpenAI:
        """The official client, without retries unless asked for."""
        options = {"max_retries": 0, "timeout": 60} | options
        return openai.OpenAI(base_url=f"{self.gateway.url}/v1", api_key=self.key, **options)

    def async_sdk(self, **options) -> openai.AsyncOpenAI:
        options = {"max_retries": 0, "timeout": 120} | options
        return openai.AsyncOpenAI(base_url=f"{self.gateway.url}/v1", api_key=self.key, **options)

    def http(self, **options) -> httpx2.Client:
        """A plain HTTP client that sends this account's key."""
        headers = {"authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        options = {
            "base_url": self.gateway.url,
            "timeout": 60,
            "trust_env": False,
            "verify": self.gateway.verify,
        } | options
        return httpx2.Client(headers=headers, **options)

    def balance(self) -> Balance:
        return self.gateway.database.balance(self.id)

    def events(self) -> list[Event]:
        return self.gateway.database.events(self.id)

    def settled(self, count: int, seconds: float = 30) -> list[Event]:
        """Its usage events, once there are `count` of them."""
        found = eventually(lambda: self._enough(count), f"{count} usage events", seconds)
        assert len(found) == count, found
        return found

    def _enough(self, count: int) -> list[Event]:
        events = self.events()
        return events if len(events) >= count else []

    def credit(self, amount: str, reason: str = "a test") -> str:
        """`airouter credit`; a negative amount is a debit."""
        return self.gateway.command("credit", f"--email={self.email}", f"--amount={amount}", f"--reason={reason}")

    def set_limit(self, column: str, value: int | None) -> None:
        """A limit of the account: requests_per_minute, tokens_per_minute or concurrent_requests."""
        self.gateway.database.operator_sql(f"UPDATE accounts SET {column} = ? WHERE id = ?", value, self.id)


class Gateway:
    """`airouter serve` on a data directory of its own, and on the SQLite file in it unless a database is named."""

    def __init__(self, directory: Path, simulator: Simulator, database: Database | None = None, **settings: str):
        self.simulator = simulator
        self.data = directory / "data"
        self.data.mkdir()
        self.port = free_port()
        self.metrics_port = free_port()
        scheme = "https" if "AIROUTER_TLS_CERT" in settings else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        # With whom clients trust it; a test with TLS sets it.
        self.verify: ssl.SSLContext | bool = True
        self.log = directory / "gateway.log"
        self.program = binary("airouter", "AIROUTER_BIN")
        self.environment = clean_environment(
            AIROUTER_LISTEN=f"127.0.0.1:{self.port}",
            AIROUTER_METRICS_LISTEN=f"127.0.0.1:{self.metrics_port}",
            AIROUTER_DATA_DIR=str(self.data),
            OPENROUTER_BASE_URL=simulator.base_url,
            OPENROUTER_MASTER_KEYS=",".join(simulator.keys),
        )
        self.database = database or SqliteFile(self.data / "airouter.db")
        self.environment |= self.database.settings() | settings
        self.child: Child | None = None
        self._keys: set[str] = set()

    def start(self, wrapper: tuple[str, ...] = ()) -> None:
        """Starts it (under `wrapper`, a command such as a tracer) and waits until it is ready."""
        # Signals stay ignored as they are here, so that `fill_disk` doesn't end it.
        command = [*wrapper, str(self.program), "serve"]
        self.child = Child(command, self.log, self.environment, restore_signals=False)
        eventually(self.is_ready, "the gateway is ready", READY_SECONDS)

    def is_ready(self) -> bool:
        assert self.child is not None
        if not self.child.is_running:
            raise RuntimeError(f"the gateway has ended:\n{self.child.log_text()[-4000:]}")
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"{self.url}/health", verify=self.verify, trust_env=False).status_code == 200
        return False

    def fill_disk(self) -> None:
        """No file of its can grow any more."""
        self._limit_files(0)

    def empty_disk(self) -> None:
        self._limit_files(resource.RLIM_INFINITY)

    def _limit_files(self, size: int) -> None:
        assert self.child is not None
        resource.prlimit(self.child.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def terminate(self) -> int:
        """SIGTERM; its exit code."""
        assert self.child is not None
        self.child.signal(signal.SIGTERM)
        return self.child.exit_code()

    def stop(self) -> None:
        """Stops it and checks what must hold after any run: a clean end, clean books, and silence about secrets."""
        assert self.terminate() == 0, self.log.read_text(errors="replace")[-4000:]
        self.command("ledger", "verify")
        self.check_silence()

    def check_silence(self) -> None:
        """Neither log nor database holds a key or a prompt."""
        secrets = [*self._keys, *self.simulator.keys, PROMPT_MARK]
        found = [
            *held("log", self.log.read_bytes(), [*secrets, *self.database.secrets()]),
            *held("database", self.database.contents(), secrets),
        ]
        assert not found, found

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `airouter` beside the server, on the same data."""
        return subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            cwd=self.data,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def command(self, *arguments: str) -> str:
        """As `run`, must succeed; returns what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def new_account(self, credit: str = "10") -> Account:
        """A prepaid client with so many dollars."""
        return self._provision(f"--credit={credit}")

    def new_metered_account(self, limit_cents: int) -> Account:
        """A client without a balance, with a monthly cap."""
        return self._provision(f"--limit={limit_cents}")

    def _provision(self, *flags: str) -> Account:
        email = f"client-{next(NUMBERS)}@example.com"
        printed = self.command("provision-user", f"--email={email}", "--name=A Client", *flags)
        key = re.search(r"^AI_GATEWAY_API_KEY=(sk-air-\S+)$", printed, re.MULTILINE)
        address = re.search(r"^AI_GATEWAY_BASE_URL=(\S+)$", printed, re.MULTILINE)
        assert key, printed
        assert address, printed
        return Account(self, email, key[1])

    def expect_silence_about(self, key: str) -> None:
        self._keys.add(key)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def log_lines(self) -> list[str]:
        """Those that are written to their ends: the last one may be just coming."""
        whole, _, _ = self.log_text().rpartition("\n")
        return whole.split("\n")

    def metric(self, series: str) -> float:
        """The value of one series, as it is written there with its labels."""
        [line] = [line for line in self.metrics().splitlines() if line.startswith(f"{series} ")]
        return float(line.split()[-1])

    def metrics(self) -> str:
        return httpx2.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False).text


def held(place: str, data: bytes, secrets: list[str]) -> list[tuple[str, str]]:
    """What of the secrets is in the data."""
    return [(place, secret) for secret in secrets if secret.encode() in data]


@contextlib.contextmanager
def running_gateway(
    directory: Path,
    simulator: Simulator,
    database: Database | None = None,
    verify: ssl.SSLContext | bool = True,
    **settings: str,
) -> Iterator[Gateway]:
    gateway = Gateway(directory, simulator, database, **settings)
    gateway.verify = verify
    try:
        gateway.start()
        yield gateway
        gateway.stop()
    finally:
        if gateway.child is not None and gateway.child.is_running:
            gateway.child.kill()
