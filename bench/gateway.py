"""AI Router as an operator runs it: alone with SQLite, or replicas that share PostgreSQL and Redis."""

import base64
import contextlib
import http.client
import re
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from postgres import Database
from programs import AIROUTER, MASTER_KEY, PROXY_CORE, READY_SECONDS, Programs, Target, clean_environment, free_port
from services import Services

EMBEDDED, SHARED = "AI Router", "AI Router (PostgreSQL, Redis)"
# More than any target answers: rates are counted and nothing is refused.
REQUESTS_PER_MINUTE = 6_000_000
COMMAND_SECONDS = 600


@dataclass(frozen=True)
class Installation:
    """What replicas and commands of one AI Router have in common."""

    name: str
    directory: Path
    settings: dict[str, str]
    # Runs a statement on its database.
    execute: Callable[[str], None]
    # The process of its database server, if it has one here.
    server: int | None = None

    def environment(self, replica: int = 0) -> dict[str, str]:
        """A replica's own data directory; what all share."""
        return clean_environment(AIROUTER_DATA_DIR=str(self.directory / f"data-{replica}"), **self.settings)

    def command(self, *arguments: str) -> str:
        """Runs a command of AI Router, which must succeed; what it printed."""
        done = subprocess.run(
            [AIROUTER, *arguments],
            env=self.environment(),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"airouter {arguments[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def new_client(self) -> str:
        """The key of a client that can pay, and whose rate is limited."""
        printed = self.command("provision-user", "--email=bench@example.com", "--name=Bench", "--credit=1000000")
        key = re.search(r"^AI_GATEWAY_API_KEY=(\S+)$", printed, re.MULTILINE)
        if key is None:
            raise RuntimeError("provision-user printed no key")
        self.execute(f"UPDATE api_keys SET requests_per_minute = {REQUESTS_PER_MINUTE}")
        return key[1]


def embedded(work: Path) -> Installation:
    """With a SQLite file, and nothing else."""
    directory = work / "embedded"
    directory.mkdir()

    def execute(statement: str) -> None:
        with contextlib.closing(sqlite3.connect(directory / "data-0" / "airouter.db", timeout=30)) as connection:
            connection.execute(statement)
            connection.commit()

    return Installation(EMBEDDED, directory, {}, execute)


def shared(work: Path, database: Database, services: Services) -> Installation:
    """With PostgreSQL and Redis."""
    directory = work / "shared"
    directory.mkdir()
    settings = {
        "DATABASE_URL": database.url,
        "REDIS_URL": services.redis_url,
        "SECRET_KEY": random_key(),
        "ENCRYPTION_KEY": random_key(),
    }
    return Installation(SHARED, directory, settings, database.execute, database.server)


def random_key() -> str:
    """32 bytes in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def start_replica(programs: Programs, installation: Installation, upstream: Target, number: int, key: str) -> Target:
    """One replica, on one core and with one worker thread, when it is ready."""
    port, metrics = free_port(), free_port()
    environment = installation.environment(number) | {
        "AIROUTER_LISTEN": f"127.0.0.1:{port}",
        "AIROUTER_METRICS_LISTEN": f"127.0.0.1:{metrics}",
        "AIROUTER_WORKER_THREADS": "1",
        "OPENROUTER_BASE_URL": f"http://127.0.0.1:{upstream.port}/api/v1",
        "OPENROUTER_MASTER_KEYS": MASTER_KEY,
    }
    log = f"airouter-{installation.directory.name}-{number}"
    pid = programs.start(log, [AIROUTER, "serve"], port, PROXY_CORE, environment)
    wait_until_ready(port)
    return Target(installation.name, port, "/v1/chat/completions", key, pid, metrics, installation.server)


def wait_until_ready(port: int) -> None:
    """Until requests are accepted."""
    deadline = time.monotonic() + READY_SECONDS
    while not is_ready(port):
        if time.monotonic() > deadline:
            raise RuntimeError("AI Router is not ready")
        time.sleep(0.02)


def is_ready(port: int) -> bool:
    """What its health route says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


def first_replica(programs: Programs, installation: Installation, upstream: Target) -> Target:
    """The first one, with a client."""
    target = start_replica(programs, installation, upstream, 0, key="")
    return replace(target, key=installation.new_client())


@contextlib.contextmanager
def second_replica(programs: Programs, installation: Installation, upstream: Target, first: Target) -> Iterator[Target]:
    """Another one for the same client, for a while."""
    target = start_replica(programs, installation, upstream, 1, first.key)
    try:
        yield target
    finally:
        programs.stop(target.pid)
