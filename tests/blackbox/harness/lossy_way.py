"""A way to a PostgreSQL server on which one answer gets lost: that to a commit, which the server has carried out."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

CHUNK = 1 << 16


class LossyWay:
    """Passes bytes both ways, until an answer is to be lost."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        user, _, _ = parts.netloc.rpartition("@")
        host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = urlunsplit(parts._replace(netloc=f"{user}@{host}"))
        self._mark: bytes | None = None
        self.lost = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_the_answer_after(self, mark: str) -> None:
        """The first commit after the server has said `mark` on a connection gets no answer: the connection ends."""
        self._mark = mark.encode()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                _Connection(self, client, socket.create_connection(self._server))

    def close(self) -> None:
        self._listener.close()


class _Connection:
    def __init__(self, way: LossyWay, client: socket.socket, server: socket.socket):
        self._way, self._client, self._server = way, client, server
        self._is_marked = self._is_deaf = False
        for pump in (self._ask, self._answer):
            threading.Thread(target=self._run, args=(pump,), daemon=True).start()

    def _run(self, pump) -> None:
        with contextlib.suppress(OSError):
            pump()
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _ask(self) -> None:
        while data := self._client.recv(CHUNK):
            self._is_deaf |= self._is_marked and b"COMMIT" in data
            self._server.sendall(data)

    def _answer(self) -> None:
        while data := self._server.recv(CHUNK):
            if self._is_deaf and not self._way.lost.is_set():
                self._way.lost.set()
                return
            mark = self._way._mark
            self._is_marked |= mark is not None and mark in data
            self._client.sendall(data)


@contextlib.contextmanager
def lossy_way(url: str) -> Iterator[LossyWay]:
    way = LossyWay(url)
    try:
        yield way
    finally:
        way.close()
