"""A throw-away PostgreSQL server: a temporary directory, a free port. Needs nothing but Python's standard library."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .polling import eventually
from .processes import Child, free_port

SUPERUSER = "airouter"
READY_SECONDS = 60
# Small, but as durable as a server in production.
SETTINGS = {
    "fsync": "on",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "synchronous_commit": "on",
    "unix_socket_directories": "",
}


def program(name: str) -> Path:
    """One of PostgreSQL's programs, of the newest version that is installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = debian[-1] if debian else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"PostgreSQL's {name} is not installed; scripts/ensure-tools installs it")
    return Path(found)


def server_user() -> dict[str, int | list[int]]:
    """As whom the server runs: it refuses to be root. Options for `subprocess`."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class PostgresServer:
    """One server. It can be stopped as by a failure of power, paused, and started again on the same port and data.

    With `tls` (files of a certificate and of its key) it speaks TLS, and nothing else.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self._tls = tls
        self._user = server_user()
        self._directory = Path(tempfile.mkdtemp(prefix="airouter-postgres-"))
        self._log = self._directory / "server.log"
        self._data = self._directory / "data"
        self.port = free_port()
        self._password = secrets.token_hex(16)
        self.url = f"postgres://{SUPERUSER}:{self._password}@127.0.0.1:{self.port}/postgres"
        self._child: Child | None = None

    def _create_cluster(self) -> None:
        password_file = self._directory / "password"
        password_file.write_text(self._password)
        if self._user:
            for path in (self._directory, password_file):
                os.chown(path, self._user["user"], self._user["group"])
        done = subprocess.run(
            [
                program("initdb"),
                f"--pgdata={self._data}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
            **self._user,
        )
        password_file.unlink()
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr}")
        if self._tls is not None:
            self._speak_tls(*self._tls)

    def _speak_tls(self, certificate: Path, key: Path) -> None:
        for name, file in (("server.crt", certificate), ("server.key", key)):
            own = self._data / name
            shutil.copyfile(file, own)
            own.chmod(0o600)
            if self._user:
                os.chown(own, self._user["user"], self._user["group"])
        (self._data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write("ssl = on\n")

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        if not self._data.exists():
            self._create_cluster()
        settings = [f"--{name}={value}" for name, value in (SETTINGS | {"port": str(self.port)}).items()]
        # In a session of its own: Ctrl-C is for who uses it.
        command = [str(program("postgres")), "-D", str(self._data), *settings]
        self._child = Child(command, self._log, start_new_session=True, **self._user)
        eventually(self.is_ready, "PostgreSQL takes connections", READY_SECONDS)

    def is_ready(self) -> bool:
        assert self._child is not None
        if not self._child.is_running:
            raise RuntimeError(f"PostgreSQL has ended:\n{self._child.log_text()[-4000:]}")
        asked = [program("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(asked, timeout=READY_SECONDS, check=False).returncode == 0

    def stop(self) -> None:
        """Stops it at once, without a checkpoint: what was committed must be found in its log."""
        assert self._child is not None
        self._child.signal(signal.SIGQUIT)
        self._child.exit_code()

    def pause(self) -> None:
        """Nobody gets an answer any more, and connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To the server, then to those that it has started, of which any may just have ended."""
        assert self._child is not None
        parent = self._child.process.pid
        os.kill(parent, number)
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)

    def remove(self) -> None:
        """Ends it, if it runs, and leaves nothing behind."""
        if self._child is not None and self._child.is_running:
            self.resume()
            self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextlib.contextmanager
def running_postgres(tls: tuple[Path, Path] | None = None) -> Iterator[PostgresServer]:
    server = PostgresServer(tls)
    try:
        server.start()
        yield server
    finally:
        server.remove()
