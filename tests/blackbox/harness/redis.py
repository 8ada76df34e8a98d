"""A throw-away Redis server that keeps nothing on disk, on a free port. Needs only Python's standard library."""

import contextlib
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .polling import eventually
from .processes import Child, free_port

READY_SECONDS = 30


class RedisServer:
    """One server. It can be wiped, paused, stopped, and started again on the same port."""

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server is not installed; scripts/ensure-tools installs it")
        self._program = program
        self._directory = Path(tempfile.mkdtemp(prefix="airouter-redis-"))
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._child: Child | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self._directory, "save": "", "appendonly": "no"}
        command = [self._program, *(part for name, value in settings.items() for part in (f"--{name}", str(value)))]
        # In a session of its own: Ctrl-C is for who uses it.
        self._child = Child(command, self._directory / "server.log", start_new_session=True)
        eventually(self.is_ready, "Redis answers", READY_SECONDS)

    def is_ready(self) -> bool:
        assert self._child is not None
        if not self._child.is_running:
            raise RuntimeError(f"Redis has ended:\n{self._child.log_text()[-4000:]}")
        with contextlib.suppress(OSError):
            return self.ask("PING") == "+PONG"
        return False

    def ask(self, command: str) -> str:
        """The first line of what it answers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=READY_SECONDS) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.makefile("r", newline="\r\n").readline().rstrip()

    def wipe(self) -> None:
        """Forgets everything."""
        assert self.ask("FLUSHALL") == "+OK"

    def stop(self) -> None:
        assert self._child is not None
        self._child.kill()

    def pause(self) -> None:
        """Nobody gets an answer any more, and connections stay open."""
        assert self._child is not None
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._child is not None
        self._child.signal(signal.SIGCONT)

    def remove(self) -> None:
        """Ends it, if it runs, and leaves nothing behind."""
        if self._child is not None and self._child.is_running:
            self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextlib.contextmanager
def running_redis() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()
