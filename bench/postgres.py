"""A database of the benchmark's own on a PostgreSQL server."""

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from machine import parent

# Every server has one, and the process that it is a child of is the server.
A_CHILD = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
PSQL_SECONDS = 60


@dataclass(frozen=True)
class Database:
    """A database, and the server's process, if it is on this machine."""

    url: str
    server: int | None

    def execute(self, statement: str) -> None:
        """Runs a statement."""
        psql(self.url, statement)


def psql_program() -> str:
    """The installed one of the newest version."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"), key=lambda path: float(path.parts[-3]))
    program = debian[-1] if debian else shutil.which("psql")
    if program is None:
        raise FileNotFoundError("psql is not installed; scripts/ensure-tools installs it")
    return str(program)


def psql(url: str, statement: str, seconds: int = PSQL_SECONDS) -> str:
    """What the statement says, without decoration."""
    return run_psql(url, [f"--command={statement}"], seconds)


def run_file(url: str, path: Path, seconds: int, **variables: str) -> None:
    """Runs a file of statements with these variables of psql."""
    settings = [f"--set={name}={value}" for name, value in {"ON_ERROR_STOP": "1", **variables}.items()]
    run_psql(url, [*settings, f"--file={path}"], seconds)


def run_psql(url: str, arguments: list[str], seconds: int) -> str:
    """What psql prints."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    # Everybody sees the arguments of a process: the password is not one of them.
    name, _, password = user.partition(":")
    address = urlunsplit(parts._replace(netloc=f"{name}{at}{host}"))
    done = subprocess.run(
        [psql_program(), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", *arguments, address],
        env=os.environ | ({"PGPASSWORD": unquote(password)} if password else {}),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"psql failed: {done.stderr}")
    return done.stdout.strip()


def server_process(url: str) -> int | None:
    """The server's process; `None` where it is on another machine, or the user may not know."""
    child = psql(url, A_CHILD)
    with contextlib.suppress(OSError):
        if child and Path(f"/proc/{child}/comm").read_text().startswith("postgres"):
            return parent(int(child))
    return None


@contextlib.contextmanager
def new_database(server_url: str) -> Iterator[Database]:
    """An empty database, dropped at the end."""
    name = f"airouter_bench_{secrets.token_hex(8)}"
    psql(server_url, f"CREATE DATABASE {name}")
    try:
        url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
        yield Database(url, server_process(url))
    finally:
        psql(server_url, f"DROP DATABASE {name} WITH (FORCE)")
